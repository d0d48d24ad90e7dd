"""The server's certificate: what we make has the profile, and each departure alone is refused."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import Evidence, asn1, encode, new_certificate, ratls, read_certificate
from sealserve.attestation.evidence import MAX_EVIDENCE_BYTES, MAX_MEMBER_BYTES
from sealserve.attestation.ratls import CLOCK_SKEW, MAX_CERTIFICATE_BYTES, MAX_LIFETIME
from support.attestation_der import elements, inserted, replaced
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import NOW

KEY = ec.generate_private_key(ec.SECP256R1())
EVIDENCE = Evidence(b"report", b"leaf", b"intermediate", b"{}")
GOOD = new_certificate(KEY, EVIDENCE, NOW)

SHA256 = asn1.sequence(asn1.oid("1.2.840.10045.4.3.2"))
SHA384 = asn1.sequence(asn1.oid("1.2.840.10045.4.3.3"))
SHA256_NULL = asn1.sequence(asn1.oid("1.2.840.10045.4.3.2"), asn1.element(0x05))
CRITICAL = asn1.element(0x01, b"\xff")
CMW = "1.3.6.1.5.5.7.1.35"

# Places in TBSCertificate (RFC 5280, 4.1) and among the extensions.
VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, SPKI, EXTENSIONS = range(8)
CONSTRAINTS, USAGE, PURPOSES, NAMES, CARRIED = range(5)


def signed(tbs: bytes, key: ec.EllipticCurvePrivateKey = KEY, algorithm: bytes = SHA256) -> bytes:
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return asn1.sequence(tbs, algorithm, asn1.bits(signature))


TBS = elements(GOOD)[0]
GOOD_EXTENSIONS = elements(elements(TBS)[EXTENSIONS][4:])


def member(index: int, *new: bytes) -> bytes:
    """The good certificate with one member of its signed part replaced, and signed again."""
    return signed(replaced(TBS, index, *new))


def extended(*extensions: bytes) -> bytes:
    """The good certificate with these extensions, and signed again."""
    return member(EXTENSIONS, asn1.element(0xA3, asn1.sequence(*extensions)))


def extension(oid: str, value: bytes, flag: bytes = b"") -> bytes:
    return asn1.sequence(asn1.oid(oid), flag, asn1.octets(value))


def with_extension(index: int, *new: bytes) -> bytes:
    return extended(*GOOD_EXTENSIONS[:index], *new, *GOOD_EXTENSIONS[index + 1 :])


def with_flag(index: int, flag: bytes) -> bytes:
    """One extension with another criticality and the same value."""
    parts = elements(GOOD_EXTENSIONS[index])
    return with_extension(index, asn1.sequence(parts[0], flag, parts[-1]))


def name(common_name: bytes) -> bytes:
    part = asn1.sequence(asn1.oid("2.5.4.3"), common_name)
    return asn1.sequence(asn1.element(0x31, part))


def window(start: datetime, end: datetime) -> bytes:
    return member(VALIDITY, asn1.sequence(asn1.time(start), asn1.time(end)))


def dns(text: str) -> bytes:
    return asn1.element(0x82, text.encode())


def subject_names(*names: bytes) -> bytes:
    return with_extension(NAMES, extension("2.5.29.17", asn1.sequence(*names)))


def purposes(*oids: str) -> bytes:
    value = asn1.sequence(*(asn1.oid(oid) for oid in oids))
    return with_extension(PURPOSES, extension("2.5.29.37", value))


def constraints(*contents: bytes) -> bytes:
    return with_extension(CONSTRAINTS, extension("2.5.29.19", asn1.sequence(*contents), CRITICAL))


def usage(value: int, unused: int) -> bytes:
    bits = asn1.bits(bytes([value]), unused=unused)
    return with_extension(USAGE, extension("2.5.29.15", bits, CRITICAL))


def carried(value: bytes) -> bytes:
    return with_extension(CARRIED, extension(CMW, value))


def point(form: serialization.PublicFormat) -> bytes:
    return KEY.public_key().public_bytes(serialization.Encoding.X962, form)


def spki(parameters: bytes, content: bytes) -> bytes:
    key = asn1.sequence(asn1.oid("1.2.840.10045.2.1"), parameters)
    return member(SPKI, asn1.sequence(key, asn1.bits(content)))


NAME = name(asn1.utf8("sealserve.internal"))
P256 = asn1.oid("1.2.840.10045.3.1.7")
UNCOMPRESSED = point(serialization.PublicFormat.UncompressedPoint)
COMPRESSED = point(serialization.PublicFormat.CompressedPoint)
SERVER, CLIENT, ANY = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0"
OTHER = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
DAY = timedelta(days=1)


def by_p384() -> bytes:
    public = P384.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return signed(replaced(TBS, SPKI, public), P384)


def public(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return member(
        SPKI,
        key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


Makers = dict[str, Callable[[], bytes]]

UNPARSEABLE: Makers = {
    "nothing": lambda: b"",
    "as long as may be and empty": lambda: bytes(MAX_CERTIFICATE_BYTES),
    "a byte more": lambda: GOOD + b"\0",
    "a byte less": lambda: GOOD[:-1],
    "PEM": lambda: x509.load_der_x509_certificate(GOOD).public_bytes(serialization.Encoding.PEM),
    "version 1": lambda: signed(asn1.sequence(*elements(TBS)[1:-1])),
    "version 1, spelled out": lambda: member(VERSION, asn1.element(0xA0, asn1.integer(0))),
    "version 2": lambda: member(VERSION, asn1.element(0xA0, asn1.integer(1))),
    "version 6": lambda: member(VERSION, asn1.element(0xA0, asn1.integer(5))),
    "a subject of bits": lambda: member(SUBJECT, name(asn1.bits(b"sealserve.internal"))),
    "serial 0": lambda: member(SERIAL, asn1.integer(0)),
    "a negative serial": lambda: member(SERIAL, b"\x02\x01\xff"),
    "a serial of 21 bytes": lambda: member(SERIAL, asn1.integer(1 << 160)),
    "an algorithm with parameters": lambda: signed(
        replaced(TBS, ALGORITHM, SHA256_NULL), algorithm=SHA256_NULL
    ),
    "unique identifiers": lambda: signed(inserted(TBS, EXTENSIONS, asn1.element(0x81, b"\0\1"))),
    "something after the extensions": lambda: signed(inserted(TBS, 8, asn1.element(0x05))),
    "extensions twice": lambda: signed(inserted(TBS, 8, elements(TBS)[EXTENSIONS])),
    "no extensions": lambda: signed(replaced(TBS, EXTENSIONS)),
    "an extension twice": lambda: extended(*GOOD_EXTENSIONS, GOOD_EXTENSIONS[USAGE]),
    "a kind of name nobody has": lambda: subject_names(asn1.element(0xA5, asn1.sequence())),
    "a purpose that is none": lambda: with_extension(
        PURPOSES, extension("2.5.29.37", asn1.octets(b""))
    ),
    "encipherOnly, which makes no sense alone": lambda: usage(0x81, 0),
    "a value with a tail": lambda: with_extension(
        NAMES, extension("2.5.29.17", asn1.sequence(dns("sealserve.internal")) + b"\0")
    ),
    "a time with fractions": lambda: member(
        VALIDITY,
        asn1.sequence(asn1.time(NOW), asn1.element(0x18, b"20261201000000.5Z")),
    ),
    "the wrapper is missing": lambda: carried(encode(EVIDENCE)),
    "the wrapper is a text": lambda: carried(asn1.utf8("{}")),
    "the wrapper is followed": lambda: carried(asn1.octets(encode(EVIDENCE)) + b"\0"),
    "the wrapper is empty": lambda: carried(b""),
}
KEYS: Makers = {
    "P-384": by_p384,
    "RSA": lambda: public(rsa.generate_private_key(65537, 2048)),
    "Ed25519": lambda: public(ed25519.Ed25519PrivateKey.generate()),
    "a compressed point": lambda: spki(P256, COMPRESSED),
    "a hybrid point": lambda: spki(P256, bytes([6 | UNCOMPRESSED[-1] & 1]) + UNCOMPRESSED[1:]),
    "no point of the curve": lambda: spki(P256, UNCOMPRESSED[:-1] + b"\0\0"),
    "the point at infinity": lambda: spki(P256, b"\0"),
    "an unknown curve": lambda: spki(asn1.oid("1.2.3"), UNCOMPRESSED),
    "an unknown kind": lambda: member(
        SPKI, asn1.sequence(asn1.sequence(asn1.oid("1.2.3")), asn1.bits(UNCOMPRESSED))
    ),
}
NAMES_: Makers = {
    "another subject": lambda: member(SUBJECT, name(asn1.utf8("bank.example"))),
    "another issuer": lambda: member(ISSUER, name(asn1.utf8("bank.example"))),
    "a subject that moves the cursor": lambda: member(SUBJECT, name(asn1.utf8("\x1b[2Jx"))),
    "a subject without end": lambda: member(
        SUBJECT, asn1.sequence(*elements(name(asn1.utf8("x" * 60))) * 100)
    ),
    "no subject": lambda: member(SUBJECT, asn1.sequence()),
    "no issuer": lambda: member(ISSUER, asn1.sequence()),
    "a longer subject": lambda: member(
        SUBJECT,
        asn1.sequence(*elements(NAME), *elements(name(asn1.utf8("x")))),
    ),
    "a name in capitals": lambda: member(SUBJECT, name(asn1.utf8("SEALSERVE.internal"))),
}
SIGNATURES: Makers = {
    "another key's": lambda: signed(TBS, OTHER),
    "over something else": lambda: replaced(GOOD, 0, replaced(TBS, SERIAL, asn1.integer(7))),
    "no bits": lambda: replaced(GOOD, 2, asn1.bits(b"")),
    "SHA-384 by name": lambda: signed(replaced(TBS, ALGORITHM, SHA384), algorithm=SHA384),
    "SHA-384 inside": lambda: member(ALGORITHM, SHA384),
    "SHA-384 outside": lambda: signed(TBS, algorithm=SHA384),
}
EXTENDED: Makers = {
    **{
        f"without the {index}th": functools.partial(with_extension, index)
        for index in range(len(GOOD_EXTENSIONS))
    },
    "a sixth": lambda: extended(*GOOD_EXTENSIONS, extension("1.2.3", b"")),
    "a sixth that is critical": lambda: extended(
        *GOOD_EXTENSIONS, extension("1.2.3", b"", CRITICAL)
    ),
    "another instead": lambda: with_extension(CARRIED, extension("1.2.3", b"")),
    "constraints not critical": lambda: with_flag(CONSTRAINTS, b""),
    "usage not critical": lambda: with_flag(USAGE, b""),
    "purposes critical": lambda: with_flag(PURPOSES, CRITICAL),
    "names critical": lambda: with_flag(NAMES, CRITICAL),
    "evidence critical": lambda: with_flag(CARRIED, CRITICAL),
    "a CA": lambda: constraints(CRITICAL),
    "a CA of path length 0": lambda: constraints(CRITICAL, asn1.integer(0)),
    "no usage": lambda: usage(0, 0),
    **{
        f"usage bit {7 - bit} too": functools.partial(usage, 0x80 | 1 << bit, bit)
        for bit in range(1, 7)
    },
    "decipherOnly too": lambda: with_extension(
        USAGE, extension("2.5.29.15", asn1.bits(b"\x88\x80", unused=7), CRITICAL)
    ),
    "certificates alone": lambda: usage(0x04, 2),
    "for clients": lambda: purposes(CLIENT),
    "for clients too": lambda: purposes(SERVER, CLIENT),
    "for anything too": lambda: purposes(SERVER, ANY),
    "for servers twice": lambda: purposes(SERVER, SERVER),
    "another name": lambda: subject_names(dns("bank.example")),
    "two names": lambda: subject_names(dns("sealserve.internal"), dns("bank.example")),
    "a wildcard": lambda: subject_names(dns("*.internal")),
    "an address": lambda: subject_names(asn1.element(0x87, bytes(4))),
    "an address too": lambda: subject_names(
        dns("sealserve.internal"), asn1.element(0x87, bytes(4))
    ),
    "the name as a mailbox": lambda: subject_names(asn1.element(0x81, b"sealserve.internal")),
    "the name in capitals": lambda: subject_names(dns("SEALSERVE.internal")),
}
SECOND = timedelta(seconds=1)
TABLE: dict[tuple[str, str], Callable[[], bytes]] = {
    **{("certificate_unparseable", key): make for key, make in UNPARSEABLE.items()},
    **{("certificate_key", key): make for key, make in KEYS.items()},
    **{("certificate_names", key): make for key, make in NAMES_.items()},
    **{("certificate_signature", key): make for key, make in SIGNATURES.items()},
    **{("certificate_extensions", key): make for key, make in EXTENDED.items()},
    ("certificate_size", "too long"): lambda: bytes(MAX_CERTIFICATE_BYTES + 1),
    ("cert_window", "early by a second"): lambda: window(NOW + SECOND, NOW + DAY),
    ("cert_window", "late by a second"): lambda: window(NOW - DAY, NOW - SECOND),
    ("certificate_lifetime", "by a second"): lambda: window(NOW, NOW + MAX_LIFETIME + SECOND),
    ("evidence_malformed", "an empty map"): lambda: carried(asn1.octets(b"\xa0")),
    ("evidence_malformed", "a byte more"): lambda: carried(asn1.octets(encode(EVIDENCE) + b"\0")),
}


@pytest.mark.parametrize(("code", "departure"), TABLE)
def test_a_departure_from_the_profile(code: str, departure: str) -> None:
    data = TABLE[code, departure]()
    with refused(code) as refusal:
        read_certificate(data, NOW)
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 1000


PASSES: Makers = {
    "as it was made": lambda: GOOD,
    "signed again": lambda: signed(TBS),
    "with the same extensions": lambda: extended(*GOOD_EXTENSIONS),
    "with the same name": lambda: member(SUBJECT, NAME),
    "with the same purposes": lambda: purposes(SERVER),
    "with the same constraints": lambda: constraints(),
    "with the same usage": lambda: usage(0x80, 7),
    "with the same names": lambda: subject_names(dns("sealserve.internal")),
    "with the same evidence": lambda: carried(asn1.octets(encode(EVIDENCE))),
    "with the same key": lambda: spki(P256, UNCOMPRESSED),
    "from this second": lambda: window(NOW, NOW + DAY),
    "up to this second": lambda: window(NOW - DAY, NOW),
    "for as long as it may": lambda: window(NOW, NOW + MAX_LIFETIME),
    "with the longest serial": lambda: member(SERIAL, asn1.integer((1 << 159) - 1)),
}


@pytest.mark.parametrize("form", PASSES)
def test_what_differs_in_nothing_passes(form: str) -> None:
    """The makers of the table above change what they say and nothing else."""
    assert read_certificate(PASSES[form](), NOW).evidence == EVIDENCE


def test_what_is_read() -> None:
    certificate = read_certificate(GOOD, NOW)
    key = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert certificate.der == GOOD
    assert certificate.spki_sha256 == hashlib.sha256(key).digest()
    assert certificate.spki_sha256 == ratls.spki_sha256(KEY.public_key())
    assert certificate.spki_sha256 == hashlib.sha256(elements(TBS)[SPKI]).digest()
    assert certificate.not_after == NOW - CLOCK_SKEW + MAX_LIFETIME


def test_a_certificate_is_valid_at_once_on_a_clock_that_is_behind() -> None:
    read_certificate(GOOD, NOW - CLOCK_SKEW)
    with refused("cert_window"):
        read_certificate(GOOD, NOW - CLOCK_SKEW - SECOND)


def test_a_shorter_lifetime() -> None:
    short = new_certificate(KEY, EVIDENCE, NOW, lifetime=timedelta(hours=1))
    assert read_certificate(short, NOW).not_after == NOW - CLOCK_SKEW + timedelta(hours=1)


def test_no_certificate_is_made_for_a_key_of_another_curve() -> None:
    with pytest.raises(ValueError, match="secp384r1; wanted P-256"):
        new_certificate(P384, EVIDENCE, NOW)


def test_the_largest_evidence_fits() -> None:
    space = MAX_EVIDENCE_BYTES - len(encode(replace(EVIDENCE, report=b"", claims=b""))) - 4
    large = replace(
        EVIDENCE, report=bytes(MAX_MEMBER_BYTES), claims=bytes(space - MAX_MEMBER_BYTES)
    )
    assert len(encode(large)) == MAX_EVIDENCE_BYTES
    made = new_certificate(KEY, large, NOW)
    assert len(made) <= MAX_CERTIFICATE_BYTES
    assert read_certificate(made, NOW).evidence == large


def test_a_second_opinion(tmp_path: Path) -> None:
    """OpenSSL takes it for a server of that name."""
    now = datetime.now(UTC)
    file = tmp_path / "server.pem"
    made = x509.load_der_x509_certificate(new_certificate(KEY, EVIDENCE, now))
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    verify = ("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(file))
    for name_, status in (("sealserve.internal", 0), ("bank.example", 2)):
        ran = subprocess.run([*verify, "-verify_hostname", name_, str(file)], check=False)
        assert ran.returncode == status


@given(st.one_of(st.binary(max_size=200), mutations(GOOD)))
def test_any_bytes_are_a_certificate_or_refused(data: bytes) -> None:
    code = code_of(lambda: read_certificate(data, NOW))
    assert code.startswith("certificate_") if data != GOOD else code == ""


@given(mutations(TBS))
def test_whatever_a_stranger_signs_is_a_certificate_or_refused(tbs: bytes) -> None:
    """Anybody can sign with a key of their own: nothing after the signature may be trusted."""
    code = code_of(lambda: read_certificate(signed(tbs), NOW))
    assert code.startswith(("certificate_", "evidence_")) or code == ""


VALUES = st.one_of(
    st.binary(max_size=40), *(mutations(elements(e)[-1][2:]) for e in GOOD_EXTENSIONS)
)


@given(st.sampled_from(range(len(GOOD_EXTENSIONS))), VALUES)
def test_any_value_of_an_extension_is_read_or_refused(index: int, value: bytes) -> None:
    parts = elements(GOOD_EXTENSIONS[index])
    data = with_extension(index, asn1.sequence(*parts[:-1], asn1.octets(value)))
    code = code_of(lambda: read_certificate(data, NOW))
    assert code.startswith(("certificate_", "evidence_")) or code == ""

"""AMD's certificates: one form, one algorithm, and each extension as AMD writes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given

from sealserve.attestation import asn1, certs, der, roots
from sealserve.attestation.certs import (
    MAX_CERTIFICATE_BYTES,
    Certificate,
    Leaf,
    read_name,
    require_pss_sha384,
    require_signature,
)
from sealserve.attestation.report import SigningKey
from sealserve.attestation.simulated import SimulatedRoot, issue
from sealserve.attestation.tcb import LINES, Line
from support.attestation_der import elements, inserted, replaced
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import NOW
from support.attestation_vectors import Vector, vector, vectors

REAL = vector("ms-tav/milan-v3-aci").read("leaf.der")
SHA384, SHA512 = "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"
PSS, MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
AMD = "1.3.6.1.4.1.3704.1."
CHIP = bytes(range(64))
KEY = ec.generate_private_key(ec.SECP384R1()).public_key()
NULL = asn1.element(0x05)

# Places in TBSCertificate (RFC 5280, 4.1).
VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, SPKI, EXTENSIONS = range(8)


def tbs(change: Callable[[bytes], bytes]) -> bytes:
    """A real leaf whose signed part was changed; what it is signed with is not looked at here."""
    return replaced(REAL, 0, change(elements(REAL)[0]))


def member(index: int, *new: bytes) -> bytes:
    """A real leaf with one member of its signed part replaced."""
    return tbs(lambda signed: replaced(signed, index, *new))


def extension(oid: str, value: bytes, flag: bytes = b"") -> bytes:
    return asn1.sequence(asn1.oid(oid), flag, asn1.octets(value))


def extended(*extensions: bytes) -> bytes:
    """A real leaf with exactly these extensions."""
    return member(EXTENSIONS, asn1.element(0xA3, asn1.sequence(*extensions)))


REAL_EXTENSIONS = elements(elements(elements(REAL)[0])[EXTENSIONS][4:])


def name(*parts: tuple[str, bytes]) -> bytes:
    return asn1.sequence(
        *(asn1.element(der.SET, asn1.sequence(asn1.oid(oid), value)) for oid, value in parts)
    )


REFUSALS: dict[str, tuple[str, bytes]] = {
    "nothing": ("certificate_unparseable", b""),
    "too long": ("certificate_size", bytes(MAX_CERTIFICATE_BYTES + 1)),
    "as long as may be and empty": ("certificate_unparseable", bytes(MAX_CERTIFICATE_BYTES)),
    "a byte more": ("certificate_unparseable", REAL + b"\0"),
    "a byte less": ("certificate_unparseable", REAL[:-1]),
    "an element more": ("certificate_unparseable", inserted(REAL, 3, NULL)),
    "an element less": ("certificate_unparseable", replaced(REAL, 2)),
    "no version": ("certificate_unparseable", member(VERSION)),
    "version 1": ("certificate_unparseable", member(VERSION, asn1.element(0xA0, asn1.integer(0)))),
    "version 2": ("certificate_unparseable", member(VERSION, asn1.element(0xA0, asn1.integer(1)))),
    "version 4": ("certificate_unparseable", member(VERSION, asn1.element(0xA0, asn1.integer(3)))),
    "a negative serial": ("certificate_unparseable", member(SERIAL, b"\x02\x01\x80")),
    "another algorithm inside": (
        "signature_parameters",
        member(ALGORITHM, issue.SHA256.identifier()),
    ),
    "another algorithm outside": (
        "signature_parameters",
        replaced(REAL, 1, issue.SHA256.identifier()),
    ),
    "a third time": (
        "certificate_unparseable",
        tbs(lambda signed: replaced(signed, VALIDITY, asn1.sequence(*[asn1.time(NOW)] * 3))),
    ),
    "one time": ("certificate_unparseable", member(VALIDITY, asn1.sequence(asn1.time(NOW)))),
    "unique identifiers": (
        "certificate_unparseable",
        tbs(lambda signed: inserted(signed, EXTENSIONS, asn1.element(0x81, b"\0\1"))),
    ),
    "no extensions": ("certificate_unparseable", member(EXTENSIONS)),
    "two lists of extensions": (
        "certificate_unparseable",
        tbs(lambda signed: inserted(signed, EXTENSIONS, elements(signed)[EXTENSIONS])),
    ),
    "an extension twice": ("certificate_unparseable", extended(*REAL_EXTENSIONS * 2)),
    "an unknown critical extension": (
        "certificate_unparseable",
        extended(*REAL_EXTENSIONS, extension("2.5.29.36", b"", asn1.element(0x01, b"\xff"))),
    ),
    "an extension with a tail": (
        "certificate_unparseable",
        extended(*REAL_EXTENSIONS, asn1.sequence(asn1.oid("1.2.3"), asn1.octets(b""), NULL)),
    ),
    "an attribute twice in a name": (
        "certificate_unparseable",
        member(ISSUER, name(("2.5.4.3", asn1.utf8("a")), ("2.5.4.3", asn1.utf8("b")))),
    ),
    "a name in another alphabet": (
        "certificate_unparseable",
        member(ISSUER, name(("2.5.4.3", asn1.element(0x1E, b"\0a")))),
    ),
    "a name beyond ASCII": (
        "certificate_unparseable",
        member(ISSUER, name(("2.5.4.3", asn1.utf8("SEV-Milań")))),
    ),
    "an attribute with a tail": (
        "certificate_unparseable",
        member(
            ISSUER,
            asn1.sequence(
                asn1.element(der.SET, asn1.sequence(asn1.oid("2.5.4.3"), asn1.utf8("a"), NULL))
            ),
        ),
    ),
    "a part of two attributes": (
        "certificate_unparseable",
        member(
            SUBJECT,
            asn1.sequence(
                asn1.element(
                    der.SET,
                    asn1.sequence(asn1.oid("2.5.4.3"), asn1.utf8("a")),
                    asn1.sequence(asn1.oid("2.5.4.10"), asn1.utf8("b")),
                )
            ),
        ),
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_another_form_is_refused(refusal: str) -> None:
    code, data = REFUSALS[refusal]
    with refused(code):
        Certificate.parse(data)


def test_taking_apart_and_putting_together_changes_nothing() -> None:
    """What the table above relies on: only its change makes the difference."""
    assert tbs(lambda signed: asn1.sequence(*elements(signed))) == REAL
    assert extended(*REAL_EXTENSIONS) == REAL


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # why the reader is our own
@pytest.mark.parametrize("row", vectors("snp", "leaf.der"), ids=lambda row: row.id)
def test_a_second_opinion_on_every_leaf(row: Vector) -> None:
    data = row.read("leaf.der")
    ours, theirs = Certificate.parse(data), x509.load_der_x509_certificate(data)
    assert ours.serial == theirs.serial_number
    assert ours.issuer.der == theirs.issuer.public_bytes()
    assert ours.subject.der == theirs.subject.public_bytes()
    assert ours.not_before == theirs.not_valid_before_utc
    assert ours.not_after == theirs.not_valid_after_utc
    assert ours.signed == theirs.tbs_certificate_bytes
    assert ours.signature == theirs.signature
    assert ours.extensions.keys() == {e.oid.dotted_string for e in theirs.extensions}


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
@pytest.mark.parametrize("line", LINES)
def test_the_certificates_we_ship(line: Line, kind: SigningKey) -> None:
    ark = roots.ark(line)
    assert ark.subject.common_name == f"ARK-{line.capitalize()}"
    intermediate = Certificate.parse(roots.intermediate(line, kind))
    assert ark.is_ca
    assert intermediate.is_ca
    assert intermediate.issuer.der == ark.subject.der
    require_signature(ark.spki, intermediate.signature, intermediate.signed, "x")


# ---- the one signature scheme


def algorithm(*fields: bytes, oid: str = PSS, tail: bytes = b"") -> bytes:
    return asn1.sequence(asn1.oid(oid), asn1.sequence(*fields), tail)


def digest(oid: str, parameters: bytes = NULL) -> bytes:
    return asn1.sequence(asn1.oid(oid), parameters)


FIELDS = (
    asn1.element(0xA0, digest(SHA384)),
    asn1.element(0xA1, asn1.sequence(asn1.oid(MGF1), digest(SHA384))),
    asn1.element(0xA2, asn1.integer(48)),
)
TRAILER = asn1.element(0xA3, asn1.integer(1))


def pss(index: int, value: bytes) -> bytes:
    """The right parameters but for one: 0 the hash, 1 the mask, 2 the salt."""
    fields = list(FIELDS)
    fields[index] = asn1.element(0xA0 + index, value)
    return algorithm(*fields)


OTHER_ALGORITHMS: dict[str, tuple[str, bytes]] = {
    "PKCS#1 v1.5": ("signature_parameters", digest("1.2.840.113549.1.1.12")),
    "ECDSA": ("signature_parameters", asn1.sequence(asn1.oid("1.2.840.10045.4.3.3"))),
    "PSS of another OID": ("signature_parameters", algorithm(*FIELDS, oid="1.2.3")),
    "hash SHA-512": ("signature_parameters", pss(0, digest(SHA512))),
    "hash SHA-256": ("signature_parameters", pss(0, digest("2.16.840.1.101.3.4.2.1"))),
    "hash without NULL": ("signature_parameters", pss(0, digest(SHA384, b""))),
    "mask SHA-512": (
        "signature_parameters",
        pss(1, asn1.sequence(asn1.oid(MGF1), digest(SHA512))),
    ),
    "another mask": ("signature_parameters", pss(1, digest("1.2.3", digest(SHA384)))),
    "salt 32": ("signature_parameters", pss(2, asn1.integer(32))),
    "salt 0": ("signature_parameters", pss(2, asn1.integer(0))),
    "trailer 2": (
        "signature_parameters",
        algorithm(*FIELDS, asn1.element(0xA3, asn1.integer(2))),
    ),
    "two trailers": ("certificate_unparseable", algorithm(*FIELDS, TRAILER, TRAILER)),
    "no parameters": ("certificate_unparseable", asn1.sequence(asn1.oid(PSS))),
    "default parameters": ("certificate_unparseable", algorithm()),
    "no salt": ("certificate_unparseable", algorithm(*FIELDS[:2])),
    "another order": ("certificate_unparseable", algorithm(*reversed(FIELDS))),
    "something after": ("certificate_unparseable", algorithm(*FIELDS, tail=NULL)),
}


@pytest.mark.parametrize("name_", OTHER_ALGORITHMS)
def test_no_other_algorithm(name_: str) -> None:
    code, identifier = OTHER_ALGORITHMS[name_]
    with refused(code):
        require_pss_sha384(identifier, again=identifier)


@pytest.mark.parametrize("scheme", [issue.SHA384, issue.SHA384_TRAILER])
def test_the_algorithm_with_and_without_its_default_trailer(scheme: issue.Scheme) -> None:
    require_pss_sha384(scheme.identifier(), again=scheme.identifier())


def test_two_spellings_of_the_algorithm_are_two() -> None:
    with refused("signature_parameters"):
        require_pss_sha384(issue.SHA384.identifier(), again=issue.SHA384_TRAILER.identifier())


# ---- keys and signatures


def test_a_signature_by_an_rsa_key_of_4096_bits(simulated_root: SimulatedRoot) -> None:
    ark = Certificate.parse(simulated_root.ark)
    require_signature(ark.spki, ark.signature, ark.signed, "x")
    for signature, signed in (
        (ark.signature, ark.signed + b"\0"),
        (ark.signature[:-1], ark.signed),
        (ark.signature + b"\0", ark.signed),
        (b"", ark.signed),
        (bytes(512), ark.signed),
    ):
        with refused("x"):
            require_signature(ark.spki, signature, signed, "x")


def test_a_yes_is_remembered_with_its_bytes_and_a_no_never_is(
    simulated_root: SimulatedRoot,
) -> None:
    """Neither an order of asking nor how often makes an answer another one."""
    ark = Certificate.parse(simulated_root.ark)
    other = bytes([ark.signature[0] ^ 1]) + ark.signature[1:]
    certs._verify.cache_clear()
    for _ in range(2):
        require_signature(ark.spki, ark.signature, ark.signed, "x")
        for signature, signed in ((other, ark.signed), (ark.signature, ark.signed + b"\0")):
            with refused("x"):
                require_signature(ark.spki, signature, signed, "x")
    assert certs._verify.cache_info().currsize == 1
    assert certs._verify.cache_info().hits == 1


@pytest.mark.parametrize("bits", [2048, 3072])
def test_a_smaller_key_signs_nothing(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    signature = issue.SHA384.sign(key, b"signed")
    with refused("x"):
        require_signature(issue.spki(key.public_key()), signature, b"signed", "x")


def test_another_kind_of_key_signs_nothing() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    signature = key.sign(b"signed", ec.ECDSA(hashes.SHA384()))
    with refused("x"):
        require_signature(issue.spki(key.public_key()), signature, b"signed", "x")


@pytest.mark.parametrize("spki", [b"", b"\0" * 99, asn1.sequence(), b"0\x80\0\0"])
def test_a_key_that_is_none(spki: bytes) -> None:
    with refused("certificate_unparseable"):
        require_signature(spki, b"", b"", "x")


def test_a_salt_of_another_length_does_not_verify(simulated_root: SimulatedRoot) -> None:
    """The parameters are the verifier's, not what a certificate says of itself."""
    scheme = issue.Scheme(hashes.SHA384(), SHA384, 20)
    signature = scheme.sign(simulated_root.ark_key, b"signed")
    with refused("x"):
        require_signature(
            issue.spki(simulated_root.ark_key.public_key()), signature, b"signed", "x"
        )


# ---- the leaf


def leaf(
    root: SimulatedRoot,
    *extensions: bytes,
    subject: str = issue.LEAF_NAME["vcek"],
    key: issue.PublicKey = KEY,
) -> bytes:
    return issue.certificate(
        serial=0,
        issuer=issue.name(issue.intermediate_name("milan", "vcek")),
        subject=issue.name(subject),
        window=(NOW, NOW + timedelta(days=1)),
        key=key,
        extensions=list(extensions),
        signer=root.ask_key,
    )


def vcek_extensions(**changed: bytes | None) -> list[bytes]:
    """AMD's extensions by the last part of their OID; None takes one away."""
    values: dict[str, bytes | None] = {
        "1": asn1.integer(0),
        "2": asn1.ia5("Milan-B0"),
        "3.1": asn1.integer(4),
        "3.2": asn1.integer(0),
        "3.3": asn1.integer(24),
        "3.8": asn1.integer(219),
        "4": CHIP,
        **{suffix.replace("_", "."): value for suffix, value in changed.items()},
    }
    return [extension(AMD + suffix, value) for suffix, value in values.items() if value is not None]


def parsed(root: SimulatedRoot, **changed: bytes | None) -> Leaf:
    return Leaf.parse(leaf(root, *vcek_extensions(**changed)))


def test_a_good_leaf(simulated_root: SimulatedRoot) -> None:
    good = parsed(simulated_root)
    assert good.kind == "vcek"
    assert good.levels == {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
    assert (good.struct_version, good.product_name) == (0, "Milan-B0")
    assert (good.hardware_id, good.csp_id) == (CHIP, None)
    assert good.key.public_numbers() == KEY.public_numbers()


LEAF_REFUSALS: dict[str, tuple[str, dict[str, bytes | None]]] = {
    "no structVersion": ("leaf_extension", {"1": None}),
    "a structVersion of another type": ("certificate_unparseable", {"1": asn1.octets(b"\0")}),
    "a structVersion with a tail": ("certificate_unparseable", {"1": asn1.integer(0) + b"\0"}),
    "a negative structVersion": ("certificate_unparseable", {"1": b"\x02\x01\xff"}),
    "no productName": ("leaf_extension", {"2": None}),
    "a productName of another type": ("certificate_unparseable", {"2": asn1.utf8("Milan-B0")}),
    "a productName with a tail": ("certificate_unparseable", {"2": asn1.ia5("Milan-B0") + b"x"}),
    "a level as OCTET STRING": ("certificate_unparseable", {"3_3": asn1.octets(b"\x18")}),
    "a level as a raw byte": ("certificate_unparseable", {"3_3": b"\x18"}),
    "a level with a superfluous zero": ("certificate_unparseable", {"3_3": b"\x02\x02\0\x18"}),
    "a negative level": ("certificate_unparseable", {"3_8": b"\x02\x01\xdb"}),
    "a level with a tail": ("certificate_unparseable", {"3_3": asn1.integer(24) + b"\0"}),
    "a level of 256": ("leaf_extension", {"3_8": asn1.integer(256)}),
    "a level beyond printing": ("certificate_unparseable", {"3_8": asn1.integer(10**5000)}),
    "a structVersion beyond printing": ("certificate_unparseable", {"1": asn1.integer(10**5000)}),
    "a reserved level of 256": ("leaf_extension", {"3_4": asn1.integer(256)}),
    "no hwID": ("hwid", {"4": None}),
    "an empty hwID": ("hwid", {"4": b""}),
    "a hwID of 63 bytes": ("hwid", {"4": CHIP[1:]}),
    "a hwID of 65 bytes": ("hwid", {"4": b"\0" + CHIP}),
    "a hwID wrapped wrongly": ("hwid", {"4": b"\x03\x40" + CHIP}),
    "a hwID wrapped with another length": ("hwid", {"4": b"\x04\x3f" + CHIP}),
    "a hwID wrapped twice": ("hwid", {"4": b"\x04\x42\x04\x40" + CHIP}),
}


@pytest.mark.parametrize("refusal", LEAF_REFUSALS)
def test_an_extension_alone_is_wrong(refusal: str, simulated_root: SimulatedRoot) -> None:
    code, changed = LEAF_REFUSALS[refusal]
    with refused(code):
        parsed(simulated_root, **changed)


WRAPPED = {
    "64 raw": (CHIP, CHIP),
    "64 wrapped": (b"\x04\x40" + CHIP, CHIP),
    "64 raw that begin like a wrapper": (b"\x04\x3e" + CHIP[2:], b"\x04\x3e" + CHIP[2:]),
    "8 raw": (CHIP[:8], CHIP[:8]),
    "8 wrapped": (b"\x04\x08" + CHIP[:8], CHIP[:8]),
    "8 raw that begin like a wrapper": (b"\x04\x06" + CHIP[:6], b"\x04\x06" + CHIP[:6]),
}


@pytest.mark.parametrize("form", WRAPPED)
def test_forms_of_the_hardware_id(form: str, simulated_root: SimulatedRoot) -> None:
    written, read = WRAPPED[form]
    assert parsed(simulated_root, **{"4": written}).hardware_id == read


def test_levels_of_two_bytes_are_one_number(simulated_root: SimulatedRoot) -> None:
    for written, level in ((b"\x02\x02\x00\xdb", 219), (b"\x02\x02\x00\xff", 255)):
        assert parsed(simulated_root, **{"3_8": written}).levels["microcode"] == level


@pytest.mark.parametrize("subject", ["SEV-VCEK ", "sev-vcek", "SEV-VCEK-Milan", "", "SEV-Milan"])
def test_a_leaf_by_another_name(subject: str, simulated_root: SimulatedRoot) -> None:
    with refused("leaf_kind"):
        Leaf.parse(leaf(simulated_root, *vcek_extensions(), subject=subject))


def test_a_vlek_names_its_provider_and_no_chip(simulated_root: SimulatedRoot) -> None:
    def vlek(**changed: bytes | None) -> Leaf:
        extensions = vcek_extensions(**{"5": asn1.ia5("CN=cloud.example"), **changed})
        return Leaf.parse(leaf(simulated_root, *extensions, subject="SEV-VLEK"))

    assert (vlek().kind, vlek().csp_id, vlek().hardware_id) == ("vlek", "CN=cloud.example", None)
    with refused("leaf_extension"):
        vlek(**{"5": None})
    with refused("certificate_unparseable"):
        vlek(**{"5": asn1.utf8("CN=cloud.example")})


STRANGE_KEYS: dict[str, Callable[[], issue.PublicKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
    "RSA": lambda: rsa.generate_private_key(65537, 2048).public_key(),
    "Ed25519": lambda: ed25519.Ed25519PrivateKey.generate().public_key(),  # type: ignore[return-value,dict-item]
}


@pytest.mark.parametrize("kind", STRANGE_KEYS)
def test_a_leaf_with_a_key_of_another_kind(kind: str, simulated_root: SimulatedRoot) -> None:
    with refused("leaf_key"):
        Leaf.parse(leaf(simulated_root, *vcek_extensions(), key=STRANGE_KEYS[kind]()))


def test_a_key_that_is_no_point_of_the_curve() -> None:
    spki = bytearray(elements(elements(REAL)[0])[SPKI])
    spki[-1] ^= 1
    with refused("certificate_unparseable"):
        Leaf.parse(member(SPKI, bytes(spki)))


# ---- CAs


def constraints(value: bytes) -> bytes:
    return extension("2.5.29.19", value, asn1.element(0x01, b"\xff"))


def usage(value: bytes) -> bytes:
    return extension("2.5.29.15", value, asn1.element(0x01, b"\xff"))


IS_CA = constraints(asn1.sequence(asn1.element(0x01, b"\xff")))
MAY_SIGN = usage(asn1.bits(b"\x04", unused=2))
CAS: dict[str, tuple[bool, list[bytes]]] = {
    "both": (True, [IS_CA, MAY_SIGN]),
    "with a path length": (
        True,
        [
            constraints(asn1.sequence(asn1.element(0x01, b"\xff"), asn1.integer(0))),
            usage(asn1.bits(b"\x06", unused=1)),
        ],
    ),
    "neither": (False, []),
    "no constraints": (False, [MAY_SIGN]),
    "empty constraints": (False, [constraints(asn1.sequence()), MAY_SIGN]),
    "CA false": (False, [constraints(asn1.sequence(asn1.element(0x01, b"\0"))), MAY_SIGN]),
    "a path length alone": (False, [constraints(asn1.sequence(asn1.integer(0))), MAY_SIGN]),
    "no usage": (False, [IS_CA]),
    "usage without certificates": (False, [IS_CA, usage(asn1.bits(b"\x80", unused=7))]),
    "usage of no bits": (False, [IS_CA, usage(asn1.bits(b""))]),
}


@pytest.mark.parametrize("form", CAS)
def test_who_may_sign_certificates(form: str) -> None:
    expected, extensions = CAS[form]
    assert Certificate.parse(extended(*extensions)).is_ca is expected


def test_usage_with_a_tail_is_no_usage() -> None:
    with refused("certificate_unparseable"):
        Certificate.parse(extended(IS_CA, usage(asn1.bits(b"\x04", unused=2) + NULL)))


def test_names_are_their_exact_bytes() -> None:
    """Two names that read the same and are spelled differently are two."""
    utf8 = der.Reader(name(("2.5.4.3", asn1.utf8("ARK"))))
    printable = der.Reader(name(("2.5.4.3", asn1.printable("ARK"))))
    one, other = read_name(utf8), read_name(printable)
    assert one.common_name == other.common_name
    assert one.der != other.der
    assert read_name(der.Reader(name())).common_name == ""


@given(mutations(REAL))
def test_a_changed_leaf_is_read_or_refused(data: bytes) -> None:
    assert code_of(lambda: Leaf.parse(data)) in {
        "", "certificate_unparseable", "signature_parameters", "leaf_kind", "leaf_extension",
        "leaf_key", "hwid",
    }  # fmt: skip

"""Revocation lists: signed by the root, of now, and never half understood."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given

from sealserve.attestation import asn1
from sealserve.attestation.certs import Certificate
from sealserve.attestation.crl import MAX_CRL_BYTES, Crl
from sealserve.attestation.simulated import SimulatedRoot, issue
from support.attestation_der import elements, inserted, replaced
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import NOW
from support.attestation_vectors import vectors

(LISTS,) = vectors("crl")
GENOA = LISTS.read("genoa_vcek.crl")  # names one certificate
MILAN = LISTS.read("milan_vcek.crl")  # names none
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
NULL = asn1.element(0x05)
TIME = asn1.time(NOW)

# Places in TBSCertList (RFC 5280, 5.1); a list that names none has no REVOKED.
VERSION, ALGORITHM, ISSUER, THIS, NEXT, REVOKED, EXTENSIONS = range(7)


def changed(index: int, *new: bytes) -> bytes:
    """The Genoa list with one member of its signed part replaced; its signature is not asked."""
    return replaced(GENOA, 0, replaced(elements(GENOA)[0], index, *new))


def naming(*entries: bytes) -> bytes:
    return changed(REVOKED, asn1.sequence(*entries))


def extended(*extensions: bytes) -> bytes:
    return changed(EXTENSIONS, asn1.element(0xA0, asn1.sequence(*extensions)))


def extension(oid: str, value: bytes = b"", flag: bytes = b"") -> bytes:
    return asn1.sequence(asn1.oid(oid), flag, asn1.octets(value))


REFUSALS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nothing": ("certificate_unparseable", lambda: b""),
    "too long": ("crl_size", lambda: bytes(MAX_CRL_BYTES + 1)),
    "as long as may be and empty": ("certificate_unparseable", lambda: bytes(MAX_CRL_BYTES)),
    "a byte more": ("certificate_unparseable", lambda: GENOA + b"\0"),
    "a byte less": ("certificate_unparseable", lambda: GENOA[:-1]),
    "an element more": ("certificate_unparseable", lambda: inserted(GENOA, 3, NULL)),
    "an element more inside": (
        "certificate_unparseable",
        lambda: replaced(GENOA, 0, inserted(elements(GENOA)[0], 7, NULL)),
    ),
    "no version": ("certificate_unparseable", lambda: changed(VERSION)),
    "version 1": ("certificate_unparseable", lambda: changed(VERSION, asn1.integer(0))),
    "version 3": ("certificate_unparseable", lambda: changed(VERSION, asn1.integer(2))),
    "another algorithm inside": (
        "signature_parameters",
        lambda: changed(ALGORITHM, issue.SHA256.identifier()),
    ),
    "another algorithm outside": (
        "signature_parameters",
        lambda: replaced(GENOA, 1, issue.SHA256.identifier()),
    ),
    "another algorithm": (
        "signature_parameters",
        lambda: replaced(
            changed(ALGORITHM, issue.SHA256.identifier()), 1, issue.SHA256.identifier()
        ),
    ),
    "no end": ("certificate_unparseable", lambda: changed(NEXT)),
    "an issuer beyond ASCII": (
        "certificate_unparseable",
        lambda: changed(ISSUER, issue.name("ARK-Geńoa")),
    ),
    "a negative serial": (
        "certificate_unparseable",
        lambda: naming(asn1.sequence(b"\x02\x01\x80", TIME)),
    ),
    "a serial beyond printing": (
        "certificate_unparseable",
        lambda: naming(asn1.sequence(asn1.integer(10**5000), TIME)),
    ),
    "an entry without a date": (
        "certificate_unparseable",
        lambda: naming(asn1.sequence(asn1.integer(1))),
    ),
    "an entry that is none": ("certificate_unparseable", lambda: naming(asn1.integer(1))),
    "an entry with something else": (
        "certificate_unparseable",
        lambda: naming(asn1.sequence(asn1.integer(1), TIME, asn1.octets(b""))),
    ),
    "an entry with a tail": (
        "certificate_unparseable",
        lambda: naming(asn1.sequence(asn1.integer(1), TIME, asn1.sequence(), NULL)),
    ),
    "changes to another list": (
        "certificate_unparseable",
        lambda: extended(extension("2.5.29.27", asn1.integer(1), asn1.element(0x01, b"\xff"))),
    ),
    "a part of what was issued": (
        "certificate_unparseable",
        lambda: extended(extension("2.5.29.28", asn1.sequence(), asn1.element(0x01, b"\xff"))),
    ),
    "an unknown extension": ("certificate_unparseable", lambda: extended(extension("1.2.3"))),
    "extensions with a tail": (
        "certificate_unparseable",
        lambda: changed(EXTENSIONS, asn1.element(0xA0, asn1.sequence(), NULL)),
    ),
    "extensions under another tag": (
        "certificate_unparseable",
        lambda: changed(EXTENSIONS, asn1.element(0xA1, asn1.sequence())),
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_another_form_is_refused(refusal: str) -> None:
    code, make = REFUSALS[refusal]
    data = make()
    with refused(code):
        Crl.parse(data)


def test_taking_apart_and_putting_together_changes_nothing() -> None:
    """What the table above relies on."""
    assert changed(VERSION, asn1.integer(1)) == GENOA
    assert naming(*elements(elements(elements(GENOA)[0])[REVOKED])) == GENOA


READ: dict[str, tuple[Callable[[], bytes], set[int]]] = {
    "a list that names one": (lambda: GENOA, {0x20001}),
    "a list that names none": (lambda: MILAN, set()),
    "an empty list of names": (naming, set()),
    "several": (
        lambda: naming(*(asn1.sequence(asn1.integer(n), TIME) for n in (0, 7, 7, 1 << 100))),
        {0, 7, 1 << 100},
    ),
    "with a reason": (
        lambda: naming(asn1.sequence(asn1.integer(7), TIME, asn1.sequence(NULL))),
        {7},
    ),
    "without extensions": (lambda: changed(EXTENSIONS), {0x20001}),
}


@pytest.mark.parametrize("form", READ)
def test_the_serials_of_a_list(form: str) -> None:
    make, expected = READ[form]
    assert Crl.parse(make()).revoked == expected


@pytest.mark.parametrize("file", ["milan_vcek.crl", "genoa_vcek.crl", "turin_vcek.crl"])
def test_a_second_opinion(file: str) -> None:
    ours, theirs = Crl.parse(LISTS.read(file)), x509.load_der_x509_crl(LISTS.read(file))
    assert ours.issuer.der == theirs.issuer.public_bytes()
    assert ours.this_update == theirs.last_update_utc
    assert ours.next_update == theirs.next_update_utc
    assert ours.revoked == {entry.serial_number for entry in theirs}
    assert ours.signed == theirs.tbs_certlist_bytes
    assert ours.signature == theirs.signature


# ---- belief


def made(
    root: SimulatedRoot,
    revoked: dict[int, datetime] | None = None,
    issuer: str = issue.ark_name("milan"),
    by_ask: bool = False,
) -> Crl:
    """A list of this root from now on for a day."""
    return Crl.parse(
        issue.crl(
            issuer=issue.name(issuer),
            window=(NOW, NOW + DAY),
            revoked=revoked or {},
            signer_id=bytes(20),
            signer=root.ask_key if by_ask else root.ark_key,
        )
    )


def test_a_list_of_the_root(simulated_root: SimulatedRoot) -> None:
    made(simulated_root).require_by(Certificate.parse(simulated_root.ark))


def test_our_lists_are_lists_to_others(simulated_root: SimulatedRoot) -> None:
    data = issue.crl(
        issuer=issue.name(issue.ark_name("milan")), window=(NOW, NOW + DAY), revoked={7: NOW},
        signer_id=bytes(20), signer=simulated_root.ark_key,
    )  # fmt: skip
    theirs = x509.load_der_x509_crl(data)
    assert theirs.is_signature_valid(simulated_root.ark_key.public_key())
    assert [entry.serial_number for entry in theirs] == [7]
    assert isinstance(theirs.signature_hash_algorithm, hashes.SHA384)
    assert theirs.public_bytes(serialization.Encoding.DER) == data


def test_a_list_of_another_name(simulated_root: SimulatedRoot) -> None:
    with refused("crl_issuer") as refusal:
        made(simulated_root, issuer="ARK-Genoa").require_by(Certificate.parse(simulated_root.ark))
    assert (refusal.value.seen, refusal.value.wanted) == ("ARK-Genoa", "ARK-Milan")


def test_a_list_by_another_key(simulated_root: SimulatedRoot) -> None:
    with refused("crl_signature"):
        made(simulated_root, by_ask=True).require_by(Certificate.parse(simulated_root.ark))


@pytest.mark.parametrize("member", range(THIS, EXTENSIONS))
def test_a_list_whose_meaning_was_changed(simulated_root: SimulatedRoot, member: int) -> None:
    data = issue.crl(
        issuer=issue.name(issue.ark_name("milan")), window=(NOW, NOW + DAY), revoked={7: NOW},
        signer_id=bytes(20), signer=simulated_root.ark_key,
    )  # fmt: skip
    new = asn1.sequence() if member == REVOKED else asn1.time(NOW + 2 * DAY)
    altered = replaced(data, 0, replaced(elements(data)[0], member, new))
    with refused("crl_signature"):
        Crl.parse(altered).require_by(Certificate.parse(simulated_root.ark))


WINDOW = [
    (-SECOND, "crl_early"),
    (timedelta(0), ""),
    (DAY, ""),
    (DAY + SECOND, "crl_stale"),
]


@pytest.mark.parametrize(("late", "code"), WINDOW)
def test_a_list_is_of_its_time(simulated_root: SimulatedRoot, late: timedelta, code: str) -> None:
    crl = made(simulated_root)
    assert code_of(lambda: crl.require_current(NOW + late)) == code


def test_a_certificate_on_the_list(simulated_root: SimulatedRoot) -> None:
    ask = Certificate.parse(simulated_root.ask)
    made(simulated_root).require_not_revoked(ask)
    made(simulated_root, {ask.serial + 1: NOW, ask.serial - 1: NOW}).require_not_revoked(ask)
    with refused("intermediate_revoked") as refusal:
        made(simulated_root, {1: NOW, ask.serial: NOW}).require_not_revoked(ask)
    assert "serial 0x10001 on the list" in str(refusal.value)


@given(mutations(GENOA))
def test_a_changed_list_is_read_or_refused(data: bytes) -> None:
    assert code_of(lambda: Crl.parse(data)) in {
        "", "certificate_unparseable", "signature_parameters",
    }  # fmt: skip

"""Endorsements: the real ones with what they say, and each check alone refusing one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import cbor2
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import Evidence, Roots, UvmEndorsement, cose, uvm, verify
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import MEASUREMENT as SIMULATED_MEASUREMENT
from sealserve.attestation.simulated import SimulatedRoot
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import NOW, evidence_of
from support.attestation_uvm import (
    DROP,
    EKU,
    FEED,
    MEASUREMENT,
    SIGNED_AT,
    SVN,
    Header,
    Issuer,
    good,
    issuer,
    issuer_of,
    json_payload,
    leaf_spec,
)
from support.attestation_vectors import Vector, vectors
from support.attestation_x509 import (
    AT,
    END,
    INTERMEDIATE,
    NO_CA,
    ROOT,
    START,
    did,
    ec_key,
    rsa_key,
    usage,
)

CODES = {
    *("uvm_malformed", "uvm_algorithm", "uvm_x5t", "uvm_chain", "uvm_time", "uvm_did"),
    *("uvm_signature", "uvm_payload", "uvm_svn"),
}
PRODUCTION = (
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
)
ATTACHED = vectors("snp", "uvm.cose")
FORM_B = next(row for row in vectors("uvm") if "uvm_transparent.cose" in row.files)
ALONE = next(row for row in vectors("uvm") if row.id == "sidecar/security-context")
STRANGER = next(row for row in vectors("uvm") if row.id == "uvm/esrp-test-issuer")
REAL: dict[str, tuple[Vector, str]] = {
    **{row.id: (row, "uvm.cose") for row in (*ATTACHED, ALONE)},
    FORM_B.id: (FORM_B, "uvm_transparent.cose"),
}

# ---- real ones


@pytest.mark.parametrize("id", REAL)
def test_real_endorsements(id: str) -> None:
    row, file = REAL[id]
    measured = row.measured["uvm"]
    read = uvm.read(row.read(file))
    assert read.issuer == PRODUCTION
    assert read.feed == measured["feed"] == "ContainerPlat-AMD-UVM"
    assert read.svn == measured["svn"]
    assert read.signed_at == datetime.fromisoformat(measured["signed_at"])
    assert not read.simulated
    endorsed = row.measured.get("measurement") or measured["measurement"]
    assert endorsed is None or read.measurement.hex() == endorsed


def test_their_signers_have_expired_since() -> None:
    """What is judged is the time of signing: no endorsement would last a year otherwise."""
    for row, file in REAL.values():
        signer = cose.Sign1.parse(row.read(file)).protected[33]
        assert isinstance(signer, list)
        leaf = x509.load_der_x509_certificate(signer[0])
        assert leaf.not_valid_after_utc < row.at


def test_a_genuine_statement_that_is_no_endorsement() -> None:
    data = STRANGER.read("uvm.cose")
    with refused("uvm_algorithm"):
        uvm.read(data)
    with_curves = (cose.PS384, cose.ES384)
    statement = uvm.statement(data, with_curves)
    assert statement.feed == STRANGER.measured["uvm"]["feed"]
    assert statement.issuer.startswith(STRANGER.measured["uvm"]["iss"])
    with refused("uvm_payload"):
        uvm.read(data, with_curves)


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Protected header, payload and signature, as they stand in the message."""
    read = cose.Sign1.parse(data)
    return read.signed_header, read.payload, read.signature


@pytest.mark.parametrize("id", ["azure-cleanroom/aci-milan-v3-enc", FORM_B.id])
def test_every_byte_that_is_signed_counts(id: str) -> None:
    row, file = REAL[id]
    data = row.read(file)
    uvm.read(data)
    seen = set()
    for part in parts_of(data):
        start = data.index(part)
        for offset in range(start, start + len(part)):
            changed = bytearray(data)
            changed[offset] ^= 1 << offset % 8
            seen.add(code_of(lambda message=bytes(changed): uvm.read(message)))  # type: ignore[misc]
    assert seen <= CODES, seen
    assert seen >= {"uvm_malformed", "uvm_x5t", "uvm_chain", "uvm_did", "uvm_signature"}


def test_what_is_not_signed_can_be_exchanged() -> None:
    """Half of a message of form A is a time stamp: a message is never known by its digest."""
    data = ALONE.read("uvm.cose")
    tagged = cbor2.loads(data)
    header, unprotected, payload, signature = tagged.value
    assert set(unprotected) == {"timestamp"}
    for other in ({"timestamp": b"another"}, {}, {394: [b"receipt"]}):
        exchanged = cbor2.dumps(cbor2.CBORTag(18, [header, other, payload, signature]))
        assert exchanged != data
        assert uvm.read(exchanged) == uvm.read(data)


# ---- our own


def test_both_forms() -> None:
    expected = UvmEndorsement(good().did, FEED, SVN, MEASUREMENT, AT, simulated=False)
    assert uvm.read(good().form_a()) == expected
    assert uvm.read(good().form_b()) == expected


def other_issuer(**leaf: object) -> Issuer:
    return issuer(leaf_spec(**leaf))  # type: ignore[arg-type]


def signed_by(purpose: str) -> Issuer:
    eku = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)])
    return other_issuer(extensions=(NO_CA, (eku, False)))


def at(moment: datetime) -> cbor2.CBORTag:
    return cbor2.CBORTag(1, int(moment.timestamp()))


SECOND = timedelta(seconds=1)
BY_STRANGER = {34: [-16, hashlib.sha256(good().chain[1]).digest()]}
TWO = Issuer(good().chain[:2], good().key)
NOT_SIGNING = other_issuer(
    extensions=(
        NO_CA,
        (usage("key_agreement"), True),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU)]), False),
    )
)

HEADERS: Mapping[str, tuple[Header, str]] = {
    "no algorithm": ({1: DROP}, "uvm_algorithm"),
    "PS256": ({1: -37}, "uvm_algorithm"),
    "PS512": ({1: -39}, "uvm_algorithm"),
    "critical labels": ({2: [33]}, "uvm_malformed"),
    "no chain": ({33: DROP}, "uvm_malformed"),
    "one certificate": ({33: good().chain[0]}, "uvm_malformed"),
    "a chain of texts": ({33: ["a", "b"]}, "uvm_malformed"),
    "one certificate in a chain": ({33: [good().chain[0]]}, "uvm_chain"),
    "certificates that are none": ({33: [b"a", b"b"]}, "uvm_chain"),
    "a chain upside down": ({33: [*reversed(good().chain)], **BY_STRANGER}, "uvm_x5t"),
    "no digest of the leaf": ({34: DROP}, "uvm_x5t"),
    "a digest of another": (BY_STRANGER, "uvm_x5t"),
    "a digest with another algorithm": (
        {34: [-43, hashlib.sha384(good().chain[0]).digest()]},
        "uvm_x5t",
    ),
}
FORM_A_HEADERS: Mapping[str, tuple[Header, str]] = {
    **HEADERS,
    "no content type": ({3: DROP}, "uvm_malformed"),
    "another content type": ({3: "application/cbor"}, "uvm_malformed"),
    "no issuer": ({"iss": DROP}, "uvm_malformed"),
    "an issuer in bytes": ({"iss": good().did.encode()}, "uvm_malformed"),
    "no feed": ({"feed": DROP}, "uvm_malformed"),
    "no time": ({"signingtime": DROP}, "uvm_malformed"),
    "a time without its tag": ({"signingtime": int(AT.timestamp())}, "uvm_malformed"),
    "a time before 1970": ({"signingtime": cbor2.CBORTag(1, -1)}, "uvm_malformed"),
    "a time after 2242": ({"signingtime": cbor2.CBORTag(1, 2**33 + 1)}, "uvm_malformed"),
    "a hash envelope": ({258: -43}, "uvm_malformed"),
    "the type of a preimage": ({259: "application/json"}, "uvm_malformed"),
    "CWT claims beside": ({15: {1: good().did}}, "uvm_malformed"),
    "signed before the chain": ({"signingtime": at(START - SECOND)}, "uvm_time"),
    "signed after the chain": ({"signingtime": at(END + SECOND)}, "uvm_time"),
}
FORM_B_HEADERS: Mapping[str, tuple[Header, str]] = {
    **HEADERS,
    "claims that are no map": ({15: [good().did]}, "uvm_malformed"),
    "no hash algorithm": ({258: DROP}, "uvm_malformed"),
    "SHA-256": ({258: -16}, "uvm_malformed"),
    "no type of the preimage": ({259: DROP}, "uvm_malformed"),
    "another type of the preimage": ({259: "application/json"}, "uvm_malformed"),
    "a content type": ({3: "application/json"}, "uvm_malformed"),
    "an issuer of form A": ({"iss": good().did}, "uvm_malformed"),
    "a feed of form A": ({"feed": FEED}, "uvm_malformed"),
    "a time of form A": ({"signingtime": SIGNED_AT}, "uvm_malformed"),
}
CLAIMS: Mapping[str, tuple[Header, str]] = {
    "no issuer": ({1: DROP}, "uvm_malformed"),
    "no feed": ({2: DROP}, "uvm_malformed"),
    "a feed in bytes": ({2: FEED.encode()}, "uvm_malformed"),
    "an audience": ({3: "somebody"}, "uvm_malformed"),
    "an end": ({4: at(END)}, "uvm_malformed"),
    "a beginning": ({5: at(START)}, "uvm_malformed"),
    "no time": ({6: DROP}, "uvm_malformed"),
    "a time in a text": ({6: "2026-06-01"}, "uvm_malformed"),
    "signed before the chain": ({6: at(START - SECOND)}, "uvm_time"),
    "signed after the chain": ({6: at(END + SECOND)}, "uvm_time"),
    "no version": ({"svn": DROP}, "uvm_svn"),
    "a version below zero": ({"svn": -1}, "uvm_svn"),
    "true for a version": ({"svn": True}, "uvm_svn"),
    "a version of 2^31": ({"svn": 2**31}, "uvm_svn"),
    "another issuer": ({1: PRODUCTION}, "uvm_did"),
    "an issuer that is no DID": ({1: "Microsoft"}, "uvm_did"),
    "a DID URL": ({1: good().did + "#0"}, "uvm_did"),
    "the leaf for its own issuer": ({1: did(good().chain[0], f"eku:{EKU}")}, "uvm_did"),
    "the purpose of a policy's signer": ({1: good().did[:-1] + "3"}, "uvm_did"),
}
PAYLOADS_A: Mapping[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "uvm_payload"),
    "JSON in another encoding": (json_payload().decode().encode("utf-16"), "uvm_payload"),
    "no object": (b"[]", "uvm_payload"),
    "a number that is none": (json_payload()[:-1] + b', "a": NaN}', "uvm_payload"),
    "a name twice": (json_payload()[:-1] + b", " + json_payload()[1:], "uvm_payload"),
    "nested too deep": (b"[" * 4096, "uvm_payload"),
    "more than 4 KiB": (json_payload() + b" " * 4096, "uvm_payload"),
    "no measurement": (json_payload(DROP), "uvm_payload"),
    "a measurement in capitals": (json_payload(MEASUREMENT.hex().upper()), "uvm_payload"),
    "a measurement too short": (json_payload(MEASUREMENT.hex()[2:]), "uvm_payload"),
    "a measurement too long": (json_payload(MEASUREMENT.hex() + "00"), "uvm_payload"),
    "a measurement with a line's end": (json_payload(MEASUREMENT.hex() + "\n"), "uvm_payload"),
    "a measurement that is a number": (json_payload(0), "uvm_payload"),
    "the measurement's bytes": (MEASUREMENT, "uvm_payload"),
    "no version": (json_payload(svn=DROP), "uvm_svn"),
    "a version with a sign": (json_payload(svn="+104"), "uvm_svn"),
    "a version below zero": (json_payload(svn=-1), "uvm_svn"),
    "a version with a zero in front": (json_payload(svn="0104"), "uvm_svn"),
    "a version in other digits": (json_payload(svn="\u0661"), "uvm_svn"),
    "a version with a space": (json_payload(svn="104 "), "uvm_svn"),
    "no version in it": (json_payload(svn=""), "uvm_svn"),
    "a version with a fraction": (json_payload(svn=104.0), "uvm_svn"),
    "true for a version": (json_payload(svn=True), "uvm_svn"),
    "null for a version": (json_payload(svn=None), "uvm_svn"),
    "a version of 2^31": (json_payload(svn=str(2**31)), "uvm_svn"),
    "two versions": (json_payload(**{"x-ms-sevsnpvm-guestsvn-int": 105}), "uvm_svn"),
    "a good and a bad version": (json_payload(**{"x-ms-sevsnpvm-guestsvn-int": "x"}), "uvm_svn"),
}
PAYLOADS_B = {
    "47 bytes": MEASUREMENT[:-1],
    "49 bytes": MEASUREMENT + b"\0",
    "nothing": b"",
    "form A's payload": json_payload(),
    "hexadecimal": MEASUREMENT.hex().encode(),
}
ISSUERS: Mapping[str, tuple[Callable[[], Issuer], str]] = {
    "a chain that ends below its root": (lambda: TWO, "uvm_chain"),
    "a leaf signed by a stranger": (
        lambda: other_issuer(signer=ec_key("stranger")),
        "uvm_chain",
    ),
    "an issuer that is no CA": (
        lambda: issuer(intermediate=replace(INTERMEDIATE, extensions=(NO_CA,))),
        "uvm_chain",
    ),
    "a leaf too young": (lambda: other_issuer(start=AT + SECOND), "uvm_time"),
    "an intermediate too old": (
        lambda: issuer(intermediate=replace(INTERMEDIATE, end=AT - SECOND)),
        "uvm_time",
    ),
    "a root too old": (lambda: issuer(root=replace(ROOT, end=AT - SECOND)), "uvm_time"),
    "another purpose": (lambda: signed_by(EKU[:-1] + "3"), "uvm_did"),
    "a key that may not sign": (lambda: NOT_SIGNING, "uvm_did"),
    "a key of another kind": (lambda: other_issuer(key=ec_key("leaf")), "uvm_algorithm"),
    "simulated, but for its root": (
        lambda: issuer_of(SIMULATED_ORGANIZATION, SIMULATED_ORGANIZATION, "Example"),
        "uvm_chain",
    ),
    "real, but for its leaf": (
        lambda: issuer_of(SIMULATED_ORGANIZATION, "Example", "Example"),
        "uvm_chain",
    ),
}


@pytest.mark.parametrize("what", FORM_A_HEADERS)
def test_headers_of_form_a(what: str) -> None:
    header, code = FORM_A_HEADERS[what]
    with refused(code):
        uvm.read(good().form_a(header))


@pytest.mark.parametrize("what", FORM_B_HEADERS)
def test_headers_of_form_b(what: str) -> None:
    header, code = FORM_B_HEADERS[what]
    with refused(code):
        uvm.read(good().form_b(header))


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_of_form_b(what: str) -> None:
    claims, code = CLAIMS[what]
    with refused(code):
        uvm.read(good().form_b(claims=claims))


@pytest.mark.parametrize("what", PAYLOADS_A)
def test_payloads_of_form_a(what: str) -> None:
    payload, code = PAYLOADS_A[what]
    with refused(code):
        uvm.read(good().form_a(payload=payload))


@pytest.mark.parametrize("what", PAYLOADS_B)
def test_payloads_of_form_b(what: str) -> None:
    with refused("uvm_payload"):
        uvm.read(good().form_b(payload=PAYLOADS_B[what]))


@pytest.mark.parametrize("what", ISSUERS)
def test_issuers(what: str) -> None:
    make, code = ISSUERS[what]
    for message in (make().form_a(), make().form_b()):
        with refused(code):
            uvm.read(message)


def test_signed_by_another_key() -> None:
    for message in (good().form_a(key=rsa_key("other")), good().form_b(key=rsa_key("other"))):
        with refused("uvm_signature"):
            uvm.read(message)


ACCEPTED = {
    "a label that nobody knows": good().form_a({"text": "x", 4: b"id"}),
    "the first second": good().form_a({"signingtime": at(START)}),
    "the last second": good().form_a({"signingtime": at(END)}),
    "a version as a number": good().form_a(payload=json_payload(svn=SVN)),
    "a version in both ways": good().form_a(
        payload=json_payload(**{"x-ms-sevsnpvm-guestsvn-int": SVN})
    ),
    "a version in the other way": good().form_a(
        payload=json_payload(svn=DROP, **{"x-ms-sevsnpvm-guestsvn-int": SVN})
    ),
    "members that nobody knows": good().form_a(payload=json_payload(later={"a": [1.5, None]})),
    "a time without its tag": good().form_b(claims={6: int(AT.timestamp())}),
    "a claim that nobody knows": good().form_b(claims={7: b"id", "build": 7}),
    "a receipt": good().form_b(unprotected={394: [b"receipt"]}),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_what_is_good_as_well(what: str) -> None:
    read = uvm.read(ACCEPTED[what])
    assert (read.svn, read.measurement) == (SVN, MEASUREMENT)


@pytest.mark.parametrize("svn", [0, 2**31 - 1])
def test_versions_at_their_limits(svn: int) -> None:
    assert uvm.read(good().form_a(payload=json_payload(svn=str(svn)))).svn == svn
    assert uvm.read(good().form_b(claims={"svn": svn})).svn == svn


@pytest.mark.parametrize("number", [-37, -39])
def test_algorithms_that_were_asked_for(number: int) -> None:
    uvm.read(good().form_b({1: number}), (cose.PS256, cose.PS512))


def test_the_issuer_may_be_the_intermediate() -> None:
    """Whom a statement is by is told by its DID, whichever certificate that names."""
    by = did(good().chain[1], f"eku:{EKU}")
    assert uvm.read(good().form_b(claims={1: by})).issuer == by


# ---- with a report


def endorsed(evidence: Evidence, message: bytes) -> Evidence:
    return replace(evidence, uvm_endorsement=message)


SIMULATED = issuer_of(*[SIMULATED_ORGANIZATION] * 3)


def of_launch(by: Issuer, measurement: bytes = SIMULATED_MEASUREMENT) -> bytes:
    return by.form_b(payload=measurement)


def test_verification_hands_on_what_it_read(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    evidence = evidence_of(simulated_root)
    for message in (
        of_launch(SIMULATED),
        SIMULATED.form_a(payload=json_payload(SIMULATED_MEASUREMENT.hex())),
    ):
        claims = verify(endorsed(evidence, message), simulated_roots, NOW)
        assert claims.endorsement == uvm.read(message)
        assert claims.endorsement.simulated
    assert verify(evidence, simulated_roots, NOW).endorsement is None


def test_an_endorsement_of_another_launch(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    message = of_launch(SIMULATED, MEASUREMENT)
    with refused("uvm_measurement"):
        verify(endorsed(evidence_of(simulated_root), message), simulated_roots, NOW)


def test_a_real_issuer_says_nothing_of_a_simulated_machine(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    """Neither our own, of the very measurement, nor Microsoft's."""
    for message in (of_launch(good()), ALONE.read("uvm.cose")):
        with refused("uvm_authority"):
            verify(endorsed(evidence_of(simulated_root), message), simulated_roots, NOW)


def test_an_endorsement_is_never_passed_over(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    with refused("uvm_malformed"):
        verify(endorsed(evidence_of(simulated_root), b"\xd2\x84"), simulated_roots, NOW)


# ---- bytes nobody planned


@given(st.sampled_from([good().form_a(), good().form_b()]).flatmap(mutations))
def test_changed_messages(data: bytes) -> None:
    assert code_of(lambda: uvm.read(data)) in {"", *CODES}


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.just(SIGNED_AT)
LABELS = [1, 2, 3, 15, 33, 34, 258, 259, "iss", "feed", "signingtime", "svn"]


@given(
    st.dictionaries(st.sampled_from(LABELS), VALUES | st.lists(VALUES), max_size=3),
    st.dictionaries(st.sampled_from([1, 2, 3, 4, 5, 6, "svn"]), VALUES, max_size=3),
    st.binary(max_size=60) | st.just(MEASUREMENT) | st.just(json_payload()),
)
def test_signed_nonsense(header: Header, claims: Header, payload: bytes) -> None:
    """A signer is a stranger, too, until policy says otherwise."""
    for message in (good().form_a(header, payload), good().form_b(header, claims, payload)):
        assert code_of(lambda data=message: uvm.read(data)) in {"", *CODES}  # type: ignore[misc]


def test_the_list_of_codes_is_closed() -> None:
    provoked = {
        code
        for table in (FORM_A_HEADERS, FORM_B_HEADERS, CLAIMS, PAYLOADS_A, ISSUERS)
        for _, code in table.values()  # type: ignore[attr-defined]
    }
    assert provoked | {"uvm_signature"} == CODES
    documented = {word for word in (uvm.__doc__ or "").split() if word.startswith("uvm_")}
    assert documented == CODES | {"uvm_authority", "uvm_measurement"}

"""One thing is wrong with the server, or one expectation differs: the right error, and no data.

Every case is seen from the server's side too: no prediction call arrived, and fewer bytes crossed
the wire than the prediction alone would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealserve.attestation import ReleaseClaims, TlsClaims, encode, report_data
from sealserve.attestation.simulated import MEASUREMENT, SimulatedRoot
from sealserve.inference.client import connect
from sealserve.inference.server.challenge import Answer
from sealserve.inference.server.handed import Certificates
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.native.errors import (
    EvidenceError,
    PolicyViolation,
    SealserveError,
    UnavailableError,
)
from sealserve.policy import Trust
from support import client_case as case
from support.attestation_simulated import FAULTS_OF_MILAN, codes_of
from support.client_case import FixedIdentity, Parts, profile
from support.client_server import MODEL, LiveServer, Relay
from support.policy_case import ENDORSED, MEASURED, MILAN_FLOOR
from support.policy_case import MEASUREMENT as PLACEHOLDER

PAYLOAD = np.random.default_rng(1).random((87382, 3), np.float32)  # a mebibyte, incompressible
FEW_BYTES = 64 * 1024  # handshakes and questions of a client that gave up


# What a trust file says about each machine that is genuine all the same.
def refusal(
    server: LiveServer, trust: Trust, route: Callable[[int], int] | None = None
) -> SealserveError:
    """The error for somebody who wants to predict; nothing of the prediction reached anybody."""
    with Relay(route or server.port) as relay:
        with pytest.raises(SealserveError) as caught, connect(relay.target, trust) as client:
            client.predict(MODEL, {"x": PAYLOAD})
        assert relay.bytes_up < FEW_BYTES
    assert_no_data(server)
    return caught.value


def assert_no_data(server: LiveServer) -> None:
    assert server.record.count(names.MODEL_INFER) == 0
    assert server.record.prediction_bytes == 0
    assert server.model.runs == 0


def codes(error: SealserveError) -> set[str]:
    if isinstance(error, EvidenceError):
        return {error.code}
    assert isinstance(error, PolicyViolation), repr(error)
    return {finding.code for finding in error.findings}


@pytest.fixture(scope="module")
def good_server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    """A server with which nothing is wrong, for expectations that differ."""
    with case.live(case.machine(simulated_root)) as server:
        yield server


@pytest.fixture(scope="module")
def other_root() -> SimulatedRoot:
    """Another simulated platform."""
    return SimulatedRoot.create(datetime.now(UTC))


def test_what_is_refused_below_is_accepted_when_nothing_is_wrong(
    simulated_root: SimulatedRoot,
) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
    ):
        assert client.predict(MODEL, {"x": PAYLOAD})["twice"].shape == PAYLOAD.shape
        assert server.record.prediction_bytes > PAYLOAD.nbytes
        assert relay.bytes_up > PAYLOAD.nbytes > FEW_BYTES


# ---- each expectation of the trust file

FLOORS = {"tcb_reported_floor", "tcb_committed_floor"}
CASE_LAUNCH = MEASURED.replace(PLACEHOLDER.hex(), MEASUREMENT.hex())
EXPECTATIONS: dict[str, tuple[tuple[case.Change, ...], set[str]]] = {
    "expires": ((("expires = 2199-03-31", "expires = 2020-03-31"),), {"trust_expired"}),
    "lines": ((('lines = ["milan", ', "lines = ["), (MILAN_FLOOR, "")), {"line"}),
    "tcb bootloader": ((("bootloader = 4\n", "bootloader = 5\n"),), FLOORS),
    "tcb tee": ((("bootloader = 4\ntee = 0\n", "bootloader = 4\ntee = 1\n"),), FLOORS),
    "tcb snp": ((("snp = 24\n", "snp = 25\n"),), FLOORS),
    "tcb microcode": ((("microcode = 219\n", "microcode = 220\n"),), FLOORS),
    "tcb of the cpu model": (
        (
            (
                MILAN_FLOOR,
                MILAN_FLOOR + MILAN_FLOOR.replace("milan", "milan-01").replace("24", "25"),
            ),
        ),
        FLOORS,
    ),
    "max_crl_age_days": ((("max_crl_age_days = 45", "max_crl_age_days = 1"),), {"crl_age"}),
    "measurements": (((MEASUREMENT.hex(), "aa" * 48),), {"measurement"}),
    "uvm": (((CASE_LAUNCH, ENDORSED),), {"uvm_missing"}),
    "policies": (((case.POLICY.hex(), "aa" * 32),), {"host_data"}),
    "no policy": (
        (
            (
                f'policies = [{{ sha256 = "{case.POLICY.hex()}", note = "sealserve 0.1" }}]',
                'policies = "none"',
            ),
        ),
        {"host_data"},
    ),
    "roots of the model": (((case.ROOT.hex(), "aa" * 32),), {"model_roots"}),
    "model": (((f"[models.{MODEL}]", "[models.lung]"),), {"model_unknown"}),
}


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_one_expectation_differs(
    good_server: LiveServer, simulated_root: SimulatedRoot, name: str
) -> None:
    changes, wanted = EXPECTATIONS[name]
    error = refusal(good_server, case.trust(simulated_root, *changes))
    assert isinstance(error, PolicyViolation)
    assert codes(error) == wanted


def test_another_chip_is_expected(good_server: LiveServer, simulated_root: SimulatedRoot) -> None:
    trust = case.trust(simulated_root, (case.chip(simulated_root), "ab" * 64))
    assert codes(refusal(good_server, trust)) == {"chip_id"}


def test_another_simulated_root_is_expected(
    good_server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    trust = case.trust(simulated_root, (simulated_root.ark_sha256.hex(), "ab" * 32))
    assert codes(refusal(good_server, trust)) == {"untrusted_root"}


def test_real_hardware_is_expected(good_server: LiveServer, simulated_root: SimulatedRoot) -> None:
    simulated = f'kind = "simulated"\nsimulated_root_sha256 = "{simulated_root.ark_sha256.hex()}"'
    trust = case.trust(simulated_root, (simulated, 'kind = "snp"'))
    assert codes(refusal(good_server, trust)) == {"untrusted_root"}


# ---- each fault a machine can have


@pytest.mark.parametrize("fault", FAULTS_OF_MILAN)
def test_a_faulty_machine(simulated_root: SimulatedRoot, fault: str) -> None:
    with case.live(case.machine(simulated_root, fault)) as server:
        error = refusal(server, case.trust(simulated_root))
        assert codes(error) == codes_of(fault)
        assert server.record.calls == []  # refused for its certificate alone


@pytest.mark.parametrize("fault", FAULTS_OF_MILAN)
def test_a_machine_that_turns_faulty_after_its_certificate(
    simulated_root: SimulatedRoot, fault: str
) -> None:
    owner = TlsIdentity(case.machine(simulated_root))
    answer = case.answers(case.machine(simulated_root, fault), owner)
    with case.live(case.machine(simulated_root), identity=owner, answer=answer) as server:
        error = refusal(server, case.trust(simulated_root))
        assert codes(error) == codes_of(fault)


# ---- the certificate

Change = Callable[[Parts], None]


def _set(**fields: Any) -> Change:
    def change(parts: Parts) -> None:
        for name, value in fields.items():
            setattr(parts, name, value)

    return change


def _extension(**replaced: Any) -> Change:
    def change(parts: Parts) -> None:
        parts.extensions = profile(parts.evidence, **replaced)

    return change


def _also(extension: x509.ExtensionType) -> Change:
    def change(parts: Parts) -> None:
        parts.extensions = [*profile(parts.evidence), (extension, False)]

    return change


def _evidence_critical(parts: Parts) -> None:
    *others, (value, _) = profile(parts.evidence)
    parts.extensions = [*others, (value, True)]


def _signed_by_another(parts: Parts) -> None:
    parts.signer = case.new_key()


_CA = x509.BasicConstraints(ca=True, path_length=None)
_PURPOSES = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)
_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
_TWO_NAMES = x509.SubjectAlternativeName(
    [x509.DNSName("sealserve.internal"), x509.DNSName("bank.example")]
)
_OTHER_NAME = x509.SubjectAlternativeName([x509.DNSName("bank.example")])
_STRICT = x509.BasicConstraints(ca=False, path_length=None)
CERTIFICATES: dict[str, tuple[Change, str]] = {
    "subject": (_set(subject="bank.example"), "certificate_names"),
    "issuer": (_set(issuer="bank.example"), "certificate_names"),
    "signed by another key": (_signed_by_another, "certificate_signature"),
    "signed with SHA-384": (_set(hash=hashes.SHA384()), "certificate_signature"),
    "not valid yet": (_set(start=timedelta(days=1)), "cert_window"),
    "expired": (
        _set(start=timedelta(days=-31), lifetime=timedelta(days=30)),
        "cert_window",
    ),
    "valid for long": (_set(lifetime=timedelta(days=32)), "certificate_lifetime"),
    "a CA": (_extension(constraints=(_CA, True)), "certificate_extensions"),
    "constraints not critical": (
        _extension(constraints=(_STRICT, False)),
        "certificate_extensions",
    ),
    "no constraints": (_extension(constraints=None), "certificate_extensions"),
    "may sign": (
        _extension(usage=(case.key_usage(key_cert_sign=True), True)),
        "certificate_extensions",
    ),
    "may agree": (
        _extension(usage=(case.key_usage(key_agreement=True), True)),
        "certificate_extensions",
    ),
    "usage not critical": (_extension(usage=(case.key_usage(), False)), "certificate_extensions"),
    "no usage": (_extension(usage=None), "certificate_extensions"),
    "for clients too": (_extension(purposes=(_PURPOSES, False)), "certificate_extensions"),
    "for clients": (_extension(purposes=(_CLIENT, False)), "certificate_extensions"),
    "no purposes": (_extension(purposes=None), "certificate_extensions"),
    "two names": (_extension(names=(_TWO_NAMES, False)), "certificate_extensions"),
    "another name": (_extension(names=(_OTHER_NAME, False)), "certificate_extensions"),
    "no name": (_extension(names=None), "certificate_extensions"),
    "without evidence": (_extension(evidence=None), "certificate_extensions"),
    "evidence critical": (_evidence_critical, "certificate_extensions"),
    "a sixth extension": (_also(x509.OCSPNoCheck()), "certificate_extensions"),
    "evidence that is none": (_set(evidence=b"\xa0"), "evidence_malformed"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_of_another_profile(simulated_root: SimulatedRoot, name: str) -> None:
    change, code = CERTIFICATES[name]
    source = case.machine(simulated_root)
    with case.live(source, identity=case.identity(source, change)) as server:
        assert codes(refusal(server, case.trust(simulated_root))) == {code}
        assert server.record.calls == []


@pytest.mark.parametrize("name", ["P-384", "RSA"])
def test_a_certificate_with_another_kind_of_key(simulated_root: SimulatedRoot, name: str) -> None:
    source = case.machine(simulated_root)
    key: Any = (
        rsa.generate_private_key(65537, 2048)
        if name == "RSA"
        else ec.generate_private_key(ec.SECP384R1())
    )
    with case.live(source, identity=case.identity(source, key=key)) as server:
        assert codes(refusal(server, case.trust(simulated_root))) == {"certificate_key"}
        assert server.record.calls == []


def _release_claims() -> bytes:
    return ReleaseClaims.of(rsa.generate_private_key(65537, 3072).public_key()).encode()


def test_evidence_in_the_certificate_is_for_another_key(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    evidence = case.tls_evidence(source, case.new_key())
    with case.live(source, identity=case.identity(source, _set(evidence=evidence))) as server:
        error = refusal(server, case.trust(simulated_root))
    assert codes(error) == {"certificate_binding"}


@pytest.mark.parametrize("purpose", ["challenge", "release"])
def test_evidence_in_the_certificate_is_for_another_purpose(
    simulated_root: SimulatedRoot, purpose: str
) -> None:
    source = case.machine(simulated_root)
    owner = case.identity(source)
    if purpose == "release":
        evidence = encode(source.evidence(_release_claims()))
    else:
        evidence = case.answers(source, owner)(frozenset({bytes(32)})).evidence
    chosen = case.identity(source, _set(evidence=evidence), key=owner.key)
    with case.live(source, identity=chosen) as server:
        assert codes(refusal(server, case.trust(simulated_root))) == {"claims_purpose"}
        assert server.record.calls == []


# ---- the answer to the challenge


def answered(simulated_root: SimulatedRoot, **changes: Any) -> SealserveError:
    """The refusal of a server that answers challenges with these differences."""
    source = case.machine(simulated_root)
    owner = TlsIdentity(source)
    with case.live(source, identity=owner, answer=case.answers(source, owner, **changes)) as server:
        error = refusal(server, case.trust(simulated_root))
        assert server.record.count(names.GET_EVIDENCE) == 1
        assert len(server.record.calls) == 1
    return error


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "an old nonce": ({"nonces": [bytes([1] * 32)]}, "challenge_nonce"),
    "many others' nonces": (
        {"nonces": [bytes([n] * 32) for n in range(255)]},
        "challenge_nonce",
    ),
    "another key": ({"spki": case.OTHER}, "challenge_key"),
    "another root": ({"roots": (case.OTHER,)}, "model_roots"),
    "no root": ({"roots": ()}, "model_roots"),
    "another next certificate": ({"next": case.OTHER}, "challenge_next"),
    "a next certificate that is none": ({"next_certificate": b"none"}, "certificate_unparseable"),
    "no next certificate": ({"next_certificate": b""}, "certificate_unparseable"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_the_challenge_is_answered_wrongly(simulated_root: SimulatedRoot, name: str) -> None:
    changes, code = CLAIMS[name]
    assert codes(answered(simulated_root, **changes)) == {code}


TEXTS: dict[str, tuple[tuple[bytes, bytes], str]] = {
    "a short config": ((b'"config":"wMDA', b'"config":"'), "claims_malformed"),
    "no config": ((b'"config":', b'"konfig":'), "claims_malformed"),
    "a version to come": ((b'"version":1', b'"version":2'), "claims_purpose"),
    "a space": ((b"{", b"{ "), "claims_canonical"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_claims_have_another_form(simulated_root: SimulatedRoot, name: str) -> None:
    (old, new), code = TEXTS[name]
    source = case.machine(simulated_root)

    def evidence(claims: bytes) -> bytes:
        assert old in claims
        return encode(source.evidence(claims.replace(old, new, 1)))

    assert codes(answered(simulated_root, evidence=evidence)) == {code}


def test_the_answer_is_evidence_for_tls(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    made = encode(source.evidence(TlsClaims(bytes(32)).encode()))
    assert codes(answered(simulated_root, evidence=lambda _: made)) == {"claims_purpose"}


def test_the_answer_is_evidence_for_a_key_release(simulated_root: SimulatedRoot) -> None:
    made = encode(case.machine(simulated_root).evidence(_release_claims()))
    assert codes(answered(simulated_root, evidence=lambda _: made)) == {"claims_purpose"}


@pytest.mark.parametrize("data", [b"", b"none", b"\xa0"], ids=["nothing", "words", "empty map"])
def test_the_answer_is_no_evidence(simulated_root: SimulatedRoot, data: bytes) -> None:
    assert codes(answered(simulated_root, evidence=lambda _: data)) == {"evidence_malformed"}


def test_the_answer_is_of_another_platform(
    simulated_root: SimulatedRoot, other_root: SimulatedRoot
) -> None:
    other = case.machine(other_root)
    error = answered(simulated_root, evidence=lambda claims: encode(other.evidence(claims)))
    assert codes(error) == {"untrusted_root"}


def test_claims_that_were_changed_after_the_report(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)

    def swapped(claims: bytes) -> bytes:
        other = claims.replace(b'"config":"w', b'"config":"x')
        return encode(source.answer(report_data(claims), other))

    assert codes(answered(simulated_root, evidence=swapped)) == {"report_data"}


def test_a_recorded_answer_is_replayed(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    owner = TlsIdentity(source)
    recorded = case.answers(source, owner)(frozenset({bytes([9] * 32)}))
    with case.live(source, identity=owner, answer=lambda _: recorded) as server:
        assert codes(refusal(server, case.trust(simulated_root))) == {"challenge_nonce"}


# ---- the certificate that comes next


def followed_by(simulated_root: SimulatedRoot, following: FixedIdentity, owner: Any) -> set[str]:
    source = case.machine(simulated_root)
    answer = case.answers(source, owner, next_certificate=following.certificates.current)
    with case.live(source, identity=owner, answer=answer) as server:
        return codes(refusal(server, case.trust(simulated_root)))


def test_the_next_certificate_is_of_another_key(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    following = case.identity(source)
    owner = case.identity(source)
    assert followed_by(simulated_root, following, owner) == {"challenge_next_key"}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_the_next_certificate_is_of_another_profile(
    simulated_root: SimulatedRoot, name: str
) -> None:
    change, code = CERTIFICATES[name]
    source = case.machine(simulated_root)
    owner = case.identity(source)
    following = case.identity(source, change, key=owner.key)
    assert followed_by(simulated_root, following, owner) == {code}


@pytest.mark.parametrize("fault", ["debug", "other-key", "revoked"])
def test_the_next_certificate_is_of_a_faulty_machine(
    simulated_root: SimulatedRoot, fault: str
) -> None:
    owner = case.identity(case.machine(simulated_root))
    following = case.identity(case.machine(simulated_root, fault), key=owner.key)
    wanted = codes_of(fault)
    assert followed_by(simulated_root, following, owner) == wanted


# ---- somebody in between


def test_a_man_in_the_middle_shows_the_evidence_of_another(simulated_root: SimulatedRoot) -> None:
    """It has a key of its own and relays what the attested machine says."""
    source = case.machine(simulated_root)
    with case.live(source) as victim:
        stolen = case.encoded(source.evidence(TlsClaims(victim.identity.spki_sha256).encode()))
        middle = case.identity(source, _set(evidence=stolen))
        with case.live(source, identity=middle) as server:
            error = refusal(server, case.trust(simulated_root))
        assert_no_data(victim)
    assert codes(error) == {"certificate_binding"}


def test_a_man_in_the_middle_relays_the_challenge(simulated_root: SimulatedRoot) -> None:
    """It is attested itself, but lets another machine answer the challenge."""
    source = case.machine(simulated_root)
    elsewhere = TlsIdentity(source)
    answer = case.answers(source, elsewhere)
    with case.live(source, answer=answer) as server:
        assert codes(refusal(server, case.trust(simulated_root))) == {"challenge_key"}


def _takes_over_after(first: int, genuine: LiveServer, middle: LiveServer) -> Callable[[int], int]:
    return lambda connection: genuine.port if connection < first else middle.port


@pytest.mark.parametrize("first", [1, 2], ids=["before the challenge", "before the prediction"])
def test_a_man_in_the_middle_takes_over(simulated_root: SimulatedRoot, first: int) -> None:
    """Whoever took over is verified as whoever it is, and this one is not acceptable."""
    source = case.machine(simulated_root)
    with (
        case.live(source) as genuine,
        case.live(case.machine(simulated_root, "debug")) as middle,
    ):
        route = _takes_over_after(first, genuine, middle)
        error = refusal(genuine, case.trust(simulated_root), route)
        assert codes(error) == {"policy_debug"}
        assert middle.record.calls == []


def test_a_man_in_the_middle_shows_the_genuine_certificate_every_time(
    simulated_root: SimulatedRoot,
) -> None:
    """It never has the key that was proven, so it is told nothing, not even a nonce."""
    source = case.machine(simulated_root)
    with case.live(source) as genuine, case.live(source) as middle:

        def route(connection: int) -> int:
            return middle.port if connection % 2 else genuine.port

        error = refusal(genuine, case.trust(simulated_root), route)
        assert isinstance(error, UnavailableError)
        assert genuine.record.calls == middle.record.calls == []


@pytest.mark.parametrize("first", [1, 2], ids=["before the challenge", "before the prediction"])
def test_a_leaf_signed_by_the_pinned_certificate(simulated_root: SimulatedRoot, first: int) -> None:
    """Somebody got the attested key to sign a certificate: a pin must not admit it."""
    source = case.machine(simulated_root)
    owner = case.identity(source)
    leaf = case.new_key()
    forged = Parts(leaf, case.tls_evidence(source, leaf), signer=owner.key).build(datetime.now(UTC))
    chain = case.as_pem(owner.certificates.current)
    imposter = FixedIdentity(leaf, Certificates(forged, forged), chain)
    with case.live(source, identity=owner) as genuine, case.live(source, identity=imposter) as evil:
        error = refusal(
            genuine, case.trust(simulated_root), _takes_over_after(first, genuine, evil)
        )
        assert evil.record.calls == []
    assert codes(error) == {"certificate_signature"}  # the next verification sees the leaf itself


def test_a_leaf_signed_by_the_pinned_certificate_is_shown_first(
    simulated_root: SimulatedRoot,
) -> None:
    source = case.machine(simulated_root)
    owner = case.identity(source)
    leaf = case.new_key()
    forged = Parts(leaf, case.tls_evidence(source, leaf), signer=owner.key)
    imposter = FixedIdentity(
        leaf,
        Certificates(forged.build(datetime.now(UTC)), b""),
        case.as_pem(owner.certificates.current),
    )
    with case.live(source, identity=imposter, answer=lambda _: Answer(b"", b"")) as evil:
        assert codes(refusal(evil, case.trust(simulated_root))) == {"certificate_signature"}
        assert evil.record.calls == []

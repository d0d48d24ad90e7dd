"""The attestation service: what is genuine becomes a token, everything else HTTP 400."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation import Evidence
from sealserve.attestation.simulated import FAULTS, Machine, SimulatedRoot
from sealserve.attestation.token import LIFETIME_SECONDS, MAX_TOKEN_BYTES
from sealserve.keys.attest import request_body
from sealserve.keys.refused import Refused
from support.attestation_simulated import (
    CLAIMS,
    FAULTS_OF_MILAN,
    HOST_DATA,
    NOW,
    evidence_of,
    machine_of,
)
from support.attestation_vectors import vector
from support.keys_trustd import LocalTrustd, body_of, payload_of, told
from support.keys_vault import b64url, unb64url

CLEANROOM = Path(__file__).parents[2] / "vectors" / "azure" / "cleanroom"
RECORDED = json.loads((CLEANROOM / "maa-request.json").read_text())
REAL_TIME = datetime(2026, 9, 1, tzinfo=UTC)  # when the recorded certificates are valid

Request = dict[str, Any]
Edit = Callable[[Request], None]


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Inside, the service answers 400 with these words."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.status == 400
    assert words in caught.value.message


@pytest.fixture
def machine(simulated_root: SimulatedRoot) -> Machine:
    made: Machine = machine_of(simulated_root)
    return made


@pytest.fixture
def request_of(machine: Machine) -> Request:
    """A request that is granted. `report` and what is inside it are still to be encoded."""
    request: Request = json.loads(request_body(machine.evidence(CLAIMS), with_crl=True))
    request["report"] = json.loads(unb64url(request["report"]))
    return request


def encoded(request: Request) -> Request:
    """As it goes over the wire."""
    report = json.dumps(request["report"]).encode()
    return {**request, "report": base64.urlsafe_b64encode(report).decode()}


def attest(trustd: LocalTrustd, request: Request, kind: str = "SevSnpVm") -> dict[str, Any]:
    claims: dict[str, Any] = payload_of(trustd.service.attest(kind, body_of(request))["token"])
    return claims


# ---- what a token says

# Every claim of a token for confidential containers, as Azure's service spells it, and what it is.
REPORT_CLAIMS: dict[str, type] = {
    "authorkeydigest": str,
    "bootloader-svn": int,
    "familyId": str,
    "guestsvn": int,
    "hostdata": str,
    "idkeydigest": str,
    "imageId": str,
    "is-debuggable": bool,
    "launchmeasurement": str,
    "microcode-svn": int,
    "migration-allowed": bool,
    "reportdata": str,
    "reportid": str,
    "smt-allowed": bool,
    "snpfw-svn": int,
    "tee-svn": int,
    "vmpl": int,
    "chip-family": str,
    "chipid": str,
    "ciphertext-hiding-dram-enabled": bool,
    "cxl-allowed": bool,
    "mem-aes256-xts-required": bool,
    "page-swap-disabled": bool,
    "rapl-disabled": bool,
    "singlesocket": bool,
}
CLAIM_TYPES = {
    **{f"x-ms-sevsnpvm-{name}": kind for name, kind in REPORT_CLAIMS.items()},
    "exp": int,
    "iat": int,
    "iss": str,
    "jti": str,
    "nbf": int,
    "x-ms-attestation-type": str,
    "x-ms-compliance-status": str,
    "x-ms-policy-hash": str,
    "x-ms-runtime": dict,
    "x-ms-ver": str,
}
# Azure's has x-ms-policy-signer besides, where somebody signed a policy of the service: here the
# one policy is the program's own. The endorsement has its own tests (test_endorsed.py).


def test_a_token_has_every_claim_in_its_type(trustd: LocalTrustd, machine: Machine) -> None:
    claims = trustd.attest(machine.evidence(CLAIMS))
    assert {name: type(value) for name, value in claims.items()} == CLAIM_TYPES


def test_a_token_says_what_the_report_says(trustd: LocalTrustd, machine: Machine) -> None:
    evidence = machine.evidence(CLAIMS)
    report = evidence.report
    claims = trustd.attest(evidence)
    # offsets and lengths of AMD's table, each as Azure writes it
    for name, text in {
        "guestsvn": int.from_bytes(report[4:8], "little"),
        "is-debuggable": bool(report[8 + 2] & 1 << 3),
        "migration-allowed": bool(report[8 + 2] & 1 << 2),
        "smt-allowed": bool(report[8 + 2] & 1),
        "familyId": report[16:32].hex(),
        "imageId": report[32:48].hex(),
        "vmpl": int.from_bytes(report[48:52], "little"),
        "reportdata": report[80:144].hex(),
        "launchmeasurement": report[144:192].hex(),
        "hostdata": report[192:224].hex(),
        "idkeydigest": report[224:272].hex(),
        "authorkeydigest": report[272:320].hex(),
        "reportid": report[320:352].hex(),
        "bootloader-svn": report[384],
        "tee-svn": report[385],
        "snpfw-svn": report[390],
        "microcode-svn": report[391],
        "chipid": report[416:480].hex(),
        "chip-family": "Milan",
        "cxl-allowed": bool(report[8 + 2] & 1 << 5),
        "mem-aes256-xts-required": bool(report[8 + 2] & 1 << 6),
        "rapl-disabled": bool(report[8 + 2] & 1 << 7),
        "singlesocket": bool(report[8 + 2] & 1 << 4),
        "ciphertext-hiding-dram-enabled": bool(report[8 + 3] & 1),
        "page-swap-disabled": bool(report[8 + 3] & 1 << 1),
    }.items():
        assert claims[f"x-ms-sevsnpvm-{name}"] == text, name
    assert claims["x-ms-sevsnpvm-hostdata"] == HOST_DATA.hex()
    assert claims["x-ms-runtime"] == json.loads(CLAIMS)
    assert claims["x-ms-attestation-type"] == "sevsnpvm"
    assert claims["x-ms-compliance-status"] == "sealserve-simulated"
    assert claims["x-ms-ver"] == "1.0"


def test_a_token_says_whose_it_is_and_how_long(trustd: LocalTrustd, machine: Machine) -> None:
    claims = trustd.attest(machine.evidence(CLAIMS))
    assert claims["iss"] == f"https://{trustd.connection.address}/simulated"
    assert claims["iat"] == claims["nbf"] == int(NOW.timestamp())
    assert claims["exp"] - claims["iat"] == LIFETIME_SECONDS == 28800
    assert len(bytes.fromhex(claims["jti"])) == 32
    assert trustd.attest(machine.evidence(CLAIMS))["jti"] != claims["jti"]


NOT_DEFAULT = {
    "debug": ("is-debuggable", True),
    "migration": ("migration-allowed", True),
    "vmpl": ("vmpl", 1),
    "host-report": ("vmpl", 0xFFFFFFFF),
    "host-data": ("hostdata", "aa" * 32),
    "measurement": ("launchmeasurement", "aa" * 48),
}


@pytest.mark.parametrize(("fault", "claim"), NOT_DEFAULT.items(), ids=NOT_DEFAULT)
def test_what_is_genuine_is_told_and_not_judged(
    fault: str, claim: tuple[str, object], trustd: LocalTrustd, simulated_root: SimulatedRoot
) -> None:
    name, value = claim
    assert trustd.attest(evidence_of(simulated_root, fault))[f"x-ms-sevsnpvm-{name}"] == value


@pytest.mark.parametrize("kind", ["SevSnpVm", "SevSnpVM", "sevsnpvm", "SEVSNPVM"])
def test_the_kind_is_read_without_case(kind: str, trustd: LocalTrustd, request_of: Request) -> None:
    assert attest(trustd, encoded(request_of), kind)["x-ms-ver"] == "1.0"


@pytest.mark.parametrize("kind", ["SgxEnclave", "Tpm", "", "SevSnpVm2"])
def test_there_is_one_kind(kind: str, trustd: LocalTrustd, request_of: Request) -> None:
    with pytest.raises(Refused) as caught:
        attest(trustd, encoded(request_of), kind)
    assert told(caught.value) == (404, "NotFound")


# ---- what is not genuine

GENUINE = [name for name, fault in FAULTS.items() if not fault.code]
# These lie in the revocation list, which Azure's request has no member for.
UNSEEN = [name for name, fault in FAULTS.items() if fault.code.startswith("crl_")] + ["revoked"]
NOT_GENUINE = [name for name in FAULTS_OF_MILAN if name not in (*GENUINE, *UNSEEN)]


@pytest.mark.parametrize("fault", NOT_GENUINE)
def test_what_is_not_genuine_is_refused_with_the_check_that_failed(
    fault: str, trustd: LocalTrustd, simulated_root: SimulatedRoot
) -> None:
    with refused(f"{FAULTS[fault].code}: "):
        trustd.attest(evidence_of(simulated_root, fault))


def test_the_report_of_one_key_does_not_speak_for_another(
    trustd: LocalTrustd, machine: Machine
) -> None:
    evidence = machine.evidence(CLAIMS)
    with refused("report_data: "):
        trustd.attest(replace(evidence, claims=CLAIMS + b" "))


def test_certificates_are_judged_by_the_clock_of_the_service(
    trustd: LocalTrustd, machine: Machine
) -> None:
    evidence = machine.evidence(CLAIMS)
    trustd.now = NOW + timedelta(days=365 * 60)
    with refused("_expired: "):
        trustd.attest(evidence)
    trustd.now = NOW - timedelta(days=365 * 60)
    with refused("_early: "):
        trustd.attest(evidence)


def test_a_root_has_to_be_shown_to_be_compared(trustd: LocalTrustd, machine: Machine) -> None:
    with refused("untrusted_root: "):
        trustd.attest(replace(machine.evidence(CLAIMS), root=None))


def test_another_simulated_root_is_a_stranger(
    trustd: LocalTrustd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = SimulatedRoot.load_or_create(tmp_path_factory.mktemp("other-root"))
    with refused("untrusted_root: "):
        trustd.attest(evidence_of(other))


def test_an_endorsement_is_checked(trustd: LocalTrustd, machine: Machine) -> None:
    with refused("uvm_malformed: "):
        trustd.attest(replace(machine.evidence(CLAIMS), uvm_endorsement=b"\xd2\x84"))


# ---- what is no request


def put(*way: str, value: object) -> Edit:
    """An edit that puts a value there."""

    def edit(request: Request) -> None:
        *above, last = way
        inner = request
        for name in above:
            inner = inner[name]
        inner[last] = value

    return edit


def drop(*way: str) -> Edit:
    """An edit that takes a member away."""

    def edit(request: Request) -> None:
        *above, last = way
        inner = request
        for name in above:
            inner = inner[name]
        del inner[last]

    return edit


def chain(change: Callable[[str], str]) -> Edit:
    """An edit of the PEM text."""

    def edit(request: Request) -> None:
        text = unb64url(request["report"]["VcekCertChain"].rstrip("=")).decode()
        request["report"]["VcekCertChain"] = b64url(change(text).encode())

    return edit


def endorsements(value: object) -> Edit:
    return put("report", "Endorsements", value=b64url(json.dumps(value).encode()))


END = "-----END CERTIFICATE-----"
MALFORMED: dict[str, tuple[Edit, str]] = {
    "no SnpReport": (drop("report", "SnpReport"), "report.SnpReport: seen nothing"),
    "SnpReport is a number": (put("report", "SnpReport", value=7), "seen int; wanted text"),
    "SnpReport is no base64": (put("report", "SnpReport", value="!"), "wanted base64url"),
    "SnpReport is empty": (put("report", "SnpReport", value=""), "report_length: "),
    "SnpReport in other letters": (
        lambda request: request["report"].update(snpReport=request["report"].pop("SnpReport")),
        "report.SnpReport: seen nothing",
    ),
    "no chain": (drop("report", "VcekCertChain"), "report.VcekCertChain: seen nothing"),
    "an empty chain": (chain(lambda text: ""), "holds 0 certificates"),
    "one certificate": (chain(lambda text: text.split(END)[0] + END), "holds 1 certificates"),
    "four certificates": (
        chain(lambda text: text + text.split(END)[0] + END),
        "holds 4 certificates",
    ),
    "words between": (chain(lambda text: f"subject=x\n{text}"), "not a list of PEM"),
    "another block": (chain(lambda text: text.replace("CERTIFICATE", "KEY")), "not a list of PEM"),
    "cut base64": (
        chain(lambda text: text.replace(f"\n{END}", f"A\n{END}", 1)),
        "broken base64",
    ),
    "blank certificates": (
        chain(lambda text: f"-----BEGIN CERTIFICATE-----\n\n{END}\n" * 3),
        "certificate",
    ),
    "the wrong order": (
        chain(lambda text: END.join([*text.split(END)[1::-1], *text.split(END)[2:]])),
        "leaf_kind: ",
    ),
    "a long chain": (chain(lambda text: text + "\n" * 99_000), "not a list of PEM"),
    "Endorsements are no base64": (put("report", "Endorsements", value="!"), "wanted base64url"),
    "Endorsements are no JSON": (
        put("report", "Endorsements", value=b64url(b"{")),
        "report.Endorsements is not JSON",
    ),
    "Uvm is a text": (endorsements({"Uvm": "0oQ"}), "wanted a list of texts"),
    "Uvm holds a number": (endorsements({"Uvm": [7]}), "wanted a list of texts"),
    "two endorsements": (endorsements({"Uvm": ["0oQ", "0oQ"]}), "holds 2 entries"),
    "an endorsement that is no base64": (endorsements({"Uvm": ["!"]}), "wanted base64url"),
    "no runtime data": (drop("runtimeData"), "runtimeData.data: seen nothing"),
    "runtime data in other letters": (
        lambda request: request.update({"RuntimeData": request.pop("runtimeData")}),
        "runtimeData.data: seen nothing",
    ),
    "runtime data is a text": (put("runtimeData", value="e30"), "wanted an object"),
    "runtime data without data": (drop("runtimeData", "data"), "runtimeData.data: seen nothing"),
    "data is no base64": (put("runtimeData", "data", value="e"), "wanted base64url"),
    "no type of data": (drop("runtimeData", "dataType"), "dataType: seen nothing"),
    "another type of data": (put("runtimeData", "dataType", value="json"), "'json'; wanted JSON"),
    "a nonce that is a list": (put("nonce", value=[]), "nonce: seen list"),
    "a nonce that is true": (put("nonce", value=True), "nonce: seen bool"),
    "a nonce below zero": (put("nonce", value=-1), "nonce: seen int"),
    "a nonce of 65 bits": (put("nonce", value=2**64), "nonce: seen int"),
    "a nonce with a fraction": (put("nonce", value=1.5), "nonce: seen float"),
    "a long nonce": (put("nonce", value="n" * 1025), "a nonce of 1025 characters"),
}


@pytest.mark.parametrize(("edit", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_request_with_one_thing_wrong(
    edit: Edit, words: str, trustd: LocalTrustd, request_of: Request
) -> None:
    edit(request_of)
    with refused(words):
        attest(trustd, encoded(request_of))


NO_REPORT: dict[str, object] = {
    "none": None,
    "a number": 7,
    "an object": {},
    "no base64": "!",
    "no JSON": b64url(b"{"),
    "a list": b64url(b"[]"),
    "a member twice": b64url(b'{"SnpReport":"","SnpReport":""}'),
    "deep": b64url(b"[" * 50_000),
}


@pytest.mark.parametrize("report", NO_REPORT.values(), ids=NO_REPORT)
def test_a_request_without_a_report(
    report: object, trustd: LocalTrustd, request_of: Request
) -> None:
    with refused("report"):
        attest(trustd, {**request_of, "report": report})


# ---- runtime data, init-time data, nonce


def request_for(
    trustd: LocalTrustd, machine: Machine, data: bytes, kind: str = "JSON"
) -> dict[str, Any]:
    """The claims of a token for a report that speaks for these data."""
    runtime = {"data": base64.urlsafe_b64encode(data).decode(), "dataType": kind}
    claims: dict[str, Any] = trustd.attest(machine.evidence(data), runtimeData=runtime)
    return claims


def test_binary_data_are_bound_and_not_repeated(trustd: LocalTrustd, machine: Machine) -> None:
    data = bytes(range(256))
    claims = request_for(trustd, machine, data, "Binary")
    assert claims["x-ms-sevsnpvm-reportdata"] == hashlib.sha256(data).hexdigest() + "00" * 32
    assert claims.keys() == CLAIM_TYPES.keys() - {"x-ms-runtime"}


def test_json_called_binary_is_not_repeated(trustd: LocalTrustd, machine: Machine) -> None:
    """Else whoever asks could choose by a word whether a key in it may be wrapped to."""
    assert "x-ms-runtime" not in request_for(trustd, machine, b'{"keys":[]}', "Binary")


def test_json_data_are_repeated_as_they_are(trustd: LocalTrustd, machine: Machine) -> None:
    value = {"keys": [{"a": "ü", "n": 7, "deep": {"x": [None, True, 1.5]}}], "more": ""}
    claims = request_for(trustd, machine, json.dumps(value, ensure_ascii=False).encode())
    assert claims["x-ms-runtime"] == value


BAD_JSON = {
    "no JSON": b"keys",
    "nothing": b"",
    "two values": b"{}{}",
    "a member twice": b'{"keys":[],"keys":[]}',
    "not UTF-8": b'{"keys":"\xff"}',
    "half a character": b'{"keys":"\\ud800"}',
    "no number": b'{"keys":NaN}',
    "deep": b'{"keys":' * 40 + b"0" + b"}" * 40,
    "a value that is no object": b"[]",
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON)
def test_data_called_json_have_one_reading(
    data: bytes, trustd: LocalTrustd, machine: Machine
) -> None:
    with refused("JSON"):
        request_for(trustd, machine, data)


def test_long_json_is_refused(trustd: LocalTrustd, machine: Machine) -> None:
    longest = b'{"k":"%s"}' % (b"x" * (16 * 1024 - 8))
    assert len(request_for(trustd, machine, longest)["x-ms-runtime"]["k"]) == 16 * 1024 - 8
    with refused("data of 16385 bytes; at most 16384"):
        request_for(trustd, machine, longest.replace(b'"}', b'x"}'))


def test_no_token_is_issued_that_everybody_would_refuse(
    trustd: LocalTrustd, machine: Machine
) -> None:
    """Numbers and letters may take more room in a token than in the data."""
    data = json.dumps({"k": "ü" * 8000}, ensure_ascii=False).encode()
    with refused(f"at most {MAX_TOKEN_BYTES}"):
        request_for(trustd, machine, data)


def init_data(data: bytes, kind: str = "Binary") -> dict[str, str]:
    return {"data": base64.urlsafe_b64encode(data).decode(), "dataType": kind}


@pytest.fixture
def launched(simulated_root: SimulatedRoot) -> Callable[[bytes], Evidence]:
    """Evidence of a machine that was launched with these init-time data."""
    return lambda data: Machine(simulated_root, hashlib.sha256(data).digest()).evidence(CLAIMS)


@pytest.mark.parametrize("empty", [None, {}, {"data": "", "dataType": ""}, {"data": None}])
def test_init_time_data_may_be_missing(
    empty: object, trustd: LocalTrustd, machine: Machine
) -> None:
    """The third is what Azure's sidecars send."""
    claims = trustd.attest(machine.evidence(CLAIMS), initTimeData=empty)
    assert claims.keys() == CLAIM_TYPES.keys()


def test_init_time_data_are_what_host_data_digests(
    trustd: LocalTrustd, launched: Callable[[bytes], Evidence]
) -> None:
    evidence = launched(b'{"policy": 1}')
    claims = trustd.attest(evidence, initTimeData=init_data(b'{"policy": 1}', "JSON"))
    assert claims["x-ms-inittime"] == {"policy": 1}
    claims = trustd.attest(evidence, initTimeData=init_data(b'{"policy": 1}'))
    assert "x-ms-inittime" not in claims
    with refused("initTimeData has the SHA-256"):
        trustd.attest(evidence, initTimeData=init_data(b'{"policy": 2}', "JSON"))


INIT_TIME: dict[str, tuple[object, str]] = {
    "no JSON": (init_data(b"policy", "JSON"), "data of type JSON is not JSON"),
    "another type": (init_data(b"policy", "Text"), "dataType 'Text'"),
    "no type": ({"data": b64url(b"policy")}, "dataType: seen nothing"),
    "no base64": ({"data": "!", "dataType": "Binary"}, "wanted base64url"),
    "a text": ("cG9saWN5", "wanted an object"),
}


@pytest.mark.parametrize(("data", "words"), INIT_TIME.values(), ids=INIT_TIME)
def test_init_time_data_with_one_thing_wrong(
    data: object, words: str, trustd: LocalTrustd, launched: Callable[[bytes], Evidence]
) -> None:
    with refused(words):
        trustd.attest(launched(b"policy"), initTimeData=data)


NONCES = {
    "text": ("a nonce", "a nonce"),
    "digits": ("3413764049005270139", "3413764049005270139"),
    "the number of a sidecar": (3413764049005270139, "3413764049005270139"),
    "the largest number": (2**64 - 1, "18446744073709551615"),
    "zero": (0, "0"),
    "the longest": ("n" * 1024, "n" * 1024),
    "empty": ("", ""),
}


@pytest.mark.parametrize(("sent", "said"), NONCES.values(), ids=NONCES)
def test_a_nonce_comes_back_as_text(
    sent: object, said: str, trustd: LocalTrustd, machine: Machine
) -> None:
    assert trustd.attest(machine.evidence(CLAIMS), nonce=sent)["nonce"] == said


@pytest.mark.parametrize("members", [{}, {"nonce": None}])
def test_no_nonce_is_no_claim(
    members: dict[str, object], trustd: LocalTrustd, machine: Machine
) -> None:
    assert "nonce" not in trustd.attest(machine.evidence(CLAIMS), **members)


def test_nobody_chooses_the_claims_of_the_issuer(trustd: LocalTrustd, machine: Machine) -> None:
    stolen = {"iss": "https://other", "exp": 2**40, "x-ms-compliance-status": "azure-compliant-uvm"}
    claims = trustd.attest(machine.evidence(CLAIMS), **stolen)
    assert claims["iss"] == trustd.issuer
    assert claims["exp"] < 2**40
    assert claims["x-ms-compliance-status"] == "sealserve-simulated"


# ---- real machines


def recorded() -> Request:
    """A request that Azure's own tool sends, without its endorsement."""
    report = json.loads(unb64url(RECORDED["report"].rstrip("=")))
    return {**RECORDED, "report": {**report, "Endorsements": b64url(b"{}")}}


def test_a_recorded_request_of_azures_own_client(real: LocalTrustd) -> None:
    real.now = REAL_TIME
    claims = attest(real, encoded(recorded()))
    assert claims["iss"] == real.issuer == f"https://{real.connection.address}"
    assert claims["x-ms-runtime"] == json.loads((CLEANROOM / "public-key-jwks").read_bytes())
    assert claims["nonce"] == str(RECORDED["nonce"])
    assert claims["x-ms-sevsnpvm-is-debuggable"] is False
    assert claims.keys() == {*CLAIM_TYPES, "nonce"} - {"x-ms-compliance-status"}


def test_a_recorded_request_whole(real: LocalTrustd) -> None:
    """Its endorsement is genuine; that says nothing in a token, for nobody named its issuer."""
    real.now = REAL_TIME
    times = {"exp", "iat", "jti", "nbf"}
    with_it, without = attest(real, RECORDED), attest(real, encoded(recorded()))
    assert {name: with_it[name] for name in with_it.keys() - times} == {
        name: without[name] for name in without.keys() - times
    }


def test_amds_root_need_not_be_shown(real: LocalTrustd) -> None:
    real.now = REAL_TIME
    two = recorded()
    text = unb64url(two["report"]["VcekCertChain"].rstrip("=")).decode()
    shown = END.join(text.split(END)[:2]) + END
    two["report"]["VcekCertChain"] = b64url(shown.encode())
    assert attest(real, encoded(two))["x-ms-ver"] == "1.0"


@pytest.mark.parametrize(
    "name",
    ["attestation-rs/az-cvm-milan-v3", "openpcc/az-cvm-genoa-v3", "trustee/az-cvm-milan-v3-a"],
)
def test_real_evidence_at_a_simulated_service(
    name: str, trustd: LocalTrustd, real: LocalTrustd
) -> None:
    row = vector(name)
    trustd.now = real.now = row.at
    with refused("untrusted_root: "):
        trustd.attest(row.evidence())
    # so it is the service, and nothing in the evidence
    assert real.attest(row.evidence())["x-ms-sevsnpvm-hostdata"]


def test_real_evidence_with_its_root_at_a_simulated_service(trustd: LocalTrustd) -> None:
    trustd.now = REAL_TIME
    with refused("untrusted_root: "):
        attest(trustd, encoded(recorded()))


@pytest.mark.parametrize("with_root", [True, False])
def test_simulated_evidence_at_a_real_service(
    with_root: bool, real: LocalTrustd, machine: Machine
) -> None:
    real.now = NOW
    evidence = machine.evidence(CLAIMS)
    with refused("untrusted_root: "):
        real.attest(evidence if with_root else replace(evidence, root=None))


def test_amds_root_beside_simulated_certificates(real: LocalTrustd, machine: Machine) -> None:
    """A real root in the place of the simulated one does not make them real."""
    real.now = NOW
    text = unb64url(recorded()["report"]["VcekCertChain"].rstrip("=")).decode()
    ark = ssl.PEM_cert_to_DER_cert(text.split(END)[2].strip() + "\n" + END)
    with refused("untrusted_root: "):
        real.attest(replace(machine.evidence(CLAIMS), root=ark))

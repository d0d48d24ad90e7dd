"""`sealserve evidence`: files in, a verdict out; and a server's evidence that is kept for years."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation import pem, roots
from sealserve.attestation.evidence import decode
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from support import client_case as case
from support.attestation_simulated import evidence_of
from support.attestation_vectors import Vector, vector
from support.client_cli import Clinic
from support.client_server import LiveServer, silent_port
from support.models_cli import Ran
from support.policy_case import TRUST

AT = ("--at", "2026-09-01T00:00:00Z")
MILAN = "ms-tav/milan-v3-aci"
CVM = "trustee/az-cvm-milan-v3-a"
HOST = "sidecar/aci-milan-v2"


class Desk:
    """Files of one row in a folder, changed as a test likes, and the verdict on them."""

    def __init__(self, clinic: Clinic, row: Vector) -> None:
        self.clinic = clinic
        for name in row.files:
            self.put(name, row.read(name))

    def put(self, name: str, data: bytes) -> None:
        (self.clinic.folder / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.clinic.folder / name).read_bytes()

    def check(self, *options: str) -> Ran:
        return self.clinic.run("evidence", "check", "--report", "report.bin", *AT, *options)

    def judged(self, *options: str) -> tuple[int, dict[str, Any]]:
        ran = self.check(*options, "--json")
        assert ran.err == ""
        return ran.status, ran.json

    def codes(self, *options: str) -> list[str]:
        return [failure["code"] for failure in self.judged(*options)[1]["failures"]]


@pytest.fixture
def milan(clinic: Clinic) -> Desk:
    return Desk(clinic, vector(MILAN))


@pytest.fixture
def cvm(clinic: Clinic) -> Desk:
    return Desk(clinic, vector(CVM))


def test_genuine_and_what_was_not_checked(milan: Desk) -> None:
    ran = milan.check("--leaf", "leaf.der")
    assert (ran.status, ran.err) == (0, "")
    assert "  ok    report signed        by the key of the leaf" in ran.out
    assert "  ok    expected             debug is off\n" in ran.out
    assert "\ngenuine; NOT CHECKED: " in ran.out
    assert "HOST_DATA" in ran.out
    assert max(map(len, ran.out.splitlines())) < 80


def test_the_verdict_for_programs(milan: Desk) -> None:
    status, told = milan.judged("--leaf", "leaf.der")
    assert status == 0
    assert told.keys() == {"verdict", "failures", "not_checked", "claims"}
    assert (told["verdict"], told["failures"]) == ("accept", [])
    assert told["claims"]["line"] == "milan"
    assert told["claims"]["tcb"]["reported"]["snp"] == 24
    assert told["claims"]["uvm"] is None


def test_a_report_without_a_certificate_is_incomplete(milan: Desk) -> None:
    status, told = milan.judged()
    assert (status, told["verdict"], told["claims"]) == (3, "incomplete", {})
    assert [failure["code"] for failure in told["failures"]] == ["no_certificate"]
    assert any("report signed" in line for line in told["not_checked"])


def test_a_refusal_by_policy_alone_says_that_it_is_genuine(clinic: Clinic) -> None:
    desk = Desk(clinic, vector("go-sev-guest/milan-v2-debug"))
    ran = desk.check("--leaf", "leaf.der")
    assert (ran.status, ran.err) == (6, "")
    assert "\ngenuine, but REJECTED, not what is expected: policy_debug\n" in ran.out


def test_what_nobody_proved_is_never_called_genuine(clinic: Clinic) -> None:
    """A debug machine is refused whatever its certificate; its claims stay its own."""
    desk = Desk(clinic, vector("trustee/milan-v3-vlek"))
    status, told = desk.judged()
    assert (status, told["verdict"], told["claims"]) == (6, "policy-reject", {})
    assert [failure["code"] for failure in told["failures"]] == ["no_certificate", "vmpl_1"]
    assert "genuine" not in desk.check().out


def test_time_is_an_option(milan: Desk) -> None:
    def run(at: str) -> Ran:
        options = ("--report", "report.bin", "--leaf", "leaf.der", "--json", "--at", at)
        return milan.clinic.run("evidence", "check", *options)

    assert run("2033-02-06T00:00:00+00:00").json["verdict"] == "time-reject"
    assert run("2026-02-04T23:00:00Z").status == 5
    assert run("2026-02-05T23:00:00Z").status == 0
    for same in ("2026-09-01t00:00:00z", "2026-09-01 02:00:00.25+02:00"):  # RFC 3339, section 5.6
        assert run(same).status == 0
    others = ("yesterday", "2026-09-01T00:00:00", "", "2026-09-01", "2026-W36-2T00:00:00Z",
              "20260901T000000Z", "2026-09-01T00:00Z", "2026-09-01T00:00:00+02")  # fmt: skip
    for wrong in (*others, "2026-02-30T00:00:00Z"):
        ran = run(wrong)
        assert (ran.status, ran.out) == (2, "")
        assert "--at" in ran.err


LEAVES: dict[str, Callable[[bytes], bytes]] = {
    "DER": lambda der: der,
    "PEM": pem.write,
    "PEM among text": lambda der: b"subject=SEV-VCEK\n\n" + pem.write(der) + b"\nthe end\n",
}


@pytest.mark.parametrize("form", LEAVES)
def test_a_leaf_may_be_der_or_pem(milan: Desk, form: str) -> None:
    milan.put("leaf", LEAVES[form](milan.read("leaf.der")))
    assert milan.check("--leaf", "leaf").status == 0


def chain(*certificates: bytes) -> bytes:
    return b"".join(pem.write(der) for der in certificates)


ASK, GENOA = roots.intermediate("milan", "vcek"), roots.intermediate("genoa", "vcek")
ARK = roots.ark("milan").der


@pytest.mark.parametrize("wrong_way_round", [False, True])
@pytest.mark.parametrize("more", [(), (GENOA,)])
def test_a_chain_may_be_in_any_order(
    milan: Desk, wrong_way_round: bool, more: tuple[bytes, ...]
) -> None:
    certificates = [*more, milan.read("leaf.der"), ASK, ARK]
    milan.put("chain", chain(*certificates[:: -1 if wrong_way_round else 1]))
    assert milan.codes("--chain", "chain") == []


def test_a_chain_of_another_line(milan: Desk) -> None:
    milan.put("chain", chain(GENOA))
    assert milan.codes("--leaf", "leaf.der", "--chain", "chain") == [
        "chain_names",
        "leaf_signature",
    ]


@pytest.mark.parametrize("wrong_way_round", [False, True])
def test_a_chain_with_a_stranger_of_the_same_name(milan: Desk, wrong_way_round: bool) -> None:
    """AMD re-issues intermediates, and anybody can put one beside: it takes nothing away."""
    stranger = ASK[:-1] + bytes([ASK[-1] ^ 1])
    certificates = [stranger, ASK, ARK]
    milan.put("chain", chain(*certificates[:: -1 if wrong_way_round else 1]))
    assert milan.codes("--leaf", "leaf.der", "--chain", "chain") == []


def test_a_root_that_was_tampered_with(milan: Desk) -> None:
    milan.put("chain", chain(ASK, ARK[:-1] + bytes([ARK[-1] ^ 1])))
    assert milan.codes("--leaf", "leaf.der", "--chain", "chain") == ["untrusted_root"]


def test_certificates_as_a_host_has_them(clinic: Clinic) -> None:
    desk = Desk(clinic, vector(HOST))
    assert desk.codes("--host-amd-cert", "host_amd_cert.json") == []
    other = vector("aci-attestation/aci-milan-v3-other-chip")
    desk.put("other.json", other.read("host_amd_cert.json"))
    ran = desk.check("--host-amd-cert", "other.json", "--leaf", "leaf.der")
    assert (ran.status, "note  host certificate" in ran.out) == (0, True)
    desk.put("broken.json", desk.read("host_amd_cert.json")[:-9])
    assert desk.codes("--host-amd-cert", "broken.json") == ["thim_malformed"]
    assert desk.codes("--host-amd-cert", "broken.json", "--leaf", "leaf.der") == ["thim_malformed"]


def test_runtime_data_is_what_report_data_is_of(cvm: Desk) -> None:
    assert cvm.codes("--leaf", "leaf.der", "--runtime-data", "runtime_data.bin") == []
    cvm.put("runtime_data.bin", cvm.read("runtime_data.bin") + b"\n")
    status, told = cvm.judged("--leaf", "leaf.der", "--runtime-data", "runtime_data.bin")
    assert (status, told["verdict"]) == (5, "crypto-reject")
    assert [failure["code"] for failure in told["failures"]] == ["report_data"]


def test_the_policy_is_what_host_data_is_of(clinic: Clinic) -> None:
    desk = Desk(clinic, vector(HOST))
    assert desk.codes("--leaf", "leaf.der", "--policy", "cce_policy.rego") == []
    desk.put("cce_policy.rego", desk.read("cce_policy.rego") + b"\n")
    status, told = desk.judged("--leaf", "leaf.der", "--policy", "cce_policy.rego")
    assert (status, told["verdict"]) == (6, "policy-reject")
    assert [failure["code"] for failure in told["failures"]] == ["host_data"]
    assert told["claims"]


def test_a_policy_as_its_host_wrote_it_is_told_as_such(clinic: Clinic) -> None:
    desk = Desk(clinic, vector(HOST))
    desk.put("security-policy-base64", base64.b64encode(desk.read("cce_policy.rego")))
    told = desk.judged("--leaf", "leaf.der", "--policy", "security-policy-base64")[1]
    (failure,) = told["failures"]
    assert failure["code"] == "host_data"
    assert failure["hint"] == "the file looks like base64: decode it first"


HCL = ("--leaf", "leaf.der", "--hcl", "hcl_report.bin")
QUOTE = (*HCL, "--tpm-quote", "tpm_quote.json")


def test_a_machine_with_a_vtpm(cvm: Desk) -> None:
    ran = cvm.check(*QUOTE)
    assert ran.status == 0
    for words in ("HCL report", "quote signature", "quote registers", "report data"):
        assert f"  ok    {words} " in ran.out
    assert "  --    quote nonce          extraData is 6368616c6c656e6765" in ran.out


def with_byte(data: bytes, offset: int) -> bytes:
    changed = bytearray(data)
    changed[offset] ^= 1
    return bytes(changed)


def quote(data: bytes, **members: object) -> bytes:
    return json.dumps({**json.loads(data), **members}).encode()


VTPM: dict[str, tuple[Callable[[Desk], None], list[str]]] = {
    "another report inside": (
        lambda desk: desk.put("hcl_report.bin", with_byte(desk.read("hcl_report.bin"), 0x70)),
        ["hcl_report"],
    ),
    "other runtime data": (
        lambda desk: desk.put("hcl_report.bin", with_byte(desk.read("hcl_report.bin"), 0x900)),
        ["report_data"],
    ),
    "no HCL report": (
        lambda desk: desk.put("hcl_report.bin", desk.read("report.bin")),
        ["hcl_size", "no_runtime_data"],
    ),
    "another signature": (
        lambda desk: desk.put(
            "tpm_quote.json", quote(desk.read("tpm_quote.json"), signature="00" * 256)
        ),
        ["tpm_quote_signature"],
    ),
    "other registers": (
        lambda desk: desk.put(
            "tpm_quote.json", quote(desk.read("tpm_quote.json"), pcrs=["00" * 32] * 24)
        ),
        ["tpm_pcr_digest"],
    ),
    "no quote": (lambda desk: desk.put("tpm_quote.json", b"{}"), ["tpm_quote_malformed"]),
}


@pytest.mark.parametrize("name", VTPM)
def test_a_vtpm_that_does_not_fit(cvm: Desk, name: str) -> None:
    change, codes = VTPM[name]
    change(cvm)
    status, told = cvm.judged(*QUOTE)
    assert [failure["code"] for failure in told["failures"]] == codes
    assert (status, told["verdict"], told["claims"]) == (5, "crypto-reject", {})


def test_runtime_data_beside_an_hcl_report_is_the_same(cvm: Desk) -> None:
    assert cvm.codes(*HCL, "--runtime-data", "runtime_data.bin") == []
    cvm.put("runtime_data.bin", b"{}")
    codes = cvm.codes(*HCL, "--runtime-data", "runtime_data.bin")
    assert codes == ["hcl_runtime", "report_data"]


def test_a_quote_of_nobody_is_incomplete(cvm: Desk) -> None:
    status, told = cvm.judged("--leaf", "leaf.der", "--tpm-quote", "tpm_quote.json")
    assert (status, told["verdict"]) == (3, "incomplete")
    assert [failure["code"] for failure in told["failures"]] == ["no_runtime_data"]


MISTAKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "an empty file"),
    "PEM": (pem.write(ASK), "a certificate"),
    "a list": (vector(MILAN).directory.joinpath("crl/kds-2026-04/milan_vcek.crl").read_bytes(),
               "a revocation list"),
    "JSON": (b'{"a": 1}', "JSON"),
    "base64": (base64.b64encode(bytes(1184)), "base64: decode it first"),
    "hexadecimal": (bytes(1184).hex().encode(), "hexadecimal digits: decode it first"),
    "a message": (b"\xd2\x84" + bytes(90), "a COSE_Sign1 message"),
    "an HCL report": (b"HCLA" + bytes(90), "an HCL report"),
    "anything": (b"\x00\x01\x02", "3 bytes of nothing we know"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_file_is_told_as_what_it_is(milan: Desk, name: str) -> None:
    data, words = MISTAKEN[name]
    milan.put("report.bin", data)
    status, told = milan.judged("--leaf", "leaf.der")
    assert (status, told["verdict"]) == (5, "crypto-reject")
    (failure,) = told["failures"]
    assert (failure["code"], failure["hint"]) == ("report_length", f"the file looks like {words}")


OTHER_FILES = {
    "--leaf": ["certificate_unparseable"],
    "--chain": ["certificate_unparseable"],
    "--host-amd-cert": ["thim_malformed"],
    "--uvm": ["uvm_malformed"],
    "--hcl": ["hcl_size"],
    "--tpm-quote": ["tpm_quote_malformed", "no_runtime_data"],
    "--crl": ["certificate_unparseable"],
}


@pytest.mark.parametrize("option", OTHER_FILES)
@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 40, b"-----BEGIN CERTIFICATE-----\nAAAA"])
def test_whatever_a_file_holds_is_an_answer(milan: Desk, option: str, data: bytes) -> None:
    milan.put("odd", data)
    given = () if option == "--leaf" else ("--leaf", "leaf.der")
    status, told = milan.judged(*given, option, "odd")
    assert (status, told["verdict"], told["claims"]) == (5, "crypto-reject", {})
    codes = [failure["code"] for failure in told["failures"]]
    assert codes
    assert set(codes) <= {*OTHER_FILES[option], "pem_malformed"}


@pytest.mark.parametrize("option", ["--report", *OTHER_FILES])
def test_a_file_longer_than_any_is_refused_unread(milan: Desk, option: str) -> None:
    milan.put("long", bytes(200_000))
    given = [] if option in ("--leaf", "--report") else ["--leaf", "leaf.der"]
    status, told = milan.judged(*given, option, "long")
    assert (status, told["verdict"]) == (5, "crypto-reject")


@pytest.mark.parametrize("option", ["--runtime-data", "--policy"])
def test_what_is_hashed_is_hashed_whole(milan: Desk, option: str) -> None:
    milan.put("long", bytes(2_000_000))
    ran = milan.check("--leaf", "leaf.der", option, "long")
    assert (ran.status, ran.out) == (8, "")
    assert "long: is longer than" in ran.err


def test_files_that_are_not_there(milan: Desk) -> None:
    for option in ("--leaf", "--trust", "--simulated-root", "--runtime-data"):
        ran = milan.check(option, "nowhere")
        assert (ran.status, ran.out) == (8, "")
        assert "nowhere" in ran.err


def test_against_a_trust_file(milan: Desk) -> None:
    milan.put("trust.toml", TRUST.encode())
    status, told = milan.judged("--leaf", "leaf.der", "--trust", "trust.toml")
    assert (status, told["verdict"]) == (6, "policy-reject")
    codes = {failure["code"] for failure in told["failures"]}
    assert {"measurement", "host_data_permissive", "crl_missing"} <= codes


# ---- a server's evidence, kept


def kept(clinic: Clinic, server: LiveServer, *options: str) -> Ran:
    return clinic.run("evidence", "get", server.target, "-o", "kept", *options)


def command_of(folder: Path) -> list[str]:
    """What the README of a kept folder says to type."""
    text = (folder / "README.txt").read_text().replace("\\\n", "")
    (line,) = (line for line in text.splitlines() if line.strip().startswith("sealserve evidence"))
    return shlex.split(line)[1:]


def test_kept_evidence_is_judged_by_what_its_readme_says(
    clinic: Clinic, server: LiveServer
) -> None:
    ran = kept(clinic, server, "--trust", "trust.toml")
    assert (ran.status, ran.err) == (0, "")
    assert "acceptable to" in ran.out
    folder = clinic.folder / "kept"
    evidence = decode((folder / "evidence.cbor").read_bytes())
    assert (folder / "report.bin").read_bytes() == evidence.report
    nonce = (folder / "nonce.bin").read_bytes()
    wanted = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    assert wanted in json.loads(evidence.claims)["nonces"]
    words = command_of(folder)
    clinic.folder = folder
    judged = clinic.run(*words)
    assert (judged.status, judged.err) == (0, "")
    assert "SIMULATED PLATFORM" in judged.out
    assert "  ok    report data " in judged.out
    assert max(map(len, judged.out.splitlines())) < 80
    assert clinic.run(*words, "--trust", "../trust.toml").status == 0
    assert clinic.run(*words, "--json").json["claims"]["platform"] == "simulated"


def test_what_a_trust_file_asks_for_and_nobody_gave_is_missing(
    clinic: Clinic, server: LiveServer
) -> None:
    """Nothing failed, so it is no refusal; with one thing that does, it is."""
    assert kept(clinic, server).status == 0
    folder = clinic.folder / "kept"
    words = [*command_of(folder), "--trust", "../trust.toml"]
    at = words.index("--crl")
    clinic.folder = folder
    ran = clinic.run(*words[:at], *words[at + 2 :], "--json")
    assert (ran.status, ran.json["verdict"]) == (3, "incomplete")
    assert [failure["code"] for failure in ran.json["failures"]] == ["crl_missing"]
    assert ran.json["claims"]
    text = clinic.run(*words[:at], *words[at + 2 :]).out
    assert "\ngenuine, but INCOMPLETE: crl_missing\n" in text
    assert "nothing is proven" not in text
    (folder / "other").write_bytes(b"package policy\n")
    both = clinic.run(*words[:at], *words[at + 2 :], "--policy", "other", "--json")
    assert (both.status, both.json["verdict"]) == (6, "policy-reject")


def test_kept_evidence_years_later(clinic: Clinic, server: LiveServer) -> None:
    assert kept(clinic, server).status == 0
    words = command_of(clinic.folder / "kept")
    clinic.folder = clinic.folder / "kept"
    later = (datetime.now(UTC) + timedelta(days=5000)).isoformat()
    at = words.index("--at")
    today = [*words[:at], "--at", later]
    assert clinic.run(*today, "--json").json["verdict"] == "time-reject"
    assert clinic.run(*words).status == 0


def test_without_a_trust_file_nothing_is_judged(clinic: Clinic, server: LiveServer) -> None:
    ran = kept(clinic, server, "--json")
    assert ran.status == 0
    assert ran.json["verdict"] is None
    assert "nothing was judged" in ran.err
    assert "nobody judged it then" in (clinic.folder / "kept/README.txt").read_text()


def test_nothing_is_kept_of_a_server_that_fails(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust((case.POLICY.hex(), "ab" * 32))
    ran = kept(clinic, server, "--trust", "trust.toml")
    assert (ran.status, ran.out) == (6, "")
    assert clinic.files == {"trust.toml"}


def test_only_a_nonce_leaves(clinic: Clinic, server: LiveServer) -> None:
    server.record.calls.clear()
    kept(clinic, server)
    assert [method for method, _ in server.record.calls] == [names.GET_EVIDENCE]


def test_a_folder_is_never_replaced(clinic: Clinic, server: LiveServer) -> None:
    (clinic.folder / "kept").mkdir()
    (clinic.folder / "kept/mine").write_text("mine")
    ran = kept(clinic, server)
    assert (ran.status, ran.out) == (8, "")
    assert clinic.files == {"trust.toml", "kept"}
    assert (clinic.folder / "kept/mine").read_text() == "mine"


def test_nobody_there(clinic: Clinic) -> None:
    with silent_port() as port:
        ran = clinic.run("evidence", "get", f"127.0.0.1:{port}", "-o", "kept", "--timeout", "0.3")
    assert (ran.status, clinic.files) == (10, {"trust.toml"})


# ---- simulated and real never mix


def test_a_simulated_root_is_believed_only_where_it_is_handed_over(
    clinic: Clinic, simulated_root: SimulatedRoot
) -> None:
    evidence = evidence_of(simulated_root)
    files = {"report.bin": evidence.report, "leaf.der": evidence.leaf, "root": simulated_root.ark}
    files["chain"] = chain(evidence.intermediate, simulated_root.ark)
    for name, data in files.items():
        (clinic.folder / name).write_bytes(data)
    words = ("evidence", "check", "--report", "report.bin", "--leaf", "leaf.der", "--json")
    assert clinic.run(*words, "--chain", "chain", "--simulated-root", "root").status == 0
    refused = clinic.run(*words, "--chain", "chain").json
    assert [failure["code"] for failure in refused["failures"]] == ["untrusted_root"]
    missing = clinic.run(*words, "--simulated-root", "root").json
    assert missing["verdict"] == "incomplete"


def test_a_simulated_root_that_is_none(milan: Desk) -> None:
    milan.put("root", ARK)
    ran = milan.check("--leaf", "leaf.der", "--simulated-root", "root")
    assert (ran.status, "root of AMD's" in ran.err) == (8, True)
    milan.put("root", ASK)
    ran = milan.check("--leaf", "leaf.der", "--simulated-root", "root", "--trust", "trust.toml")
    assert (ran.status, "is not the one of trust.toml" in ran.err) == (8, True)
    milan.put("root", b"-----BEGIN CERTIFICATE-----\n")
    assert milan.check("--simulated-root", "root").status == 8

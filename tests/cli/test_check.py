"""`sealserve check`: a verdict for people and programs, and one exit code for each refusal."""

from __future__ import annotations

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from support import client_case as case
from support.client_cli import Clinic
from support.client_server import MODEL, LiveServer, silent_port
from support.models_cli import Ran
from support.ports import free_port


def refused(ran: Ran, status: int, *words: str) -> None:
    assert (ran.status, ran.out) == (status, "")
    for word in words:
        assert word in ran.err


def test_says_what_was_checked(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.check(server.target)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith('acceptable to "breast-cancer at Example Clinic" at ')
    assert "  ok      the evidence answers our nonce" in ran.out
    assert f"  serves  {MODEL} {case.ROOT.hex()}, version 1\n" in ran.out
    assert "          input  x FP32 [-1, 3]\n" in ran.out
    assert "          output twice FP32 [-1, 3]\n" in ran.out
    assert "SIMULATED PLATFORM: this verdict proves nothing about hardware" in ran.out
    assert "DANGER" not in ran.out


def test_says_it_to_programs(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.check(server.target, "--json")
    assert (ran.status, ran.err) == (0, "")
    verdict = ran.json
    assert verdict["platform"] == "simulated"
    assert verdict["policy_sha256"] == case.POLICY.hex()
    assert verdict["models"] == {MODEL: [case.ROOT.hex()]}
    assert verdict["absent"] == {}
    assert verdict["served"] == [
        {
            "name": MODEL,
            "version": "1",
            "root": case.ROOT.hex(),
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [
                {"name": "twice", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "rows", "datatype": "INT64", "shape": [1]},
            ],
        }
    ]
    assert verdict["dangers"] == []
    assert len(verdict["checked"]) > 10


def test_sends_no_data(clinic: Clinic, server: LiveServer) -> None:
    server.record.calls.clear()
    clinic.check(server.target)
    methods = [method for method, _ in server.record.calls]
    assert methods == [names.GET_EVIDENCE, names.MODEL_METADATA]


def test_a_name_the_server_does_not_have(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    """Its root is served, and evidence names roots alone: only the server can tell the name."""
    with case.live(case.machine(simulated_root)) as server:
        server.serve_instead(case.ROOT, "lung")
        ran = clinic.check(server.target)
        assert ran.status == 0
        assert f"  ABSENT  {MODEL}: the server has its root, but under another name" in ran.out
        assert "serves" not in ran.out
        assert "hint: " in ran.err
        told = clinic.check(server.target, "--json").json
        assert (told["models"], told["served"], [*told["absent"]]) == ({}, [], [MODEL])


def test_every_danger_is_in_every_verdict(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    clinic.trust(more="[danger]\nallow_debug = true\nwithout_nonce = true\n")
    with case.live(case.machine(simulated_root, "debug")) as server:
        told = clinic.check(server.target)
        assert told.status == 0
        assert told.out.count("  DANGER  ") == 2
        assert "DANGER  debug machines are accepted" in told.out
        assert "DANGER  no nonce is required" in told.out
        assert len(clinic.check(server.target, "--json").json["dangers"]) == 2


def test_a_machine_that_is_not_genuine(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "other-key")) as server:
        refused(clinic.check(server.target), 5, "sealserve: ")
        refused(clinic.check(server.target, "--json"), 5, "sealserve: ")


def test_a_genuine_machine_that_is_not_acceptable(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust((case.ROOT.hex(), "aa" * 32))
    refused(clinic.check(server.target), 6, f"seen {case.ROOT.hex()}; wanted {MODEL} {'aa' * 32}")


def test_every_difference_is_told_at_once(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust((case.POLICY.hex(), "aa" * 32), ("max_crl_age_days = 45", "max_crl_age_days = 1"))
    refused(clinic.check(server.target), 6, "host_data: seen", "crl_age: seen")


def test_a_service_of_another_kind(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    """Any that speaks TLS, as the trust service does."""
    source = case.machine(simulated_root)

    def rename(parts: case.Parts) -> None:
        parts.subject = parts.issuer = "sealserve trust service"

    with case.live(source, identity=case.identity(source, rename)) as server:
        refused(clinic.check(server.target), 5, "hint: is this a sealserve server? another service")


def test_a_trust_file_that_is_none(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust(("version = 1", "version = 2"))
    refused(clinic.check(server.target), 8, "trust.toml:1, key version: ")
    (clinic.folder / "trust.toml").unlink()
    refused(clinic.check(server.target), 8, "trust.toml: cannot be read", "hint: ")


@pytest.mark.parametrize("target", ["https://localhost:8001", "localhost:99999", "", "a b", "::1"])
def test_an_address_that_is_none(clinic: Clinic, target: str) -> None:
    refused(clinic.check(target), 8, "is no address", "hint: write HOST:PORT")


@pytest.mark.parametrize("seconds", ["inf", "1e300"])
def test_as_much_time_as_it_takes(clinic: Clinic, server: LiveServer, seconds: str) -> None:
    assert clinic.check(server.target, "--timeout", seconds).status == 0


def test_nobody_there(clinic: Clinic) -> None:
    refused(clinic.check(f"127.0.0.1:{free_port()}"), 10, "no TLS 1.3 handshake", "hint: ")


def test_nobody_who_speaks(clinic: Clinic) -> None:
    with silent_port() as port:
        refused(clinic.check(f"127.0.0.1:{port}", "--timeout", "0.2"), 10, "no answer in time")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("localhost",),
        ("--trust", "trust.toml"),
        ("localhost", "--trust", "trust.toml", "--timeout", "0"),
        ("localhost", "--trust", "trust.toml", "--timeout", "soon"),
        ("localhost", "--trust", "trust.toml", "--timeout", "nan"),
        ("localhost", "--trust", ".", "--json"),
        ("localhost", "--trust", "trust.toml", "more"),
    ],
)
def test_usage(clinic: Clinic, arguments: tuple[str, ...]) -> None:
    refused(clinic.run("check", *arguments), 2, "Usage: sealserve check", "Error: ")


def test_help(clinic: Clinic) -> None:
    told = clinic.help("check")
    assert "Example: sealserve check" in told
    for word in ("--trust", "--timeout", "--json", "5 is not genuine", "10 nobody there"):
        assert word in told

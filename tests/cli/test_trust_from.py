"""`sealserve trust new --from`: what a genuine machine claims, in a file that waits."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sealserve.attestation.roots import ARK_SHA256
from sealserve.attestation.simulated import MEASUREMENT, Machine, SimulatedRoot
from sealserve.native.errors import ConfigError
from sealserve.policy import Trust
from sealserve.policy.expectations import NO_POLICY, Danger, MeasuredLaunch
from sealserve.policy.floors import RECOMMENDED
from sealserve.policy.known import PERMISSIVE
from support import client_case as case
from support.client_cli import Clinic
from support.client_server import MODEL, LiveServer, silent_port
from support.models_cli import Ran
from support.ports import free_port

MARK = "claimed_not_approved = true\n"


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    clinic = Clinic(tmp_path, capsys, simulated_root)
    (tmp_path / "trust.toml").unlink()
    return clinic


def new(clinic: Clinic, server: LiveServer, *options: str) -> Ran:
    root = clinic.root.ark_sha256.hex()
    simulated = ("--platform", "simulated", "--simulated-root-sha256", root)
    return from_(clinic, server.target, *simulated, *options)


def from_(clinic: Clinic, target: str, *options: str) -> Ran:
    return clinic.run("trust", "new", "--from", target, "-o", "new.toml", "--name", "n", *options)


def approve(clinic: Clinic) -> Trust:
    """Delete the line, as a person would."""
    path = clinic.folder / "new.toml"
    path.write_text(path.read_text().replace(MARK, ""))
    return Trust.load(path)


def test_writes_what_the_machine_claims(clinic: Clinic, server: LiveServer) -> None:
    ran = new(clinic, server, "--model", f"{MODEL}={case.ROOT.hex()}", "--expires", "2199-01-01")
    assert (ran.status, ran.err) == (0, "")
    trust = approve(clinic)
    assert (trust.name, trust.kind, str(trust.expires)) == ("n", "simulated", "2199-01-01")
    assert trust.simulated_root_sha256 == clinic.root.ark_sha256
    assert trust.hardware.lines == ("milan",)
    assert trust.hardware.floors == RECOMMENDED["milan"]
    assert isinstance(trust.launch, MeasuredLaunch)
    assert [noted.digest for noted in trust.launch.measurements] == [MEASUREMENT]
    assert [noted.digest for noted in trust.policies] == [case.POLICY]
    assert trust.models == {MODEL: (case.ROOT,)}
    assert trust.danger == Danger()


def test_what_was_claimed_does_not_load_until_a_person_deletes_a_line(
    clinic: Clinic, server: LiveServer
) -> None:
    ran = new(clinic, server)
    assert ran.status == 0
    assert ran.out.startswith("wrote new.toml, which does not load: compare every value")
    text = (clinic.folder / "new.toml").read_text()
    assert text.startswith(f"# Claimed by {server.target} at ")
    with pytest.raises(ConfigError) as caught:
        Trust.load(clinic.folder / "new.toml")
    assert (caught.value.line, caught.value.key) == (3, "claimed_not_approved")
    assert text.splitlines()[2] + "\n" == MARK
    assert "delete this line" in caught.value.hint
    for verb in (("trust", "explain"), ("check", server.target, "--trust")):
        ran = clinic.run(*verb, "new.toml")
        assert (ran.status, ran.out) == (8, "")
        assert "new.toml:3, key claimed_not_approved: " in ran.err
    approve(clinic)
    assert clinic.run("trust", "explain", "new.toml").status == 0
    assert clinic.run("check", server.target, "--trust", "new.toml").status == 0


def test_names_are_a_persons(clinic: Clinic, server: LiveServer) -> None:
    ran = new(clinic, server)
    assert "hint: give each model the name under which its owner sealed it" in ran.err
    assert approve(clinic).models == {"unnamed-1": (case.ROOT,)}


def test_a_chip_is_offered_and_not_demanded(clinic: Clinic, server: LiveServer) -> None:
    new(clinic, server)
    assert approve(clinic).hardware.chips == ()
    path = clinic.folder / "new.toml"
    path.write_text(path.read_text().replace("# chips", "chips"))
    assert Trust.load(path).hardware.chips == (bytes.fromhex(case.chip(clinic.root)),)


def test_says_it_to_programs(clinic: Clinic, server: LiveServer) -> None:
    ran = new(clinic, server, "--json")
    assert ran.json == {
        "file": "new.toml",
        "name": "n",
        "platform": "simulated",
        "claimed_not_approved": True,
        "refusals": [],
    }


# What the machine is must not become what is accepted.
DOUBTFUL = {
    "debug": "policy_debug",
    "migration": "policy_migrate_ma",
    "vmpl": "vmpl_1",
    "old-reported-tcb": "tcb_reported_floor",
    "no-alias-check": "alias_check",
    "no-crl": "crl_missing",
    "old-crl": "crl_age",
}


@pytest.mark.parametrize("fault", DOUBTFUL)
def test_nothing_is_loosened_for_the_machine(clinic: Clinic, fault: str) -> None:
    with case.live(case.machine(clinic.root, fault)) as server:
        ran = new(clinic, server)
        assert ran.status == 0
        assert "warning: once approved, the file refuses the machine it came from:" in ran.err
        assert f"  - {DOUBTFUL[fault]}: seen " in ran.err
        approve(clinic)
        refused = clinic.run("check", server.target, "--trust", "new.toml")
        assert refused.status == 6
        assert DOUBTFUL[fault] in refused.err


def test_no_policy_is_written_as_none(clinic: Clinic) -> None:
    with case.live(Machine(clinic.root, NO_POLICY)) as server:
        assert new(clinic, server).status == 0
        assert approve(clinic).policies[0].digest == NO_POLICY


@pytest.mark.parametrize("sha256", PERMISSIVE)
def test_a_policy_that_allows_everything_is_not_written(clinic: Clinic, sha256: bytes) -> None:
    with case.live(Machine(clinic.root, sha256)) as server:
        refused(clinic, new(clinic, server), 8, PERMISSIVE[sha256])


def test_a_machine_that_is_not_genuine(clinic: Clinic) -> None:
    with case.live(case.machine(clinic.root, "other-key")) as server:
        refused(clinic, new(clinic, server), 5, "sealserve: ")


def test_a_simulated_machine_needs_its_root(clinic: Clinic, server: LiveServer) -> None:
    refused(clinic, from_(clinic, server.target, "--platform", "simulated"), 2, "--simulated-root")
    refused(clinic, from_(clinic, server.target, "--platform", "snp"), 5, "a simulated machine")
    other = ("--platform", "simulated", "--simulated-root-sha256", "5e" * 32)
    refused(clinic, from_(clinic, server.target, *other), 5, "5e" * 32)
    amd = ("--platform", "simulated", "--simulated-root-sha256", ARK_SHA256["milan"])
    refused(clinic, from_(clinic, server.target, *amd), 8, "this is a root of AMD's")


def test_a_model_that_is_not_served(clinic: Clinic, server: LiveServer) -> None:
    ran = new(clinic, server, "--model", f"net={'aa' * 32}")
    refused(clinic, ran, 8, "--model: the server does not serve", f"it serves {case.ROOT.hex()}")


GIVEN = {
    "--line": "milan",
    "--measurement": "3f" * 48,
    "--uvm-issuer": "did:x509:0:x",
    "--uvm-feed": "feed",
    "--uvm-minimum-svn": "0",
    "--policy": "73" * 32,
}


@pytest.mark.parametrize("option", GIVEN)
def test_what_the_machine_claims_is_not_given_too(
    clinic: Clinic, server: LiveServer, option: str
) -> None:
    refused(clinic, new(clinic, server, option, GIVEN[option]), 2, f"give {option} or --from")


def test_never_overwrites(clinic: Clinic, server: LiveServer) -> None:
    (clinic.folder / "new.toml").write_bytes(b"approved")
    ran = new(clinic, server)
    assert (ran.status, ran.out) == (8, "")
    assert (clinic.folder / "new.toml").read_bytes() == b"approved"


def test_nobody_there(clinic: Clinic) -> None:
    refused(clinic, from_(clinic, f"127.0.0.1:{free_port()}", "--platform", "snp"), 10, "handshake")
    refused(clinic, from_(clinic, "a\nb = 1", "--platform", "snp"), 8, "is no address")


def test_the_text_is_toml_that_says_where_it_came_from(clinic: Clinic, server: LiveServer) -> None:
    new(clinic, server)
    read = tomllib.loads((clinic.folder / "new.toml").read_text())
    assert read["claimed_not_approved"] is True
    assert [policy["note"] for policy in read["software"]["policies"]] == ["claimed"]


def refused(clinic: Clinic, ran: Ran, status: int, *words: str) -> None:
    assert (ran.status, ran.out) == (status, ""), ran
    for word in words:
        assert word in ran.err
    assert clinic.files == set()


def test_a_machine_that_never_answers(clinic: Clinic) -> None:
    with silent_port() as port:
        ran = from_(clinic, f"127.0.0.1:{port}", "--platform", "snp", "--timeout", "0.2")
    assert (ran.status, ran.out) == (10, "")
    assert "no answer in time" in ran.err
    assert not (clinic.folder / "new.toml").exists()

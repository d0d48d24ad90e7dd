"""`sealserve key policy`: release policies out of files, explained and looked over."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sealserve.policy.release_build import build
from support import policy_case as case
from support.cli_vault import VaultDesk
from support.models_cli import Ran
from support.policy_case import TRUST, edit
from support.policy_deployment import template

SERVICE = "https://sharedneu.neu.attest.azure.net"
VECTORS = Path(__file__).parent.parent / "vectors" / "policy" / "release"


def policy(desk: VaultDesk, *options: str) -> Ran:
    return desk.run("key", "policy", *options)


def test_it_is_what_key_create_asks_for(desk: VaultDesk) -> None:
    """One way to a release policy, whichever verb asks."""
    written = desk.vault("key", "policy", "--policy", "policy.rego", "--vault", desk.reference)
    made = desk.vault("key", "create", desk.reference, "--policy", "policy.rego", "--json")
    assert json.loads(written.out) == made.json["release_policy"]
    wanted = build(desk.trustd.issuer, desk.host_data(), simulated=True)
    assert written.out.encode() == wanted + b"\n"


def test_several_policies(desk: VaultDesk) -> None:
    both = ("--policy", "policy.rego", "--policy", "other.rego")
    ran = policy(desk, *both, "--attestation-service", SERVICE, "--json")
    assert (ran.status, ran.err) == (0, "")
    digests = [desk.host_data(), desk.host_data("other.rego")]
    assert ran.json["host_data"] == digests
    assert ran.json["release_policy"] == json.loads(build(SERVICE, *digests, simulated=False))


def test_a_policy_where_a_deployment_carries_it(desk: VaultDesk) -> None:
    """A template has the hash of its policy; its own would bind the key to nothing."""
    text = (desk.folder / "policy.rego").read_bytes()
    desk.write("template.json", template(text, {"app": ["/srv/app"]}))
    desk.write("policy.txt", base64.b64encode(text))
    for name in ("template.json", "policy.txt"):
        ran = policy(desk, "--policy", name, "--attestation-service", SERVICE, "--json")
        assert ran.json["host_data"] == [desk.host_data()]
    desk.write("template.json", template(b"", {"app": ["/srv/app"]}))
    ran = policy(desk, "--policy", "template.json", "--attestation-service", SERVICE)
    assert ran.status == 8
    assert "carries no policy" in ran.err


def test_a_trust_file(desk: VaultDesk) -> None:
    desk.write("trust.toml", edit((case.MEASURED, case.ENDORSED)))
    ran = policy(desk, "--trust", "trust.toml", "--attestation-service", SERVICE, "--json")
    assert ran.status == 0
    assert ran.json["host_data"] == [case.POLICY.hex()]
    assert case.ISSUER in json.dumps(ran.json["release_policy"])
    left_out = 'whose grammar has no "at least": hardware.tcb, uvm_minimum_svn = 104\n'
    assert ran.err == f"not in the policy, {left_out}"


def test_what_a_trust_file_allows_is_not_allowed_here(desk: VaultDesk) -> None:
    danger = "[danger]\nallow_debug = true\nallow_vmpl = [1]\n[software]"
    desk.write("trust.toml", edit((case.MEASURED, case.ENDORSED), ("[software]", danger)))
    ran = policy(desk, "--trust", "trust.toml", "--attestation-service", SERVICE)
    assert "which is stricter: danger.allow_debug\n" in ran.err
    assert "which is stricter: danger.allow_vmpl\n" in ran.err
    assert '"x-ms-sevsnpvm-is-debuggable","equals":"false"' in ran.out


def test_what_no_simulated_service_tells_of_is_left_out(desk: VaultDesk) -> None:
    desk.write("trust.toml", edit((case.SNP, case.SIMULATED), (case.MEASURED, case.ENDORSED)))
    ran = desk.vault("key", "policy", "--trust", "trust.toml", "--vault", desk.reference)
    assert ran.status == 0
    assert case.ISSUER not in ran.out
    assert "no simulated service tells of it: uvm_issuer, uvm_feed\n" in ran.err


def test_a_launch_that_nobody_endorses_is_told(desk: VaultDesk) -> None:
    desk.write("trust.toml", edit())
    ran = policy(desk, "--trust", "trust.toml", "--attestation-service", SERVICE)
    assert ran.status == 0
    assert "this key is released to nobody" in ran.err


def test_publish_and_create_take_a_trust_file_too(desk: VaultDesk) -> None:
    trust = edit((case.SNP, case.SIMULATED), text=TRUST)
    desk.write("trust.toml", trust)
    written = desk.vault("key", "policy", "--trust", "trust.toml", "--vault", desk.reference)
    made = desk.vault("key", "create", desk.reference, "--trust", "trust.toml", "--json")
    assert json.loads(written.out) == made.json["release_policy"]
    desk.seal()
    options = ("--vault", desk.reference, "--trust", "trust.toml", "--identity", "me.key")
    published = desk.vault("publish", "net.sealed", *options, "--json")
    assert published.json["release_policy"] == made.json["release_policy"]
    assert published.json["key"] == made.json["key"]


def test_a_file_of_it(desk: VaultDesk) -> None:
    options = ("--policy", "policy.rego", "--attestation-service", SERVICE, "-o", "release.json")
    ran = policy(desk, *options)
    assert ran.status == 0
    assert ran.out.startswith("wrote release.json\nthe key is released to whoever shows a token\n")
    written = (desk.folder / "release.json").read_bytes()
    assert written == build(SERVICE, desk.host_data(), simulated=False) + b"\n"
    assert policy(desk, *options, "--json").json["file"] == "release.json"
    assert policy(desk, "lint", "release.json").status == 0


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "nothing": ((), 2, "give --policy FILE or --trust FILE"),
    "both": (("--policy", "policy.rego", "--trust", "t.toml"), 2, "and not both"),
    "nobody attests": (("--policy", "policy.rego"), 2, "give --attestation-service URL"),
    "no https": (
        ("--policy", "policy.rego", "--attestation-service", "http://a.example"), 8, "https URL",
    ),
    "no file": (
        ("--policy", "none.rego", "--attestation-service", SERVICE), 8, "cannot be read",
    ),
    "a trust file for the other platform": (
        ("--trust", "t.toml", "--attestation-service", f"{SERVICE}/simulated"),
        8, "the trust file is for real machines",
    ),
    "an expired trust file": (
        ("--trust", "old.toml", "--attestation-service", SERVICE), 8, "expired after 2020-01-01",
    ),
    "over its input": (
        ("--policy", "policy.rego", "--attestation-service", SERVICE, "-o", "policy.rego"),
        8, "is also an input",
    ),
    "options of the other verb": (
        ("--policy", "policy.rego", "explain", "r.json"), 2, "takes its file alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(options: tuple[str, ...], status: int, words: str, desk: VaultDesk) -> None:
    desk.write("t.toml", TRUST.encode())
    desk.write("old.toml", edit(("2027-03-31", "2020-01-01")))
    before = desk.files
    ran = policy(desk, *options)
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err
    assert desk.files == before


@pytest.mark.parametrize("name", ["aci-sidecar", "aks-kata", "cleanroom", "cvm-nested"])
def test_explain(name: str, desk: VaultDesk) -> None:
    path = str(VECTORS / f"{name}.json")
    ran = policy(desk, "explain", path)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("the key is released to whoever shows a token\n  issued by https://")
    assert policy(desk, "explain", path, "--json").json.keys() == {"authorities"}


def test_explain_refuses_what_no_vault_reads(desk: VaultDesk) -> None:
    desk.write("release.json", b'{"version": "1.0.0", "anyOf": [{"noneOf": []}]}')
    ran = policy(desk, "explain", "release.json")
    assert (ran.status, ran.out) == (8, "")
    assert "release.json, key anyOf[0]: " in ran.err


def test_lint(desk: VaultDesk) -> None:
    ran = policy(desk, "lint", str(VECTORS / "aci-sidecar.json"))
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("  DANGER  anyOf[0].allOf[0]: the platform's default allow-all")
    told = policy(desk, "lint", str(VECTORS / "aci-sidecar.json"), "--json").json["remarks"]
    assert [remark["rank"] for remark in told] == ["danger", "doubt", "note"]
    assert told[0].keys() == {"rank", "key", "what", "hint"}


def test_help_has_examples(desk: VaultDesk) -> None:
    for verb in ("explain", "lint"):
        told = " ".join(policy(desk, verb, "--help").out.split())
        assert f"Example: sealserve key policy {verb} release.json" in told
    assert "Example: sealserve key policy --policy policy.rego" in policy(desk, "--help").out

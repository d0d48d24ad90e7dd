"""`sealserve key`: key pairs of people, and keys in a vault."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sealserve.attestation import Roots
from sealserve.keys import HpkeIdentity, HpkeRecipient
from sealserve.policy.release_build import build
from support.cli_vault import VaultDesk
from support.keys_tls import Ca
from support.keys_trustd import body_of, release_policy
from support.keys_vault import SimulatedVault
from support.models_cli import Ran, help_of
from support.ports import free_port

KEY_FACTS = {"bits", "enabled", "key", "key_version", "release_policy"}


# ---- key new


def test_new_makes_a_pair(desk: VaultDesk) -> None:
    ran = desk.run("key", "new", "owner.key", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json == {"private": "owner.key", "public": "owner.key.pub"}
    private, public = desk.folder / "owner.key", desk.folder / "owner.key.pub"
    assert HpkeIdentity.load(private).recipient.id == HpkeRecipient.load(public).id
    assert private.stat().st_mode & 0o777 == 0o600
    told = desk.run("key", "new", "second.key")
    assert told.out == "private key second.key\npublic key  second.key.pub\n"


@pytest.mark.parametrize("there", ["owner.key", "owner.key.pub"])
def test_new_replaces_nothing(there: str, desk: VaultDesk) -> None:
    desk.write(there, b"mine")
    files = desk.files
    ran = desk.run("key", "new", "owner.key")
    assert (ran.status, ran.out) == (8, "")
    assert "never overwritten" in ran.err
    assert (desk.folder / there).read_bytes() == b"mine"
    assert desk.files == files


# ---- key create


def create(desk: VaultDesk, *options: str, policy: str = "policy.rego") -> Ran:
    return desk.vault("key", "create", desk.reference, "--policy", policy, *options)


def test_create_makes_a_key_under_a_policy(desk: VaultDesk) -> None:
    ran = create(desk, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json.keys() == KEY_FACTS
    assert [ran.json["key"]] == desk.kids
    assert (ran.json["bits"], ran.json["enabled"]) == (3072, True)
    wanted = build(desk.trustd.issuer, desk.host_data(), simulated=True)
    assert ran.json["release_policy"] == json.loads(wanted)


def test_create_makes_nothing_twice(desk: VaultDesk) -> None:
    first, again = create(desk, "--json"), create(desk, "--json")
    assert again.json == first.json
    assert len(desk.versions) == 1


def test_create_makes_a_version_for_a_new_policy(desk: VaultDesk) -> None:
    create(desk)
    ran = create(desk, "--json", policy="other.rego")
    assert len(desk.versions) == 2
    assert ran.json["key"] == desk.kids[1]
    assert desk.host_data("other.rego") in json.dumps(ran.json["release_policy"])


def test_create_for_people(desk: VaultDesk) -> None:
    ran = create(desk)
    assert ran.out.splitlines()[:3] == [
        f"key {desk.kids[0]}",
        "  RSA, 3072 bits",
        "  released to whoever shows a token with:",
    ]
    assert desk.host_data() in ran.out


CREATE_REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no policy": (("{reference}",), 2, "--policy"),
    "no reference": (("--policy", "policy.rego"), 2, "REF"),
    "a policy that is not there": (("{reference}", "--policy", "none"), 8, "cannot be read"),
    "a person": (("hpke:me.key.pub", "--policy", "policy.rego"), 8, "names no vault key"),
    "a place that is none": (("trustd:nowhere", "--policy", "policy.rego"), 8, "names no key"),
    "another service": (
        ("trustd:127.0.0.1:1/net", "--policy", "policy.rego"),
        8,
        "the reference names 127.0.0.1:1",
    ),
    "another attestation service": (
        ("{reference}", "--policy", "policy.rego", "--attestation-service", "https://x"),
        8,
        "is its own attestation service",
    ),
}


@pytest.mark.parametrize(
    ("arguments", "status", "words"), CREATE_REFUSED.values(), ids=CREATE_REFUSED
)
def test_create_refuses(
    arguments: tuple[str, ...], status: int, words: str, desk: VaultDesk
) -> None:
    filled = [each.format(reference=desk.reference) for each in arguments]
    ran = desk.vault("key", "create", *filled)
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err
    assert desk.versions == []


# ---- key show


def show(desk: VaultDesk, *options: str) -> Ran:
    return desk.vault("key", "show", desk.reference, *options)


def test_show_tells_of_the_newest_version(desk: VaultDesk) -> None:
    create(desk)
    made = create(desk, "--json", policy="other.rego")
    ran = show(desk, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json == made.json
    assert show(desk).out == create(desk, policy="other.rego").out


def test_showing_makes_nothing(desk: VaultDesk) -> None:
    ran = show(desk)
    assert (ran.status, ran.out) == (7, "")
    assert "was not found in this key vault" in ran.err
    assert "hint: its owner makes it with `sealserve publish` or `sealserve key create`" in ran.err
    assert desk.versions == []


def made_by_hand(desk: VaultDesk, **body: object) -> None:
    """A key that our verbs would not make."""
    request = body_of({"kty": "RSA", **body})
    desk.trustd.service.create(desk.trustd.owner, desk.name, request)


def test_show_a_key_that_never_leaves(desk: VaultDesk) -> None:
    made_by_hand(desk)
    assert show(desk).out.splitlines()[1:] == [
        "  RSA, 2048 bits",
        "  no release policy: it never leaves the vault",
    ]
    assert show(desk, "--json").json["release_policy"] is None


def test_show_a_key_that_is_disabled(desk: VaultDesk) -> None:
    policy = build(desk.trustd.issuer, desk.host_data(), simulated=True)
    attributes = {"exportable": True, "enabled": False}
    made_by_hand(desk, attributes=attributes, release_policy=release_policy(policy))
    assert "  RSA, 2048 bits, DISABLED" in show(desk).out.splitlines()
    assert show(desk, "--json").json["enabled"] is False


def test_show_a_key_of_another_type(desk: VaultDesk) -> None:
    made_by_hand(desk, kty="oct")
    ran = show(desk)
    assert (ran.status, ran.out) == (8, "")
    assert "wanted RSA" in ran.err


@pytest.mark.long  # the SDK asks four times more where nobody answers
def test_show_where_nobody_answers(desk: VaultDesk) -> None:
    address = f"127.0.0.1:{free_port()}"
    lines = (desk.folder / "connection.toml").read_text().splitlines()
    moved = [f'address = "{address}"' if each.startswith("address") else each for each in lines]
    desk.write("connection.toml", "\n".join(moved).encode())
    ran = desk.vault("key", "show", f"trustd:{address}/net")
    assert (ran.status, ran.out) == (10, "")
    assert "does not answer" in ran.err


# What another vault may call a release policy.
STRANGE: dict[str, bytes] = {
    "no JSON": b"whatever you like",
    "not UTF-8": b"\xff\xfe",
    "a bomb of brackets": b"[" * 100_000,
    "a member twice": b'{"version": 1, "version": 2}',
}


@pytest.fixture
def strange(desk: VaultDesk, simulated_roots: Roots) -> Iterator[tuple[SimulatedVault, VaultDesk]]:
    """Another vault, which answers what it likes, with a key called net."""
    with SimulatedVault(Ca(), simulated_roots) as vault:
        vault.create("net", b"{}")
        desk.connect(vault.connection)
        yield vault, desk


@pytest.mark.parametrize("policy", STRANGE.values(), ids=STRANGE)
def test_a_policy_we_cannot_read_is_told_as_that(
    policy: bytes, strange: tuple[SimulatedVault, VaultDesk]
) -> None:
    vault, desk = strange
    vault.keys["net"][0].policy = policy
    for options in ((), ("--json",)):
        ran = desk.vault("key", "show", f"trustd:{vault.host}/net", *options)
        assert (ran.status, ran.out) == (7, ""), ran.err
        assert "release policy that is not JSON" in ran.err
    # publishing makes a key of its own instead
    made = desk.vault("key", "create", f"trustd:{vault.host}/net", "--policy", "policy.rego")
    assert made.status == 0
    assert len(vault.keys["net"]) == 2


def test_what_another_vault_says_cannot_steer_a_terminal(
    strange: tuple[SimulatedVault, VaultDesk],
) -> None:
    vault, desk = strange
    vault.keys["net"][0].policy = json.dumps({"\x1b]0;owned\x07": "\x9b31m"}).encode()
    ran = desk.vault("key", "show", f"trustd:{vault.host}/net")
    assert ran.status == 0
    assert all(each.isprintable() for each in ran.out.splitlines())

    def answered(bundle: Any) -> Any:
        bundle["release_policy"]["data"] = base64.urlsafe_b64encode(b"\x1b[31m").decode()
        return bundle

    vault.edit_bundle = answered
    ran = desk.vault("key", "show", f"trustd:{vault.host}/net")
    assert all(each.isprintable() for each in ran.err.splitlines())


def test_a_vault_that_keeps_another_policy_than_it_was_given(
    strange: tuple[SimulatedVault, VaultDesk],
) -> None:
    vault, desk = strange
    other = json.dumps({"version": "1.0.0", "anyOf": []}).encode()

    def answered(bundle: Any) -> Any:
        bundle["release_policy"]["data"] = base64.urlsafe_b64encode(other).decode()
        return bundle

    vault.edit_bundle = answered
    made = desk.vault("key", "create", f"trustd:{vault.host}/net", "--policy", "policy.rego")
    assert (made.status, made.out) == (7, "")
    assert "made with another release policy than the one asked for" in made.err


@pytest.mark.parametrize("verb", ["new", "create", "show"])
def test_help_has_an_example(verb: str, desk: VaultDesk) -> None:
    ran = desk.run("key", verb, "--help")
    assert f"Example: sealserve key {verb}" in " ".join(ran.out.split())
    assert verb in help_of(desk, "key")

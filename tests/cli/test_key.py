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


def test_rotating_makes_a_version_for_the_same_policy(desk: VaultDesk) -> None:
    first, rotated = create(desk, "--json"), create(desk, "--rotate", "--json")
    old, new = desk.kids
    assert (first.json["key"], rotated.json["key"]) == (old, new)
    assert rotated.json["release_policy"] == first.json["release_policy"]
    assert create(desk, "--json").json["key"] == new


def test_one_version_for_two_policies(desk: VaultDesk) -> None:
    ran = create(desk, "--policy", "other.rego", "--json")
    both = build(desk.trustd.issuer, desk.host_data(), desk.host_data("other.rego"), simulated=True)
    assert ran.json["release_policy"] == json.loads(both)


# ---- key versions, disable, enable


def test_versions_are_listed_and_taken_out_of_use(desk: VaultDesk) -> None:
    create(desk)
    create(desk, "--rotate")
    old, new = desk.kids
    version = old.rpartition("/")[2]
    ran = desk.vault("key", "disable", f"{desk.reference}/{version}", "--json")
    assert (ran.status, ran.json) == (0, {"enabled": False, "key": old})
    listed = desk.vault("key", "versions", desk.reference, "--json").json["versions"]
    assert [(each["key"], each["enabled"]) for each in listed] == [(old, False), (new, True)]
    assert listed[0].keys() == {"created", "enabled", "key", "key_version"}
    told = desk.vault("key", "versions", desk.reference)
    assert told.out == f"{old}  DISABLED\n{new}\n"
    assert (
        "RSA, 3072 bits, DISABLED" in desk.vault("key", "show", f"{desk.reference}/{version}").out
    )
    ran = desk.vault("key", "enable", f"{desk.reference}/{version}")
    assert (ran.status, ran.out) == (0, f"key {old}\n  enabled\n")
    told = desk.vault("key", "versions", desk.reference)
    assert told.out == f"{old}\n{new}\n"


def test_a_key_of_any_type_is_taken_out_of_use(desk: VaultDesk) -> None:
    made_by_hand(desk, kty="oct")
    (kid,) = desk.kids
    ran = desk.vault("key", "disable", f"{desk.reference}/{kid.rpartition('/')[2]}")
    assert (ran.status, ran.out) == (0, f"key {kid}\n  DISABLED: released to nobody\n")


@pytest.mark.parametrize("verb", ["disable", "enable"])
def test_what_is_taken_out_of_use_has_to_be_named(verb: str, desk: VaultDesk) -> None:
    create(desk)
    ran = desk.vault("key", verb, desk.reference)
    assert (ran.status, ran.out) == (8, "")
    assert "names no version" in ran.err
    assert "sealserve key versions" in ran.err
    ran = desk.vault("key", verb, f"{desk.reference}/{'0' * 32}")
    assert (ran.status, ran.out) == (7, "")


def test_a_key_without_versions(desk: VaultDesk) -> None:
    ran = desk.vault("key", "versions", desk.reference)
    assert (ran.status, ran.out) == (0, "no version of this key\n")


def test_a_vault_that_says_yes_and_does_nothing(
    strange: tuple[SimulatedVault, VaultDesk],
) -> None:
    vault, desk = strange
    reference = f"trustd:{vault.host}/net/{vault.keys['net'][0].version}"
    ran = desk.vault("key", "disable", reference)
    assert (ran.status, ran.out) == (7, "")
    assert "did not change" in ran.err


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


@pytest.mark.parametrize("verb", ["new", "create", "show", "versions", "disable", "enable"])
def test_help_has_an_example(verb: str, desk: VaultDesk) -> None:
    ran = desk.run("key", verb, "--help")
    assert f"Example: sealserve key {verb}" in " ".join(ran.out.split())
    assert verb in help_of(desk, "key")

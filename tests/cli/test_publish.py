"""`sealserve publish`: a slot for a vault key under an execution policy, and nothing else new."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.opener import connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.models import slot_area
from sealserve.native.errors import ReleaseError
from sealserve.policy.release_build import build
from support.cli_vault import VaultDesk
from support.keys_tls import Ca
from support.keys_trustd import LocalTrustd, body_of, release_policy
from support.models_cli import FACTS, Ran, help_of
from support.models_sealed import Regions
from support.ports import free_port

SAMPLES = Path(__file__).parent.parent / "vectors" / "policy" / "samples"


@pytest.fixture
def root(desk: VaultDesk) -> str:
    """The root of net.sealed, which is sealed for me and for you."""
    told: str = desk.seal("--key", "hpke:you.key.pub", "--json").json["root"]
    return told


def publish(desk: VaultDesk, *options: str, policy: str = "policy.rego") -> Ran:
    """Publish net.sealed as its owner."""
    opening = () if {"--identity", "--from"} & set(options) else ("--identity", "me.key")
    chosen = () if "--vault" in options else ("--vault", desk.reference)
    return desk.vault("publish", "net.sealed", "--policy", policy, *chosen, *opening, *options)


def recipients(ran: Ran) -> list[str]:
    return [slot["recipient"] for slot in ran.json["slots"]]


def test_the_vault_key_joins_the_others_and_the_root_stays(desk: VaultDesk, root: str) -> None:
    before = Regions.of((desk.folder / "net.sealed").read_bytes())
    ran = publish(desk, "--json")
    assert ran.status == 0, ran.err
    (kid,) = desk.kids
    assert recipients(ran) == [desk.me.recipient.id, desk.you.recipient.id, kid]
    assert ran.json["root"] == root
    after = Regions.of((desk.folder / "net.sealed").read_bytes())
    assert replace(after, slots=before.slots) == before
    kept = slot_area.decode_area(after.slots)[:2]
    assert kept == slot_area.decode_area(before.slots)
    assert desk.run("verify", "net.sealed", "--root", root).status == 0
    for name in ("me", "you"):
        unsealed = desk.run("unseal", "net.sealed", "-o", name, "--identity", f"{name}.key")
        assert unsealed.status == 0


def test_what_it_tells_programs(desk: VaultDesk, root: str, trustd: LocalTrustd) -> None:
    told = publish(desk, "--json").json
    assert told.keys() == FACTS | {
        "bits",
        "ca_sha256",
        "enabled",
        "host_data",
        "key",
        "key_version",
        "release_policy",
    }
    assert (told["bits"], told["enabled"]) == (3072, True)
    assert [told["key"]] == desk.kids
    assert told["host_data"] == [desk.host_data()]
    assert told["ca_sha256"] == trustd.service.state.ca_sha256
    wanted = build(trustd.issuer, desk.host_data(), simulated=True)
    assert told["release_policy"] == json.loads(wanted)


def test_what_it_tells_people(desk: VaultDesk, root: str) -> None:
    ran = publish(desk)
    for words in (
        root,
        f"vault {desk.kids[0]} (RSA-OAEP-256)",
        desk.host_data(),
        "RSA, 3072 bits",
        "released to whoever",
    ):
        assert words in ran.out
    assert "one key per release policy" in ran.err
    assert desk.trustd.owner not in ran.out + ran.err


def test_a_machine_under_the_policy_opens_it_and_no_other(
    desk: VaultDesk, simulated_root: SimulatedRoot, trustd: LocalTrustd
) -> None:
    """The whole way: sealed under a raw key, published, released, unwrapped."""
    desk.run("seal", "net.onnx", "-o", "net.sealed", "--key", "raw:raw.key", "--name", "net",
             "--version", "1")  # fmt: skip
    assert publish(desk, "--from", "raw:raw.key").status == 0
    slots = slot_area.decode_area(Regions.of((desk.folder / "net.sealed").read_bytes()).slots)
    options = VaultOptions(
        f"trustd:{trustd.connection.address}", ca_sha256=trustd.service.state.ca_sha256
    )
    machine = Machine(simulated_root, bytes.fromhex(desk.host_data()))
    with closing(connect_vault(options, machine)) as opener, opener.unwrap(slots, b"", b"") as key:
        assert key.equals((desk.folder / "raw.key").read_bytes())
    machine = Machine(simulated_root, bytes.fromhex(desk.host_data("other.rego")))
    with (
        closing(connect_vault(options, machine)) as opener,
        pytest.raises(ReleaseError, match="x-ms-sevsnpvm-hostdata"),
    ):
        opener.unwrap(slots, b"", b"")


def test_publishing_twice_makes_no_second_key(desk: VaultDesk, root: str) -> None:
    first = publish(desk, "--json")
    again = publish(desk, "--json")
    assert again.status == 0
    assert recipients(again) == recipients(first)
    assert again.json["key"] == first.json["key"]
    assert len(desk.versions) == 1


def test_a_new_policy_makes_a_new_version_beside_the_old(desk: VaultDesk, root: str) -> None:
    publish(desk)
    ran = publish(desk, "--json", policy="other.rego")
    old, new = desk.kids
    assert recipients(ran)[2:] == [old, new]
    assert ran.json["key"] == new
    assert ran.json["host_data"] == [desk.host_data("other.rego")]
    back = publish(desk, "--json")  # the newest version counts, so the old policy is a new one
    assert len(desk.versions) == 3
    assert recipients(back)[2:] == desk.kids


def test_two_models_may_share_a_key(desk: VaultDesk, root: str) -> None:
    publish(desk)
    desk.seal(out="second.sealed")
    ran = desk.vault("publish", "second.sealed", "--vault", desk.reference, "--policy",
                     "policy.rego", "--identity", "me.key", "--json")  # fmt: skip
    assert [ran.json["key"]] == desk.kids


def key_in_the_vault(desk: VaultDesk, policy: bytes, **attributes: object) -> None:
    """A key that is there already."""
    body = {
        "kty": "RSA",
        "attributes": {"exportable": True, **attributes},
        "release_policy": release_policy(policy),
    }
    desk.trustd.service.create(desk.trustd.owner, desk.name, body_of(body))


def test_a_policy_in_the_vaults_own_spelling_is_the_same(desk: VaultDesk, root: str) -> None:
    policy = json.loads(build(desk.trustd.issuer, desk.host_data(), simulated=True))
    key_in_the_vault(desk, json.dumps(policy, indent=4, sort_keys=True).encode())
    assert publish(desk).status == 0
    assert len(desk.versions) == 1


NOT_THE_SAME: dict[str, tuple[Callable[[bytes], bytes], dict[str, object]]] = {
    "disabled": (lambda policy: policy, {"enabled": False}),
    "for more machines": (lambda policy: policy.replace(b'"0"', b'"1"'), {}),
}


@pytest.mark.parametrize(("change", "attributes"), NOT_THE_SAME.values(), ids=NOT_THE_SAME)
def test_a_key_that_will_not_do_is_left_alone(
    change: Callable[[bytes], bytes], attributes: dict[str, object], desk: VaultDesk, root: str
) -> None:
    policy = build(desk.trustd.issuer, desk.host_data(), simulated=True)
    key_in_the_vault(desk, change(policy), **attributes)
    ran = publish(desk, "--json")
    assert ran.status == 0
    theirs, ours = desk.kids
    assert ran.json["key"] == ours
    assert theirs not in recipients(ran)


def test_another_file_leaves_the_first(desk: VaultDesk, root: str) -> None:
    before = (desk.folder / "net.sealed").read_bytes()
    ran = publish(desk, "-o", "published.sealed", "--json")
    assert ran.status == 0
    assert ran.json["path"] == "published.sealed"
    assert (desk.folder / "net.sealed").read_bytes() == before
    assert desk.run("verify", "published.sealed", "--root", root).status == 0


def test_the_default_place_of_the_connection(
    desk: VaultDesk, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(desk.folder))
    arguments = ("publish", "net.sealed", "--vault", desk.reference, "--policy", "policy.rego")
    missing = desk.run(*arguments, "--identity", "me.key")
    assert missing.status == 8
    assert "--connection" in missing.err
    place = desk.folder / ".config" / "sealserve"
    place.mkdir(parents=True)
    (desk.folder / "connection.toml").rename(place / "connection.toml")
    assert desk.run(*arguments, "--identity", "me.key").status == 0


def test_sealing_and_rewrapping_take_the_same_way_to_a_key(desk: VaultDesk, root: str) -> None:
    """To a key that is there; it is `publish` that makes one."""
    to_the_key = ("--key", desk.reference)
    missing = desk.vault("rewrap", "net.sealed", "--identity", "me.key", "--keep", *to_the_key)
    assert (missing.status, desk.versions) == (7, [])
    assert "sealserve key create" in missing.err
    publish(desk, "-o", "published.sealed")
    told = desk.seal(*to_the_key, "--connection", "connection.toml", "--json", out="again.sealed")
    assert recipients(told) == [desk.me.recipient.id, *desk.kids]
    kept = desk.vault("rewrap", "net.sealed", "--identity", "me.key", "--keep", *to_the_key,
                      "--json")  # fmt: skip
    assert recipients(kept) == [desk.me.recipient.id, desk.you.recipient.id, *desk.kids]


def test_a_vault_that_loses_its_slot_is_named(desk: VaultDesk, root: str) -> None:
    publish(desk)
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", "--key", "hpke:me.key.pub")
    assert f"slot of vault {desk.kids[0]} removed" in ran.err


# ---- refusals: no key in the vault, and the file as it was


def refused(desk: VaultDesk, ran: Ran, status: int, words: str) -> None:
    assert (ran.status, ran.out) == (status, ""), ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert desk.trustd.owner not in ran.err
    assert desk.versions == []


NOBODY: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an identity without a slot": (("--identity", "stranger.key"), 7, "no slot is addressed"),
    "another raw key": (("--from", "raw:raw.key"), 4, "key"),
    "a vault cannot open": (("--from", "trustd:h:1/n"), 8, "cannot open a file here"),
    "two who open": (("--from", "raw:raw.key", "--identity", "me.key"), 2, "not both"),
    "no identity there": (("--identity", "none.key"), 8, "none.key"),
}


@pytest.mark.parametrize(("options", "status", "words"), NOBODY.values(), ids=NOBODY)
def test_whoever_cannot_open_the_file_makes_no_key(
    options: tuple[str, ...], status: int, words: str, desk: VaultDesk, root: str
) -> None:
    desk.run("key", "new", "stranger.key")
    before, files = (desk.folder / "net.sealed").read_bytes(), desk.files
    refused(desk, publish(desk, *options), status, words)
    assert (desk.folder / "net.sealed").read_bytes() == before
    assert desk.files == files


def test_an_altered_file_is_not_published(desk: VaultDesk, root: str) -> None:
    path = desk.folder / "net.sealed"
    data = bytearray(path.read_bytes())
    data[777_777] ^= 1
    path.write_bytes(data)
    ran = publish(desk)
    assert (ran.status, ran.out) == (4, "")
    assert path.read_bytes() == data


@pytest.mark.parametrize("option", ["--vault", "--policy", "--identity"])
def test_what_has_to_be_said(option: str, desk: VaultDesk, root: str) -> None:
    words = {"--vault": desk.reference, "--policy": "policy.rego", "--identity": "me.key"}
    del words[option]
    given = [part for pair in words.items() for part in pair]
    refused(desk, desk.vault("publish", "net.sealed", *given), 2, option)


BAD_REFERENCES = {
    "no scheme": ("net", "names no vault key"),
    "a person": ("hpke:me.key.pub", "names no vault key"),
    "no name": ("trustd:{address}", "names no key"),
    "an empty name": ("trustd:{address}/", "names no key"),
    "a name no key can have": ("trustd:{address}/a_b", "names no key"),
    "a version": ("trustd:{address}/net/{version}", "names a version"),
    "half a version": ("trustd:{address}/net/0123", "names no key"),
    "more behind the version": ("trustd:{address}/net/{version}/", "names no key"),
    "a host that is none": ("trustd:a b:1/net", "not HOST or HOST:PORT"),
    "a place at Azure without https": ("azure:http://vault.example/keys/net", "https://"),
    "a secret at Azure": ("azure:https://vault.example/secrets/net", "/keys/NAME"),
}


@pytest.mark.parametrize(("reference", "words"), BAD_REFERENCES.values(), ids=BAD_REFERENCES)
def test_a_reference_that_names_no_key(
    reference: str, words: str, desk: VaultDesk, root: str
) -> None:
    address = desk.trustd.connection.address
    written = reference.format(address=address, version="0" * 32)
    refused(desk, publish(desk, "--vault", written), 8, words)


def test_azure_needs_somebody_who_attests(desk: VaultDesk, root: str) -> None:
    reference = "azure:https://vault.example/keys/net"
    refused(desk, publish(desk, "--vault", reference), 8, "expected an https URL")


def test_a_trust_service_is_its_own_attestation_service(desk: VaultDesk, root: str) -> None:
    ran = publish(desk, "--attestation-service", "https://sharedneu.neu.attest.azure.net")
    refused(desk, ran, 8, "is its own attestation service")


def test_the_token_goes_only_where_its_file_says(desk: VaultDesk, root: str) -> None:
    elsewhere = f"127.0.0.1:{free_port()}"
    ran = publish(desk, "--vault", f"trustd:{elsewhere}/net")
    address = desk.trustd.connection.address
    refused(desk, ran, 8, f"leads to {address}; the reference names {elsewhere}")
    assert "its token is sent nowhere else" in ran.err


CONNECTIONS: dict[str, tuple[Callable[[VaultDesk], None], int, str]] = {
    "missing": (
        lambda desk: (desk.folder / "connection.toml").unlink(),
        8,
        "sealserve trustd init",
    ),
    "no TOML": (
        lambda desk: desk.write("connection.toml", b"token"),
        8,
        "is not TOML",
    ),
    "another token": (
        lambda desk: desk.connect(replace(desk.trustd.connection, token="x" * 43)),
        7,
        "does not accept our credential",
    ),
    "a service for real machines": (
        lambda desk: desk.connect(replace(desk.trustd.connection, platform="real")),
        7,
        "issue no tokens that this service accepts",
    ),
}


@pytest.mark.parametrize(("edit", "status", "words"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_a_connection_with_one_thing_wrong(
    edit: Callable[[VaultDesk], None], status: int, words: str, desk: VaultDesk, root: str
) -> None:
    edit(desk)
    refused(desk, publish(desk), status, words)


def test_a_service_under_another_authority_hears_nothing(desk: VaultDesk, root: str) -> None:
    desk.connect(replace(desk.trustd.connection, ca=Ca().pem.decode()))
    refused(desk, publish(desk), 7, "a certificate of another authority than connection.toml")


POLICIES: dict[str, tuple[bytes | None, str]] = {
    "none": (None, "cannot be read"),
    "too long": (b"#" * (4 * 1024 * 1024), "is longer than"),
    "one that allows everything": ((SAMPLES / "allow_all.rego").read_bytes(), "allow-all policy"),
}


@pytest.mark.parametrize(("content", "words"), POLICIES.values(), ids=POLICIES)
def test_an_execution_policy_that_will_not_do(
    content: bytes | None, words: str, desk: VaultDesk, root: str
) -> None:
    if content is not None:
        desk.write("bad.rego", content)
    refused(desk, publish(desk, policy="bad.rego"), 8, words)


def test_a_vault_key_of_another_type(desk: VaultDesk, root: str) -> None:
    desk.trustd.service.create(desk.trustd.owner, desk.name, body_of({"kty": "oct"}))
    ran = publish(desk)
    assert (ran.status, ran.out) == (8, "")
    assert "wanted RSA" in ran.err
    assert len(desk.versions) == 1


def test_a_file_with_as_many_slots_as_there_may_be(desk: VaultDesk, root: str) -> None:
    """The key is there already when that is found out; the next try takes it."""
    extra = [part for number in range(62) for part in ("--key", f"hpke:{number}.key.pub")]
    for number in range(62):
        desk.run("key", "new", f"{number}.key")
    both = ("--key", "hpke:me.key.pub", "--key", "hpke:you.key.pub")
    assert desk.run("rewrap", "net.sealed", "--identity", "me.key", *both, *extra).status == 0
    before = (desk.folder / "net.sealed").read_bytes()
    ran = publish(desk)
    assert (ran.status, ran.out) == (8, "")
    assert "65 slots; at most 64" in ran.err
    assert (desk.folder / "net.sealed").read_bytes() == before
    assert desk.run("rewrap", "net.sealed", "--identity", "me.key", *both).status == 0
    assert publish(desk).status == 0
    assert len(desk.versions) == 1


def test_help_has_an_example(desk: VaultDesk) -> None:
    text = help_of(desk, "publish")
    assert "Example: sealserve publish net.sealed --vault trustd:" in text

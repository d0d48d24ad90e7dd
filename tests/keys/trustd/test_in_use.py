"""Keys that change while somebody uses them: disabled, enabled again, rolled to another version."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sealserve.attestation.simulated import Machine
from sealserve.keys.connection import Connection
from sealserve.keys.opener import VaultOpener, connect_vault
from sealserve.keys.owner import OwnedVault, open_reference
from sealserve.keys.place import VaultOptions
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.service import Sidecar
from sealserve.keys.vault import VaultKey
from sealserve.keys.wrap import RsaRecipient
from sealserve.models.slots import Slot
from sealserve.native.errors import ReleaseError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA
from support.keys_sidecar import Events
from support.keys_trustd import LocalTrustd, body_of, random_name, serving

KEY = bytes(range(40, 72))


@pytest.fixture(scope="module")
def running(made: tuple[Path, Connection]) -> Iterator[LocalTrustd]:
    with serving(*made) as trustd:
        yield trustd


@pytest.fixture
def owned(running: LocalTrustd) -> Iterator[OwnedVault]:
    """The owner's way to a key of a new name."""
    reference = f"trustd:{running.connection.address}/{random_name()}"
    with closing(open_reference(reference, running.folder.connection)) as opened:
        yield opened


@pytest.fixture
def opener(running: LocalTrustd, machine: Machine) -> Iterator[VaultOpener]:
    """One that stays, as in a server that opens models over and over."""
    ca = running.connection.authority().sha256
    options = VaultOptions(f"trustd:{running.connection.address}", ca_sha256=ca)
    with closing(connect_vault(options, machine)) as opened:
        yield opened


def new_version(owned: OwnedVault) -> VaultKey:
    policy = build(owned.authority, HOST_DATA.hex(), simulated=True)
    return owned.vault.create(owned.key_id.name, policy)


def slot_for(key: VaultKey) -> Slot:
    with SecretBuffer.from_bytes(KEY) as secret:
        return RsaRecipient(key.key_id, key.public).wrap(secret, b"", b"")


def set_enabled(running: LocalTrustd, key: VaultKey, enabled: bool) -> None:
    body = body_of({"attributes": {"enabled": enabled}})
    running.service.update(running.owner, key.key_id.name, key.key_id.version, body)


def opens(opener: VaultOpener, *slots: Slot) -> bool:
    with opener.unwrap(slots, b"", b"") as key:
        return key.equals(KEY)


def test_a_key_that_is_disabled_in_use_is_refused_from_then_on(
    running: LocalTrustd, owned: OwnedVault, opener: VaultOpener
) -> None:
    key = new_version(owned)
    slot = slot_for(key)
    assert opens(opener, slot)
    set_enabled(running, key, False)
    with pytest.raises(ReleaseError, match="disabled") as caught:
        opens(opener, slot)
    assert owned.vault.host in str(caught.value.denied)
    set_enabled(running, key, True)
    assert opens(opener, slot)


def test_a_key_that_is_rolled_in_use_opens_by_either_version(
    running: LocalTrustd, owned: OwnedVault, opener: VaultOpener
) -> None:
    old, new = new_version(owned), new_version(owned)
    before, after = slot_for(old), slot_for(new)
    assert opens(opener, before)  # who was told of nothing goes on
    assert opens(opener, before, after)
    set_enabled(running, old, False)
    assert opens(opener, before, after)
    assert opens(opener, after)
    with pytest.raises(ReleaseError, match="disabled"):
        opens(opener, before)


def test_a_key_that_is_deleted_in_use_is_gone_until_it_is_recovered(
    running: LocalTrustd, owned: OwnedVault, opener: VaultOpener
) -> None:
    slot = slot_for(new_version(owned))
    running.service.delete(running.owner, owned.key_id.name)
    with pytest.raises(ReleaseError, match="was not found"):
        opens(opener, slot)
    running.service.recover(running.owner, owned.key_id.name)
    assert opens(opener, slot)


def test_a_container_that_names_no_version_gets_the_newest_that_there_is(
    running: LocalTrustd, owned: OwnedVault, machine: Machine
) -> None:
    """And no older one in its place where the owner disabled the newest."""
    host, name = owned.vault.host, owned.key_id.name
    ca = running.connection.authority().sha256
    allowed = Allowed.of(Options((f"trustd:{host}",), (ca,), (), (name,)), machine.platform)
    body = body_of({"maa_endpoint": host, "akv_endpoint": host, "kid": name})
    with closing(Sidecar(machine, allowed, Events())) as sidecar:
        for _ in range(2):
            key = new_version(owned)
            released = json.loads(sidecar.release(body)["key"])
            assert modulus(released) == key.public.public_numbers().n
        set_enabled(running, key, False)
        with pytest.raises(Refused, match="disabled"):
            sidecar.release(body)


def modulus(jwk: dict[str, str]) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(jwk["n"] + "=="), "big")

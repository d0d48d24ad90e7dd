"""Token keys roll: two are valid for as long as a token lives, and clients learn of the new one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.attestation.token import LIFETIME_SECONDS, verify_token
from sealserve.keys.opener import connect_vault
from sealserve.keys.owner import open_reference
from sealserve.keys.place import VaultOptions
from sealserve.keys.trustd import offline, token_keys
from sealserve.keys.trustd.audit import rows
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.token_keys import MAX_AGE, RETIRED_AFTER
from sealserve.keys.wrap import RsaRecipient
from sealserve.native.errors import EvidenceError, IntegrityError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA, NOW
from support.keys_trustd import LocalTrustd, local, make, release_policy, serving

KEY = bytes(range(50, 82))


@pytest.fixture
def own(tmp_path: Path, simulated_root: SimulatedRoot) -> Iterator[LocalTrustd]:
    """A service of this test's own."""
    folder = tmp_path / "vault"
    with local(folder, make(folder, simulated_root)) as trustd:
        yield trustd


def kids(trustd: LocalTrustd) -> list[Any]:
    published: Any = trustd.service.tokens.jwks()["keys"]
    return [key["kid"] for key in published]


def valid(trustd: LocalTrustd, token: str) -> bool:
    tokens = trustd.service.tokens
    try:
        verify_token(token, tokens.keys, issuer=tokens.issuer, now=trustd.now)
    except EvidenceError as error:
        return error.code != "token_key"
    return True


def test_two_keys_while_tokens_of_the_first_live(own: LocalTrustd) -> None:
    (first,) = kids(own)
    old = own.token({})
    second = offline.rotate_token_key(own.folder, own.now)
    assert kids(own) == [first, second]
    new = own.token({})
    assert valid(own, old)
    assert valid(own, new)
    own.now = NOW + timedelta(seconds=LIFETIME_SECONDS)
    assert kids(own) == [first, second]
    own.now = NOW + RETIRED_AFTER
    assert kids(own) == [second]
    assert not valid(own, old)
    assert valid(own, own.token({}))


def test_a_retired_key_is_removed_with_the_next_rotation(own: LocalTrustd) -> None:
    first = kids(own)
    for _ in range(3):
        own.now += RETIRED_AFTER
        offline.rotate_token_key(own.folder, own.now)
    stored = own.records.versions(token_keys.KIND, "token-key")
    assert len(stored) == 2
    assert len(kids(own)) == 2
    assert first[0] not in kids(own)


def test_it_rolls_by_age(own: LocalTrustd) -> None:
    first = kids(own)
    # made by `init`, at the real time
    own.service.renew_keys(NOW + MAX_AGE - timedelta(minutes=30))
    assert kids(own) == first
    own.service.renew_keys(datetime.now(UTC) + MAX_AGE)
    assert len(kids(own)) == 2
    entries = [row.told["entry"] for row in rows(own.records.database)]
    assert entries[1:] == ["signing_key_added", "bearer_added", "signing_key_added"]


def test_no_key_and_an_altered_one(own: LocalTrustd) -> None:
    with own.records.database.transaction():
        own.records.database.execute(
            "UPDATE records SET sealed = zeroblob(99) WHERE kind = ?", ("token-key",)
        )
    with pytest.raises(IntegrityError, match="does not open"):
        own.token({})
    with own.records.database.transaction():
        own.records.database.execute("DELETE FROM records WHERE kind = ?", ("token-key",))
    with pytest.raises(IntegrityError, match="no token key"):
        own.token({})


def test_a_server_that_runs_meanwhile_asks_for_the_new_key(
    tmp_path: Path, simulated_root: SimulatedRoot
) -> None:
    """The unmodified opener over the network: before, after, and with the key set it knows."""
    folder = tmp_path / "vault"
    with serving(folder, make(folder, simulated_root)) as trustd:
        address = trustd.connection.address
        trustd.create(
            "model",
            kty="RSA",
            key_size=3072,
            attributes={"exportable": True},
            release_policy=release_policy(build(trustd.issuer, HOST_DATA.hex(), simulated=True)),
        )
        with closing(open_reference(f"trustd:{address}/model", folder / "connection.toml")) as own:
            made = own.vault.get("model")
        with SecretBuffer.from_bytes(KEY) as key:
            slot = RsaRecipient(made.key_id, made.public).wrap(key, b"", b"")
        ca_sha256 = trustd.connection.authority().sha256
        options = VaultOptions(f"trustd:{address}", ca_sha256=ca_sha256)
        with closing(connect_vault(options, Machine(simulated_root, HOST_DATA))) as opener:
            for _ in range(2):
                with opener.unwrap([slot], b"", b"") as key:
                    assert key.equals(KEY)
                offline.rotate_token_key(Folder(folder), datetime.now(UTC))
            assert len(kids(trustd)) == 3

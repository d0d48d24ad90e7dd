"""Sealed files of long ago: ours and a plain reader of the specification open them for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke, serialization

from sealserve.keys import HpkeIdentity
from sealserve.models import RawKey, inspect, unseal, verify
from sealserve.native.errors import IntegrityError
from support import models_verity
from support.models_plain_reader import read
from support.models_sealed import KEY

VECTORS = Path(__file__).resolve().parent.parent / "vectors/models"
ROOTS = {
    name: bytes.fromhex(root)
    for name, root in json.loads((VECTORS / "roots.json").read_text()).items()
}


@pytest.mark.parametrize("name", ["tiny", "shared"])
def test_an_old_model_verifies_and_opens(name: str, tmp_path: Path) -> None:
    path = VECTORS / f"{name}.sealed"
    model = verify(path, ROOTS[name])
    found = read(path.read_bytes(), KEY)
    assert (found.root, found.v) == (ROOTS[name], model.hash_offset)
    unseal(path, tmp_path / "out", RawKey(KEY), root=ROOTS[name])
    assert ("weights/small" in found.entries) == (name == "shared")
    for entry, data in found.entries.items():
        assert (tmp_path / "out" / entry).read_bytes() == data


PEOPLE = {"hybrid": hpke.KEM.MLKEM768_X25519, "classic": hpke.KEM.X25519}


@pytest.mark.parametrize("person", PEOPLE)
def test_an_old_model_opens_for_those_it_was_sealed_to(person: str, tmp_path: Path) -> None:
    path, root = VECTORS / "hpke.sealed", ROOTS["hpke"]
    assert verify(path, root).name == "net"
    unseal(path, tmp_path / "out", HpkeIdentity.load(VECTORS / f"{person}.key"), root=root)
    found = read(path.read_bytes(), key_by_hand(person))
    assert (found.root, list(found.entries)[2:]) == (root, ["weights/small"])
    for entry, data in found.entries.items():
        assert (tmp_path / "out" / entry).read_bytes() == data


def key_by_hand(person: str) -> bytes:
    """The input key, with `cryptography` and SPEC.md section 4 alone."""
    pem = (VECTORS / f"{person}.key").read_bytes()
    end = b"-----END PRIVATE KEY-----\n"
    blocks = [part + end for part in pem.split(end)[:-1]]
    parts: list[Any] = [serialization.load_pem_private_key(block, None) for block in blocks]
    private: Any = hpke.MLKEM768X25519PrivateKey(*parts) if len(parts) == 2 else parts[0]
    model = inspect(VECTORS / "hpke.sealed")
    (slot,) = (s for s in model.slots if (s.algorithm == "X25519") == (person == "classic"))
    suite = hpke.Suite(PEOPLE[person], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    info = b"sealserve/slot/v1\0" + ROOTS["hpke"] + model.header_sha256
    return suite.decrypt(slot.wrapped, private, info)


def test_the_shortened_tree_is_refused() -> None:
    path = VECTORS / "shortened-tree.sealed"
    root, size = ROOTS["shortened-tree"], path.stat().st_size
    assert models_verity.accepts(path, root, size - 3 * 4096)
    with pytest.raises(IntegrityError, match="not the sealed model"):
        verify(path, root)

"""Sealed files of long ago: ours and a plain reader of the specification open them for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealserve.models import RawKey, unseal, verify
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
def test_an_old_model_verifies_and_opens(name, tmp_path):
    path = VECTORS / f"{name}.sealed"
    model = verify(path, ROOTS[name])
    found = read(path.read_bytes(), KEY)
    assert (found.root, found.v) == (ROOTS[name], model.hash_offset)
    unseal(path, tmp_path / "out", RawKey(KEY), root=ROOTS[name])
    assert ("weights/small" in found.entries) == (name == "shared")
    for entry, data in found.entries.items():
        assert (tmp_path / "out" / entry).read_bytes() == data


def test_the_shortened_tree_is_refused():
    path = VECTORS / "shortened-tree.sealed"
    root, size = ROOTS["shortened-tree"], path.stat().st_size
    assert models_verity.accepts(path, root, size - 3 * 4096)
    with pytest.raises(IntegrityError, match="not the sealed model"):
        verify(path, root)

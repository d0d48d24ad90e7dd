"""Makes the files of this folder again, with other salts and keys, and so other roots.

Run as `PYTHONPATH=tests python tests/vectors/models/make.py FOLDER`; never over the old: they stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sealserve.keys import new_identity
from sealserve.models import SealedModel
from support.models_onnx import classifier, random_array, small, with_one
from support.models_sealed import PAGE, Regions, seal_model, superblock

SUITES = {"hybrid": "MLKEM768-X25519", "classic": "X25519"}


def main(folder: Path) -> None:
    """Write the sealed files, the key pairs that open hpke.sealed, and roots.json."""
    tiny = seal_model(small(), folder / "tiny.sealed")
    shared = seal_model(with_one(random_array(1, 64, 64)), folder / "shared.sealed")
    large = seal_model(classifier(), folder / "large")
    regions = Regions.of((folder / "large").read_bytes())
    (folder / "large").unlink()
    top, leaves = regions.tree[PAGE : 2 * PAGE], regions.tree[2 * PAGE :]
    cut = leaves + superblock(len(leaves) // PAGE) + top + regions.slots
    (folder / "shortened-tree.sealed").write_bytes(cut)
    found = {"tiny": tiny, "shared": shared, "shortened-tree": large, "hpke": for_people(folder)}
    roots = {name: model.root.hex() for name, model in found.items()}
    (folder / "roots.json").write_text(json.dumps(roots, indent=2) + "\n")


def for_people(folder: Path) -> SealedModel:
    """A model with a fresh input key that nobody keeps but these two."""
    people = [new_identity(folder / f"{name}.key", suite) for name, suite in SUITES.items()]
    keys = [person.recipient for person in people]
    return seal_model(with_one(random_array(2, 64, 64)), folder / "hpke.sealed", keys=keys)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

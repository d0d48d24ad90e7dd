"""Makes the sealed files of this folder again, with another salt and so another root.

Run as `PYTHONPATH=tests python tests/vectors/models/make.py FOLDER`; never over the old: they stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.models_onnx import classifier, random_array, small, with_one
from support.models_sealed import PAGE, Regions, seal_model, superblock


def main(folder: Path) -> None:
    """Write tiny.sealed, shared.sealed, shortened-tree.sealed and roots.json."""
    tiny = seal_model(small(), folder / "tiny.sealed")
    shared = seal_model(with_one(random_array(1, 64, 64)), folder / "shared.sealed")
    large = seal_model(classifier(), folder / "large")
    regions = Regions.of((folder / "large").read_bytes())
    (folder / "large").unlink()
    top, leaves = regions.tree[PAGE : 2 * PAGE], regions.tree[2 * PAGE :]
    cut = leaves + superblock(len(leaves) // PAGE) + top + regions.slots
    (folder / "shortened-tree.sealed").write_bytes(cut)
    found = {"tiny": tiny, "shared": shared, "shortened-tree": large}
    roots = {name: model.root.hex() for name, model in found.items()}
    (folder / "roots.json").write_text(json.dumps(roots, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

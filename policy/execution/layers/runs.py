"""Files that follow one another in a folder: most of a layer, laid down natively in one go."""

from __future__ import annotations

from sealserve.native.tar import Header
from sealserve.policy.execution.layers import tar
from sealserve.policy.execution.layers.tree import Tree


def follow(entry: Header, entries: tar.Entries, tree: Tree) -> None:
    """Lay down what comes after a file in its folder, as far as it is plain files too.

    Each would be laid down the same by `Tree.add`; what is not plain is left to that.
    """
    if entry.kind == tar.FILE and not entries.data_bytes:
        folder = entry.name[: entry.name.rfind(b"/") + 1]
        entries.advance(tree.add_files(entries.at_hand, folder))

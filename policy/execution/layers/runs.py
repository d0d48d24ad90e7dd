"""Files that follow one another in a folder: most of a layer, laid down natively in one go."""

from __future__ import annotations

from sealserve.native.tar import Header
from sealserve.policy.execution.layers import tar
from sealserve.policy.execution.layers.tree import Tree


def follow(entry: Header, entries: tar.Entries, tree: Tree) -> None:
    """Lay down what comes after a file in its folder, as far as it is plain files too.

    Each would be laid down the same by `Tree.add`; what is not plain is left to that.
    """
    folder, slash, name = entry.name.rpartition(b"/")
    # With another end the name is that of a folder, and its parent not what stands in front.
    if entry.kind == tar.FILE and name not in (b"", b".", b"..") and not entries.data_bytes:
        entries.advance(tree.add_files(entries.at_hand, folder + slash))

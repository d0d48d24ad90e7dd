"""The folders of an image, written when all of their children are known."""

from __future__ import annotations

from sealserve.native.ext4 import directory_blocks
from sealserve.policy.execution.layers import extents
from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.inodes import Inodes
from sealserve.policy.execution.layers.tree import Folder


def write(root: Folder, inodes: Inodes, blocks: Blocks) -> None:
    """A folder, then the folders in it with all of theirs; children by number, then name."""
    pending = [(root, root.number)]
    while pending:
        folder, parent = pending.pop()
        _write_one(folder, parent, inodes, blocks)
        inside = [child for child in folder.children.values() if isinstance(child, Folder)]
        inside.sort(key=lambda child: child.number, reverse=True)
        pending += [(child, folder.number) for child in inside]


def _write_one(folder: Folder, parent: int, inodes: Inodes, blocks: Blocks) -> None:
    children = sorted(
        (child if isinstance(child, int) else child.number, name)
        for name, child in folder.children.items()
    )
    first = blocks.next
    data = directory_blocks(inodes.table, folder.number, parent, children)
    blocks.write(memoryview(data))
    inodes.add_data(folder.number, len(data), extents.describe(blocks, first))

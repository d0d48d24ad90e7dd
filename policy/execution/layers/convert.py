"""One layer, from its tar to its root: the whole way on one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from sealserve.policy.execution.layers import directories, geometry, runs
from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.content import Content
from sealserve.policy.execution.layers.refused import RefusedError, refuse
from sealserve.policy.execution.layers.stream import Source, Stream
from sealserve.policy.execution.layers.tar import Entries
from sealserve.policy.execution.layers.tree import Tree


@dataclass(frozen=True)
class Layer:
    """root: of the dm-verity tree over the image, 32 bytes. diff_id: SHA-256 of the whole tar.

    diff_id is empty where nobody asked for it.
    """

    root: bytes
    diff_id: bytes


def convert(source: Source, *, digest: bool = True, image: BinaryIO | None = None) -> Layer:
    """What hcsshim makes of a layer: tar to ext4 to the root of a hash tree.

    source: an uncompressed tar. digest: whether its diff id is wanted. image: a seekable file that
    gets the ext4 image, to look at.
    Raises RefusedError for whatever the reference refuses, for what it would do differently from
    one run or machine to the next, and for what is beyond `limits`.
    """
    with Stream(source, digest=digest) as stream, Blocks(image) as blocks:
        blocks.set_aside(geometry.HEAD_BLOCKS)
        tree = _laid_down(stream, blocks)
        directories.write(tree.root, tree.inodes, blocks)
        geometry.finish(blocks, tree.inodes, (folder.number for folder in tree.folders))
        return Layer(blocks.finish(), stream.sha256() if digest else b"")


def _laid_down(stream: Stream, blocks: Blocks) -> Tree:
    entries = Entries(stream)
    tree = Tree(blocks, Content(entries, blocks))
    for entry in entries:
        try:
            tree.add(entry)
        except RefusedError as error:
            raise refuse(entry.name, str(error), error.hint) from None
        runs.follow(entry, entries, tree)
    return tree

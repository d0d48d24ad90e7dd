"""The data of a file, from its entry to its blocks."""

from __future__ import annotations

from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.limits import MAX_HOLES_BYTES
from sealserve.policy.execution.layers.refused import RefusedError
from sealserve.policy.execution.layers.sparse import Fragments
from sealserve.policy.execution.layers.tar import Entries


class Content:
    """Copies what the current entry holds; knows how much of it all was nothing."""

    def __init__(self, entries: Entries, blocks: Blocks) -> None:
        self._entries = entries
        self._blocks = blocks
        self._holes = 0

    @property
    def is_sparse(self) -> bool:
        """Whether the current entry is of a sparse file, even one of no bytes."""
        return self._entries.fragments is not None

    def copy(self, size: int) -> None:
        """Write `size` bytes, holes as zeros, and fill up the last block."""
        fragments = self._entries.fragments
        if fragments is not None:
            self._copy_sparse(fragments, size)
        elif (whole := self._entries.take_whole()) is not None:
            self._blocks.write_file(whole)
            return
        else:
            self._copy(size)
        self._blocks.pad()

    def _copy_sparse(self, fragments: Fragments, size: int) -> None:
        there = sum(length for _, length in fragments)
        if there != self._entries.data_bytes:
            raise RefusedError(
                f"{self._entries.data_bytes} bytes of data for a sparse file that has {there}"
            )
        self._holes += size - there
        if self._holes > MAX_HOLES_BYTES:
            raise RefusedError(f"sparse files with more than {MAX_HOLES_BYTES} bytes of holes")
        at = 0
        for offset, length in fragments:
            self._blocks.zeros(offset - at)
            self._copy(length)
            at = offset + length
        self._blocks.zeros(size - at)

    def _copy(self, size: int) -> None:
        while size:
            part = self._entries.take(size)
            self._blocks.write(part)
            size -= len(part)

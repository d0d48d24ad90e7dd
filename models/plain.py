"""Reads a range of a sealed model's plaintext, no byte of it unverified."""

from __future__ import annotations

from sealserve.models.format import PAGE_BYTES, round_up
from sealserve.models.reader import SealedFile
from sealserve.native.cobblestone import (
    CHUNK_BYTES,
    HEADER_BYTES,
    SEALED_CHUNK_BYTES,
    Message,
)
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import TrustedTree


class PlainReader:
    """Random access: leaves against the tree, then tags, then bytes. Other ranges stay unknown."""

    def __init__(self, file: SealedFile, tree: TrustedTree, message: Message) -> None:
        self._file = file
        self._tree = tree
        self._message = message
        self._chunks_start = file.geometry.payload_offset + HEADER_BYTES
        self._last_chunk = file.geometry.plain_size // CHUNK_BYTES

    def read(self, offset: int, size: int) -> bytes:
        """These bytes of the archive, which must lie in it. Raises IntegrityError."""
        first = offset // CHUNK_BYTES
        stop = min((offset + size) // CHUNK_BYTES, self._last_chunk) + 1
        sealed = self._verified_chunks(first, stop)
        with SecretBuffer(len(sealed)) as plain:
            last = stop > self._last_chunk
            self._message.open_into(first, sealed, plain, last=last)
            start = offset - first * CHUNK_BYTES
            return bytes(memoryview(plain)[start : start + size])

    def _verified_chunks(self, first: int, stop: int) -> bytes:
        """Sealed chunks `first` to before `stop`, from pages that match the tree."""
        begin = self._chunks_start + first * SEALED_CHUNK_BYTES
        end = min(self._chunks_start + stop * SEALED_CHUNK_BYTES, self._file.geometry.payload_end)
        page = begin // PAGE_BYTES * PAGE_BYTES
        pages = self._file.read(page, round_up(end) - page)
        self._tree.check(page, pages)
        return pages[begin - page : end - page]

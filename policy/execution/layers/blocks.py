"""The blocks of an image, one after the other, as leaves of its hash tree; nothing is kept of them.

Digests are computed on a second thread. Blocks whose content is not known yet are set aside and
come last: superblock and descriptors, and attributes, which may be written again.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import BinaryIO

from sealserve.native.verity import BLOCK_BYTES, DIGEST_BYTES, digests_of, tree_of
from sealserve.policy.execution.layers.behind import HashesBehind
from sealserve.policy.execution.layers.limits import MAX_IMAGE_BYTES, MIB
from sealserve.policy.execution.layers.refused import RefusedError

BATCH_BYTES = 2 * MIB
# One is filled while others are hashed.
BATCHES = 3

_ZEROS = bytes(BLOCK_BYTES)
_ZERO_DIGEST = digests_of(_ZEROS)


class Blocks(HashesBehind):
    """Takes blocks in order. image: where they are written too, for whoever wants to look at them.

    Raises RefusedError for more than MAX_IMAGE_BYTES.
    """

    def __init__(self, image: BinaryIO | None = None) -> None:
        super().__init__()
        self._image = image
        self._batch = memoryview(bytearray(BATCH_BYTES))
        self._spare: deque[memoryview] = deque()
        self._used = 0
        self._before = 0  # blocks in front of this batch
        self._digests = bytearray()
        self._hashing: deque[Future[bytes]] = deque()
        self._aside: dict[int, bytes] = {}

    @property
    def next(self) -> int:
        """The number of the next block. Between files the last one is always full."""
        return self._before + self._used // BLOCK_BYTES

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes to the block that is being filled."""
        end = self._used + len(data)
        while end >= BATCH_BYTES:
            room = BATCH_BYTES - self._used
            self._batch[self._used :] = data[:room]
            self._used = BATCH_BYTES
            self._flush()
            data = data[room:]
            end = len(data)
        self._batch[self._used : end] = data
        self._used = end

    def write_file(self, data: memoryview) -> None:
        """Add a whole file and fill up its last block; the one before is full."""
        end = self._used + len(data)
        full = (end + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES
        if full < BATCH_BYTES:
            self._batch[self._used : end] = data
            self._batch[end:full] = _ZEROS[: full - end]
            self._used = full
        else:
            self.write(data)
            self.pad()

    @property
    def room(self) -> tuple[memoryview, int]:
        """The batch that is being filled, and how much of it is."""
        return self._batch, self._used

    def filled(self, used: int) -> None:
        """Say how much of the batch is filled now."""
        self._used = used

    def pad(self) -> None:
        """Fill up a block that was begun."""
        missing = -self._used % BLOCK_BYTES
        if missing:
            self.write(_ZEROS[:missing])

    def zeros(self, size: int) -> None:
        """Add so many bytes of nothing, in a time that depends little on how many."""
        head = min(size, -self._used % BLOCK_BYTES)
        whole, tail = divmod(size - head, BLOCK_BYTES)
        if whole < BATCH_BYTES // BLOCK_BYTES:
            self._write_zeros(size)
            return
        self._write_zeros(head)
        self._flush()
        self._settle(0)
        self._before += whole
        self._check_size()
        self._digests += _ZERO_DIGEST * whole
        self._write_zeros(tail)

    def _write_zeros(self, size: int) -> None:
        while size:
            part = _ZEROS[:size]
            self.write(part)
            size -= len(part)

    def set_aside(self, count: int) -> int:
        """Leave out blocks that `put` fills; returns the number of the first."""
        first = self.next
        self.zeros(count * BLOCK_BYTES)
        return first

    def put(self, number: int, data: bytes) -> None:
        """Say what a block holds that was set aside, once or again; zeros follow."""
        self._aside[number] = data

    def aside(self, number: int) -> bytes:
        """What `put` said."""
        return self._aside[number]

    def finish(self) -> bytes:
        """The root of the tree over all of them, which is 32 bytes. The last block is full."""
        self._flush()
        self._settle(0)
        for number, data in self._aside.items():
            block = data.ljust(BLOCK_BYTES, b"\0")
            place = number * DIGEST_BYTES
            self._digests[place : place + DIGEST_BYTES] = digests_of(block)
            self._copy(number, block)
        if self._image:
            self._image.truncate(self._before * BLOCK_BYTES)
        return tree_of(self._digests).root

    def _flush(self) -> None:
        """Hand over what there is of the batch, whole blocks, and begin another."""
        if not self._used:
            return
        full = self._batch[: self._used]
        self._copy(self._before, full)
        self._hashing.append(self._hasher.submit(digests_of, full))
        self._settle(BATCHES - 1)
        self._before += self._used // BLOCK_BYTES
        self._check_size()
        self._spare.append(self._batch)
        reused = len(self._spare) == BATCHES
        self._batch = self._spare.popleft() if reused else memoryview(bytearray(BATCH_BYTES))
        self._used = 0

    def _settle(self, most: int) -> None:
        """Wait until at most so many batches are being hashed."""
        while len(self._hashing) > most:
            self._digests += self._hashing.popleft().result()

    def _check_size(self) -> None:
        if self._before * BLOCK_BYTES > MAX_IMAGE_BYTES:
            raise RefusedError(f"the image would have more than {MAX_IMAGE_BYTES} bytes")

    def _copy(self, number: int, data: bytes | memoryview) -> None:
        if self._image:
            self._image.seek(number * BLOCK_BYTES)
            self._image.write(data)

"""The payload of a sealed file, written in units of 256 chunks; several are sealed at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from sealserve.models.format import PAGE_BYTES
from sealserve.native.cobblestone import Message
from sealserve.native.sealing import UNIT_PLAIN_BYTES, pages_of, seal_unit
from sealserve.native.verity import DIGEST_BYTES

THREADS = 2
_UNIT_CHUNKS = 256
_UNIT_PAGES = pages_of(UNIT_PLAIN_BYTES, last=False)


class UnitSealer:
    """Seals one message into a file, and keeps the digest of every page it writes.

    size: bytes it will write, whole pages, as the message's header has announced them.
    While one unit is filled from the source, others are sealed, hashed and written.
    """

    def __init__(self, message: Message, size: int) -> None:
        self.size = size
        self.digests = bytearray(size // PAGE_BYTES * DIGEST_BYTES)
        self._message = message

    def run(self, fd: int, offset: int, plain: Iterable[bytes | memoryview]) -> None:
        """Write everything from `offset` on, a multiple of 4096. Raises OSError, and as `plain`."""
        idle = [bytearray(UNIT_PLAIN_BYTES) for _ in range(THREADS + 1)]
        busy: deque[tuple[Future[int], bytearray]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for unit, (filled, size, last) in enumerate(_units(plain, idle)):
                work = pool.submit(self._seal, fd, offset, unit, filled, size, last)
                busy.append((work, filled))
                if not idle:
                    done, emptied = busy.popleft()
                    done.result()
                    idle.append(emptied)
            for work, _ in busy:
                work.result()

    def _seal(
        self, fd: int, offset: int, unit: int, plain: bytearray, size: int, last: bool
    ) -> int:
        first = unit * _UNIT_PAGES
        end = first + pages_of(size, last=last)
        digests = memoryview(self.digests)[first * DIGEST_BYTES : end * DIGEST_BYTES]
        with memoryview(plain) as view:
            return seal_unit(
                fd,
                offset + first * PAGE_BYTES,
                self._message,
                unit * _UNIT_CHUNKS,
                view[:size],
                digests,
                last=last,
            )


def _units(
    plain: Iterable[bytes | memoryview], idle: list[bytearray]
) -> Iterator[tuple[bytearray, int, bool]]:
    """Buffers from `idle`, filled in turn: the bytes in each, and whether it is the last."""
    unit, used = idle.pop(), 0
    for part in plain:
        rest = memoryview(part)
        while rest:
            if used == UNIT_PLAIN_BYTES:
                yield unit, used, False
                unit, used = idle.pop(), 0
            taken = min(len(rest), UNIT_PLAIN_BYTES - used)
            unit[used : used + taken] = rest[:taken]
            used, rest = used + taken, rest[taken:]
    yield unit, used, True

"""Connections, spread evenly over the workers of a generation: whoever holds fewest takes the next.

What the others hold stands in the table. It is advice and no lock: a worker that does not come for
what would be its own is waited for a little, and then not at all until it comes again, so nobody
has to be right about who is dead, stopped or busy.
"""

from __future__ import annotations

from typing import Final

from sealserve.inference.server.table import Share, Slot

# While somebody waits; a look takes a millisecond or two. A loop that is busy comes sooner.
LOOKS: Final = 50


class Spread:
    """As one worker sees it; the `Rivals` of its listener."""

    def __init__(self, share: Share, number: int) -> None:
        """number: which worker of this generation it is."""
        self._own = share.worker(number)
        self._others = [
            _Other(share.worker(each)) for each in range(share.workers) if each != number
        ]

    def come_first(self) -> bool:
        held = self._own.connections
        first = [each.comes_first(held) for each in self._others]  # all: each look is counted
        if any(first):
            return True
        self._own.came_for_one()
        return False

    def took(self) -> None:
        self._own.connection_begins()

    def lost(self) -> None:
        self._own.connection_ends()


class _Other:
    """Another worker. looks: in how many it let somebody wait, one after the other."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._came = slot.came
        self._looks = 0

    def comes_first(self, held: int) -> bool:
        """Whether it is there, holds fewer than this, and can be expected to come."""
        came = self._slot.came
        if came != self._came:
            self._came, self._looks = came, 0
        if not self._slot.is_serving or self._slot.connections >= held:
            return False
        self._looks += 1
        return self._looks <= LOOKS

"""The processes that the supervisor forks: what they say, and that their end is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sealserve.inference.server import channel, failures, silence
from sealserve.inference.server.channel import Channel, Message
from sealserve.inference.server.events import log
from sealserve.inference.server.loop import Loop
from sealserve.inference.server.process import Child, Closable, fork
from sealserve.inference.server.table import Slot


@dataclass(eq=False)
class Process:
    """A child with what it says. done: called when it has ended."""

    child: Child
    channel: Channel
    done: Callable[[], None]

    def close(self) -> None:
        self.child.close()
        self.channel.close()


class Children:
    """Those that have not ended."""

    def __init__(
        self,
        loop: Loop,
        not_theirs: Callable[[], Iterable[Closable]],
        one_ended: Callable[[], None],
    ) -> None:
        """not_theirs: what no child has a use for, beside the others. one_ended: called last."""
        self._loop = loop
        self._not_theirs = not_theirs
        self._one_ended = one_ended
        self._all: set[Process] = set()

    def __iter__(self) -> Iterator[Process]:
        return iter(tuple(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def fork(
        self,
        slot: Slot,
        work: Callable[[Channel], int],
        told: Callable[[Message, Channel], None],
        done: Callable[[], None],
        closing: Sequence[Closable] = (),
    ) -> Process:
        """One more. slot: what it counts in. told: each message it sends.

        closing: what only the others of ours need.
        """
        ours, theirs = channel.pair()
        child = fork(
            lambda: _in_child(slot, work, theirs),
            closing=(ours, *closing, self._loop, *self._not_theirs(), *self),
        )
        theirs.close()
        process = Process(child, ours, done)
        self._all.add(process)
        self._loop.watch(ours, lambda: self._told(process, told))
        self._loop.watch(child, lambda: self._ended(process, told))
        return process

    def but(self, spared: Process | None) -> set[Process]:
        """All of them but one."""
        return self._all - {spared}

    def _told(self, process: Process, told: Callable[[Message, Channel], None]) -> None:
        message = process.channel.receive()
        if message is None:
            self._loop.forget(process.channel)  # its end is seen where the process is watched
        else:
            told(message, process.channel)

    def _ended(self, process: Process, told: Callable[[Message, Channel], None]) -> None:
        while (message := process.channel.receive()) is not None:
            told(message, process.channel)
        for each in (process.child, process.channel):
            self._loop.forget(each)
        process.child.reap()
        process.channel.close()
        self._all.discard(process)
        process.done()
        self._one_ended()


def _in_child(slot: Slot, work: Callable[[Channel], int], up: Channel) -> int:
    """Its events are counted in this slot and not in its parent's, and nothing but them is said."""
    slot.begin()
    log.count = slot.logged
    silence.only_the_log()
    try:
        return work(up)
    except Exception as error:  # told by whoever has a person to tell
        up.fail(error)
        return failures.exit_code(error)

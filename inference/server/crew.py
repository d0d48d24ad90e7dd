"""The workers of one generation, forked off the process that keeps its models.

Loading had threads, and all of them have ended by now; sessions have none of their own. A worker
that dies takes its own calls with it and nobody else's, and is forked again: the weights can no
longer be opened, but here they are still mapped.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sealserve.inference.server import channel, failures, worker
from sealserve.inference.server.channel import Channel, Kind, Message
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import certificates_in
from sealserve.inference.server.loop import Loop
from sealserve.inference.server.process import Child, Closable, fork
from sealserve.inference.server.restarts import Restarts
from sealserve.inference.server.table import State
from sealserve.inference.server.worker import Duty
from sealserve.native.errors import UnavailableError

# More than that is no accident; the supervisor then loads everything anew.
DEATHS: Final = 8
DEATHS_SECONDS: Final = 60.0


@dataclass
class _Worker:
    """One that runs. listening: whether it said so; of those that were there first."""

    child: Child
    channel: Channel
    listening: bool = False

    def close(self) -> None:
        self.child.close()
        self.channel.close()


class Crew:
    """Keeps as many workers as the configuration wants. A new one takes the slot of the dead."""

    def __init__(self, duty: Duty, up: Channel) -> None:
        self._duty = duty
        self._up = up
        self._loop = Loop()
        self._workers: dict[int, _Worker] = {}
        self._restarts = Restarts(DEATHS, DEATHS_SECONDS)
        self._complete = False
        self._stopping = False
        self._failure: Exception | None = None

    def run(self) -> int:
        """Until all of them were told to stop and have ended. Raises what makes going on useless.

        Tells at the other end of `up` once, when all of them listen.
        """
        self._loop.on_signal(signal.SIGTERM, self._stop)
        self._loop.watch(self._up, self._heard)
        gc.collect()
        gc.freeze()  # so that no collection in a worker writes to pages that it shares
        gc.enable()
        for slot in range(self._duty.config.workers):
            self._start(slot)
        self._loop.run(lambda: bool(self._workers) or not self._stopping)
        if self._failure is not None:
            raise self._failure
        return 0

    def _start(self, slot: int) -> None:
        if self._stopping:
            return
        ours, theirs = channel.pair()
        child = fork(lambda: _work(self._duty, theirs, slot), closing=(ours, *self._not_theirs()))
        theirs.close()
        self._workers[slot] = _Worker(child, ours)
        self._loop.watch(child, lambda: self._ended(slot))
        self._loop.watch(ours, lambda: self._told(slot))

    def _not_theirs(self) -> Iterator[Closable]:
        yield self._loop
        yield self._up
        yield from self._workers.values()

    def _heard(self) -> None:
        """From the supervisor: the certificates that follow."""
        message = self._up.receive()
        if message is None:
            self._loop.forget(self._up)
            self._stop()
        elif message.kind is Kind.CERTIFICATES:
            self._duty.identity.certificates = certificates_in(message)
            for member in self._workers.values():
                member.channel.send(Kind.CERTIFICATES, **message.values)

    def _told(self, slot: int) -> None:
        member = self._workers[slot]
        message = member.channel.receive()
        if message is None:
            self._loop.forget(member.channel)  # its end is seen where the process is watched
        else:
            self._take(slot, member, message)

    def _take(self, slot: int, member: _Worker, message: Message) -> None:
        if message.kind is Kind.LISTENING and self._complete:
            log(Event.WORKER_REPLACED, worker=slot)
        elif message.kind is Kind.LISTENING:
            member.listening = True
            self._tell_when_complete()
        elif message.kind is Kind.FAILED and not self._complete:
            self._fail(failures.raised(message.values))

    def _tell_when_complete(self) -> None:
        members = self._workers.values()
        self._complete = all(member.listening for member in members)
        if self._complete:
            self._up.send(Kind.LISTENING, workers=[member.child.pid for member in members])

    def _ended(self, slot: int) -> None:
        member = self._workers.pop(slot)
        while (message := member.channel.receive()) is not None:
            self._take(slot, member, message)
        for each in (member.child, member.channel):
            self._loop.forget(each)
        status = member.child.reap()
        member.channel.close()
        self._duty.share.worker(slot).state(State.ENDED)
        if not self._stopping:
            log(Event.WORKER_ENDED, worker=slot, status=status)
            self._start_again(slot)

    def _start_again(self, slot: int) -> None:
        pause = self._restarts.died(time.monotonic())
        if pause is None or not self._complete:
            self._fail(UnavailableError("the processes that serve end again and again"))
        else:
            self._loop.after(pause, lambda: self._start(slot))

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for member in self._workers.values():
            member.child.send(signal.SIGTERM)


def _work(duty: Duty, up: Channel, number: int) -> int:
    try:
        return worker.serve(duty, up, number)
    except Exception as error:  # told to whoever waits for it to listen
        up.fail(error)
        return failures.exit_code(error)

"""The first process of a server: it holds the listener and the TLS identity, and lives longest.

    supervisor      one thread; forks everything else; never loads ONNX Runtime or gRPC
      attendant     short-lived: evidence, the TLS identity, the models' keys (attendant.py)
      generation    opens the models, and serves them or keeps them for its workers (generation.py)
        worker      answers (worker.py)
      front desk    the operator's pages and socket, if he asked for them (front_desk.py)

A reload is another generation beside the present one, from the files as they are then. Only when
all its workers listen is the old one told to stop; if it fails, nothing has changed. A generation
that dies is loaded anew, a few times. Connections wait at the one listener meanwhile (port.py).
"""

from __future__ import annotations

import dataclasses
import gc
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sealserve.inference.server import channel, failures
from sealserve.inference.server.catalog import Catalog, Files
from sealserve.inference.server.channel import Channel, Kind, Message
from sealserve.inference.server.children import Children, Process
from sealserve.inference.server.commands import Command, Commanded, Refusal, Verb
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.desk import Desk
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import (
    HandedIdentity,
    hand_on,
    identity_in,
)
from sealserve.inference.server.loop import Loop
from sealserve.inference.server.means import Means, Serving
from sealserve.inference.server.memory import keep_from_swap
from sealserve.inference.server.port import HeldPort
from sealserve.inference.server.process import Closable
from sealserve.inference.server.restarts import Restarts
from sealserve.inference.server.rotation import Rotation
from sealserve.inference.server.table import (
    ATTENDANT,
    RENEWER,
    SUPERVISOR,
    TURNS,
    Share,
    State,
)
from sealserve.native.errors import UnavailableError

# A generation that dies more often is no accident.
DEATHS: Final = 5
DEATHS_SECONDS: Final = 300.0
# Beyond the time that calls get: for reports under way, and for threads that end.
_STOP_SECONDS: Final = 15.0


@dataclass(eq=False)
class _Generation:
    """files: what it serves. asked: the command it was started for, and who waits for it."""

    files: Files
    share: Share
    asked: tuple[Commanded, Command] | None = None
    process: Process | None = None
    opened: dict[str, Any] = field(default_factory=dict)
    failure: Exception = field(
        default_factory=lambda: UnavailableError("the process that serves ended by itself")
    )


class Supervisor:
    """Serves until a signal says stop. commanded: ends of those who may ask for more."""

    def __init__(
        self, config: ServerConfig, means: Means, commanded: Sequence[Commanded] = ()
    ) -> None:
        self._config = config
        self._means = means
        self._commanded = list(commanded)
        if means.reception is not None:
            self._commanded.append(means.reception.commanded)
        self._catalog = Catalog(len(config.models))
        self._restarts = Restarts(DEATHS, DEATHS_SECONDS)
        self._identity: HandedIdentity | None = None
        self._introduced: dict[str, Any] = {}  # what came with the identity
        self._current: _Generation | None = None
        self._next: _Generation | None = None
        self._free_turns = set(range(TURNS))
        self._slot = means.table.slot(SUPERVISOR)
        self._pausing = False
        self._reload_again = False
        self._announced = False
        self._stopping = False
        self._failure: Exception | None = None

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises what keeps it from serving, or from going on."""
        self._loop = Loop()
        self._slot.begin()
        log.count = self._slot.logged
        callers = self._config.callers
        log(Event.CALLERS, who=callers.who, number=len(callers.tokens))
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._reload)
        keep_from_swap()
        self._port = HeldPort(self._config.listen_host, self._config.listen_port)
        self._make_room()
        for each in self._commanded:
            self._loop.watch(each, partial(self._asked, each))
        self._begin(self._catalog.all)
        gc.enable()  # `serve` went without to begin sooner; children enable it once they serve
        self._loop.run(lambda: bool(self._children) or not self._stopping)
        if self._failure is not None:
            raise self._failure
        if self._announced:
            log(Event.STOPPED)

    def _make_room(self) -> None:
        """For everything that is forked."""
        table, reception = self._means.table, self._means.reception
        self._children = Children(self._loop, lambda: self._commanded, self._child_ended)
        self._desk = Desk(
            reception,
            table,
            self._loop,
            self._children,
            self._fail,
            Restarts(DEATHS, DEATHS_SECONDS),
            closing=(self._port,),
        )
        self._rotation = Rotation(
            self._loop,
            self._children,
            table.slot(RENEWER),
            self._means.find_source,
            self._renewed,
            closing=(self._port, *self._received()),
        )

    def _child_ended(self) -> None:
        self._desk.leave_last()

    def _renewed(self, certificates: Message) -> None:
        for process in self._children.but(self._desk.process):
            process.channel.send(Kind.CERTIFICATES, **certificates.values)

    # ---- a generation, from its start to its end

    def _begin(self, files: Files, asked: tuple[Commanded, Command] | None = None) -> None:
        """Start one, and the attendant that gets its keys."""
        if self._stopping:
            return
        self._pausing = False
        generation = self._next = _Generation(files, self._new_share(), asked)
        theirs, over = channel.pair()
        table = self._means.table
        self._children.fork(
            table.slot(ATTENDANT),
            lambda up: self._attend(up, theirs),
            self._told_by_attendant,
            self._attendant_ended,
            closing=(over, self._port, *self._received()),
        )
        theirs.close()
        generation.process = self._children.fork(
            generation.share.loader(),
            lambda up: self._generate(generation, up, over),
            lambda message, _: self._told_by_generation(generation, message),
            lambda: self._generation_ended(generation),
            closing=self._received(),
        )
        over.close()
        if self._identity is not None:
            hand_on(self._identity, generation.process.channel)

    def _attend(self, up: Channel, over: Channel) -> int:
        from sealserve.inference.server.attendant import attend  # X.509 comes with it

        config, means = self._config, self._means
        introduce = self._identity is None
        return attend(config.keys, means.find_source, means.machine, up, over, introduce=introduce)

    def _generate(self, generation: _Generation, up: Channel, over: Channel) -> int:
        from sealserve.inference.server.generation import generate  # what opens models, too

        config, means = self._config, self._means
        models = tuple(config.models[number] for number in sorted(generation.files))
        left_out = self._catalog.names_left_out(generation.files)
        options = {name: how for name, how in config.options.items() if name not in left_out}
        served = dataclasses.replace(config, models=models, options=options)
        return generate(
            config,
            served,
            means.namespace,
            means.find_source,
            self._port,
            up,
            over,
            generation.share,
        )

    def _told_by_attendant(self, message: Message, up: Channel) -> None:
        if message.kind is Kind.IDENTITY:
            self._identity = identity_in(message, up)
            self._introduced = message.values
            self._rotation.begin(self._identity, self._config.limits.rotation_hours * 3600)
            if self._next is not None and self._next.process is not None:
                hand_on(self._identity, self._next.process.channel)
        elif message.kind is Kind.FAILED and self._identity is None:
            self._fail(failures.raised(message.values))

    def _attendant_ended(self) -> None:
        if self._identity is None:
            self._fail(UnavailableError("the process that makes evidence ended by itself"))

    def _told_by_generation(self, generation: _Generation, message: Message) -> None:
        if message.kind is Kind.FAILED:
            generation.failure = failures.raised(message.values)
        elif message.kind is Kind.OPENED:
            generation.opened = message.values
        elif message.kind is Kind.LISTENING and generation is self._next:
            self._take_over(generation, message.values["workers"])

    def _take_over(self, generation: _Generation, workers: Sequence[int]) -> None:
        """All its workers listen: from now on it is the one that serves."""
        before, self._current, self._next = self._current, generation, None
        self._catalog.opened(generation.files, generation.opened["models"])
        if before is not None:
            self._leave(before)
        if self._announced:
            log(Event.RELOADED, models=len(generation.files))
        else:
            self._desk.open(lambda: self._announce(generation, workers))
        self._answer(generation, None)
        if self._reload_again:
            self._reload()

    def _announce(self, generation: _Generation, workers: Sequence[int]) -> None:
        self._announced = True
        self._slot.state(State.SERVING)
        opened = generation.opened
        log(
            Event.READY,
            host=self._config.listen_host,
            port=self._port.port,
            models=len(generation.files),
        )
        self._means.announce(
            Serving(
                port=self._port.port,
                models=tuple((name, version, root) for name, version, root in opened["models"]),
                platform=self._introduced["platform"],
                weights=opened["weights"],
                workers=tuple(workers),
                evidence_seconds=self._introduced["seconds"],
                release_seconds=opened["release_seconds"],
                open_seconds=opened["open_seconds"],
            )
        )

    def _leave(self, generation: _Generation) -> None:
        """No new calls; those under way get their time."""
        process = generation.process
        assert process is not None
        process.child.send(signal.SIGTERM)
        self._loop.after(self._patience, lambda: self._kill(process))

    def _kill(self, process: Process) -> None:
        if process in self._children:
            process.child.send(signal.SIGKILL)

    def _received(self) -> tuple[Closable, ...]:
        """What only the operator's process may hold."""
        return () if self._means.reception is None else (self._means.reception,)

    def _new_share(self) -> Share:
        return Share(self._means.table, self._free_turns.pop(), self._config.workers)

    def _generation_ended(self, generation: _Generation) -> None:
        generation.share.ended()
        self._free_turns.add(generation.share.turn)
        if generation is self._next:
            self._next = None
            self._not_opened(generation)
        elif generation is self._current:
            self._current = None
            if not self._stopping:
                log(Event.GENERATION_ENDED, error=type(generation.failure).__name__)
                self._begin_again(generation)
        elif self._reload_again:
            self._reload()

    def _not_opened(self, generation: _Generation) -> None:
        if self._stopping:
            self._answer(generation, Refusal.STOPPING)
            return
        if not self._announced:
            self._fail(generation.failure)
            return
        log(Event.RELOAD_REFUSED, error=type(generation.failure).__name__)
        self._answer(generation, Refusal.NOT_OPENED)
        if self._current is None:
            self._begin_again(generation)
        elif self._reload_again:
            self._reload()

    def _begin_again(self, generation: _Generation) -> None:
        """Nobody serves: load anew, unless one is loading already or there is no use in it."""
        pause = self._restarts.died(time.monotonic())
        if pause is None:
            self._fail(generation.failure)
        elif self._next is None:
            self._pausing = True
            self._loop.after(pause, lambda: self._begin(self._catalog.served))

    # ---- what it is asked for

    def _reload(self) -> None:
        """SIGHUP. One that comes while files are opened means them as they are after that."""
        self._reload_again = self._next is not None or not self._free_turns
        if not (self._reload_again or self._pausing or self._stopping):
            self._begin(self._catalog.served)

    def _asked(self, commanded: Commanded) -> None:
        try:
            command = commanded.receive()
        except (OSError, ValueError):
            command = None
        if command is None:
            self._loop.forget(commanded)
            self._commanded.remove(commanded)
            commanded.close()
        elif command.verb is Verb.MODELS:
            commanded.done(command, self._catalog.known())
        else:
            self._obey(commanded, command)

    def _obey(self, commanded: Commanded, command: Command) -> None:
        wanted = self._catalog.wanted(command)
        if self._stopping:
            commanded.refuse(command, Refusal.STOPPING)
        elif self._next is not None or self._pausing or not self._free_turns:
            commanded.refuse(command, Refusal.BUSY)
        elif isinstance(wanted, Refusal):
            commanded.refuse(command, wanted)
        elif command.verb is Verb.UNLOAD and wanted == self._catalog.served:
            commanded.done(command)
        else:
            self._begin(wanted, (commanded, command))

    def _answer(self, generation: _Generation, refusal: Refusal | None) -> None:
        if generation.asked is None:
            return
        commanded, command = generation.asked
        if refusal is None:
            commanded.done(command)
        else:
            commanded.refuse(command, refusal)

    # ---- the end

    @property
    def _patience(self) -> float:
        return self._config.limits.drain_seconds + _STOP_SECONDS

    def _fail(self, error: Exception) -> None:
        """Nothing is served, and nothing can be: end, and say why."""
        if self._failure is None and not self._stopping:
            self._failure = error
        self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._slot.state(State.DRAINING)
        if self._announced:
            log(Event.DRAINING, seconds=self._config.limits.drain_seconds)
        for process in self._children.but(self._desk.process):
            process.child.send(signal.SIGTERM)
        self._port.refuse()
        self._desk.close()
        self._rotation.end()
        self._loop.after(self._patience, self._kill_all)

    def _kill_all(self) -> None:
        for process in self._children:
            process.child.send(signal.SIGKILL)

"""What a server counts: one table that all its processes share, written without locks.

An anonymous shared mapping, made before the first fork, so that it has no name in any file system
and ends with the last process. Every process has a slot, and each slot a row for every root of the
command line and one more for calls that named no model served here. All cells are unsigned integers
of 8 bytes, aligned, and each has one writer, so a reader never sees half of one; it adds up the
slots. A process that takes the place of one that died goes on in its slot.

What can be counted is fixed here and on the command line. Nothing of a request is kept but how many
there were and how long they took: no size, no shape, no name that a caller chose, no caller.

Imports nothing heavy: the supervisor makes the table, and never loads gRPC.
"""

from __future__ import annotations

import enum
import mmap
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from typing import Final

from sealserve.inference.server.events import Event

# By their name in the protocol, the last part of a call's path.
METHODS: Final = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelInfer",
    "ModelStreamInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "GetEvidence",
)
PREDICTIONS: Final = ("ModelInfer", "ModelStreamInfer")
# Those that can name a model.
MODEL_METHODS: Final = (
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    *PREDICTIONS,
)
# gRPC's status codes; each stands where its number says (grpc/grpc doc/statuscodes.md).
OUTCOMES: Final = (
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)
OK: Final = OUTCOMES.index("ok")
# Slots: of processes that are there once, of the process that opens the models of each generation,
# and then of the workers.
SUPERVISOR: Final = 0
FRONT_DESK: Final = 1
ATTENDANT: Final = 2
RENEWER: Final = 3
FIRST_LOADER: Final = 4
# Generations at the same time: one serves, one is being opened, one may still have calls to answer.
TURNS: Final = 3
FIRST_WORKER: Final = FIRST_LOADER + TURNS
# Upper ends of the buckets in milliseconds; one more, without an end, follows.
BUCKETS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
_BUCKETS_NS: Final = tuple(1_000_000 * end for end in BUCKETS_MS)

# models/format.py: longest name and version of a sealed file, in ASCII.
_NAME_BYTES: Final = 128
_VERSION_BYTES: Final = 64
_CELL: Final = 8


class State(enum.IntEnum):
    """Where a worker is; of the supervisor, where all of them are.

    ENDED is written by who saw it end.
    """

    UNUSED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3
    ENDED = 4


# A row: a cell for each method and outcome, then for each timing its buckets and its sum in
# nanoseconds, then whether the process serves this model.
_OUTCOMES: Final = len(OUTCOMES)
_SUM_AT: Final = len(BUCKETS_MS) + 1
_TIMING_CELLS: Final = _SUM_AT + 1
_TIMINGS_AT: Final = len(METHODS) * _OUTCOMES


class Timing(enum.IntEnum):
    """What is timed of predictions; the number is where it stands in a row.

    ANSWERED and FAILED: from a call's headers to its end. WAITED: for a turn. RAN: in ONNX Runtime,
    and decoding and encoding around it.
    """

    ANSWERED = _TIMINGS_AT
    FAILED = _TIMINGS_AT + _TIMING_CELLS
    WAITED = _TIMINGS_AT + 2 * _TIMING_CELLS
    RAN = _TIMINGS_AT + 3 * _TIMING_CELLS


_SERVES_AT: Final = _TIMINGS_AT + len(Timing) * _TIMING_CELLS
_ROW_CELLS: Final = _SERVES_AT + 1
# A slot: state, calls under way, connections that it holds, how often it came for one, a cell for
# each event of the log, then the rows.
_STATE_AT: Final = 0
_UNDER_WAY_AT: Final = 1
_CONNECTIONS_AT: Final = 2
_CAME_AT: Final = 3
_EVENTS_AT: Final = 4
_EVENT_NUMBER: Final = {event: number for number, event in enumerate(Event)}
_ROWS_AT: Final = _EVENTS_AT + len(_EVENT_NUMBER)
# Where a slot counts the calls that named no model served here.
NO_MODEL: Final = _ROWS_AT


def method_number(name: str) -> int:
    """Where a method stands in METHODS; ValueError, a bug of ours, for one that is not listed."""
    return METHODS.index(name)


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """A model as metrics name it: as its sealed header does. root: 64 hexadecimal digits."""

    name: str
    version: str
    root: str


@dataclass(frozen=True, slots=True)
class Durations:
    """counts: of each bucket alone, the one without an end last. nanoseconds: of all together."""

    counts: tuple[int, ...]
    nanoseconds: int

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many took at most as long as each bucket's end."""
        return tuple(accumulate(self.counts))


@dataclass(frozen=True, slots=True)
class Row:
    """What all processes together counted for one model, or for none."""

    cells: tuple[int, ...]

    def __add__(self, other: Row) -> Row:
        return Row(tuple(map(add, self.cells, other.cells)))

    def calls(self, method: str, outcome: str) -> int:
        return self.cells[method_number(method) * _OUTCOMES + OUTCOMES.index(outcome)]

    def durations(self, timing: Timing) -> Durations:
        cells = self.cells[timing : timing + _TIMING_CELLS]
        return Durations(cells[:-1], cells[-1])


class Table:
    """The whole table. roots: all that the command line allows, each once, 64 digits.

    workers: how many may write at the same time, those of TURNS generations.
    """

    def __init__(self, roots: Sequence[str], workers: int) -> None:
        self.roots = tuple(roots)
        self.slots = FIRST_WORKER + workers
        self._slot_cells = _ROWS_AT + (len(self.roots) + 1) * _ROW_CELLS
        labels_bytes = len(self.roots) * (_NAME_BYTES + _VERSION_BYTES)
        cells_bytes = self.slots * self._slot_cells * _CELL
        mapping = memoryview(mmap.mmap(-1, cells_bytes + labels_bytes))
        self._cells = mapping[:cells_bytes].cast("Q")
        self._labels = mapping[cells_bytes:]

    def slot(self, number: int) -> Slot:
        """What the process of that number writes to."""
        cells = self._cells[number * self._slot_cells : (number + 1) * self._slot_cells]
        rows = range(NO_MODEL + _ROW_CELLS, self._slot_cells, _ROW_CELLS)
        return Slot(cells, dict(zip(map(bytes.fromhex, self.roots), rows, strict=True)))

    def describe(self, root: str, name: str, version: str) -> None:
        """Write down what a sealed file of this root calls itself, once it was verified.

        Everybody who opens it writes the same, so it does not matter who does.
        """
        start = self.roots.index(root) * (_NAME_BYTES + _VERSION_BYTES)
        text = name.encode("ascii").ljust(_NAME_BYTES, b"\0")
        text += version.encode("ascii").ljust(_VERSION_BYTES, b"\0")
        self._labels[start : start + _NAME_BYTES + _VERSION_BYTES] = text

    def labels(self) -> tuple[ModelLabel | None, ...]:
        """The model of each root, in the order of `roots`; None for one nobody opened yet."""
        return tuple(self._label(number) for number in range(len(self.roots)))

    def models(self) -> dict[tuple[str, str], Row]:
        """By name and version: two roots that call themselves the same are counted together."""
        rows: dict[tuple[str, str], Row] = {}
        for label in filter(None, self.labels()):
            key, row = (label.name, label.version), self.row(label.root)
            rows[key] = rows[key] + row if key in rows else row
        return rows

    def row(self, root: str = "") -> Row:
        """The counts of a root's model, or of the calls that named none."""
        start = _ROWS_AT + (self.roots.index(root) + 1 if root else 0) * _ROW_CELLS
        of_each = (self._cells[at + start : at + start + _ROW_CELLS] for at in self._slot_starts())
        return Row(tuple(map(sum, zip(*of_each, strict=True))))

    def events(self) -> dict[Event, int]:
        """How often each event was logged."""
        return {
            event: sum(self._cells[at + _EVENTS_AT + number] for at in self._slot_starts())
            for event, number in _EVENT_NUMBER.items()
        }

    def states(self) -> tuple[State, ...]:
        """The state of each worker."""
        return tuple(
            State(self._cells[at + _STATE_AT]) for at in self._slot_starts()[FIRST_WORKER:]
        )

    def whole(self) -> State:
        """The state of the server as a whole, as its supervisor sees it."""
        return State(self._cells[SUPERVISOR * self._slot_cells + _STATE_AT])

    def under_way(self) -> int:
        """Calls that processes which live are working on."""
        return sum(self._cells[at + _UNDER_WAY_AT] for at in self._alive())

    def workers_of(self, root: str) -> int:
        """How many processes serve this root's model."""
        cell = _ROWS_AT + (self.roots.index(root) + 1) * _ROW_CELLS + _SERVES_AT
        serving = (at for at in self._alive() if self._cells[at + _STATE_AT] == State.SERVING)
        return sum(self._cells[at + cell] for at in serving)

    def _alive(self) -> list[int]:
        dead = (State.UNUSED, State.ENDED)
        return [at for at in self._slot_starts() if self._cells[at + _STATE_AT] not in dead]

    def _slot_starts(self) -> range:
        return range(0, self.slots * self._slot_cells, self._slot_cells)

    def _label(self, number: int) -> ModelLabel | None:
        start = number * (_NAME_BYTES + _VERSION_BYTES)
        name = bytes(self._labels[start : start + _NAME_BYTES]).rstrip(b"\0")
        end = start + _NAME_BYTES + _VERSION_BYTES
        version = bytes(self._labels[start + _NAME_BYTES : end]).rstrip(b"\0")
        if not (name and version):
            return None
        return ModelLabel(name.decode("ascii"), version.decode("ascii"), self.roots[number])


@dataclass(frozen=True, slots=True)
class Share:
    """The slots of one generation.

    turn: below TURNS, of no other one that runs. workers: how many it has.
    """

    table: Table
    turn: int
    workers: int

    def loader(self) -> Slot:
        """Of the process that opens its models."""
        return self.table.slot(FIRST_LOADER + self.turn)

    def worker(self, number: int) -> Slot:
        """Of one of its workers, from 0."""
        return self.table.slot(FIRST_WORKER + self.turn * self.workers + number)

    def ended(self) -> None:
        """Write down that none of its processes is left."""
        self.loader().state(State.ENDED)
        for number in range(self.workers):
            self.worker(number).state(State.ENDED)


class Slot:
    """What one process writes, and others may read.

    Calls, timings and connections are for the thread of its event loop alone.
    """

    __slots__ = ("_cells", "_rows")

    def __init__(self, cells: memoryview, rows: dict[bytes, int]) -> None:
        self._cells = cells
        self._rows = rows

    def begin(self) -> None:
        """A process takes the slot: what its predecessor was doing is over."""
        self._cells[_UNDER_WAY_AT] = 0
        self._cells[_CONNECTIONS_AT] = 0
        self.serves(())
        self.state(State.STARTING)

    def state(self, state: State) -> None:
        self._cells[_STATE_AT] = state

    @property
    def is_serving(self) -> bool:
        """Whether its process said so, and nobody saw it end."""
        return self._cells[_STATE_AT] == State.SERVING

    @property
    def connections(self) -> int:
        """How many its process holds."""
        return self._cells[_CONNECTIONS_AT]

    @property
    def came(self) -> int:
        """How often it came for one, whether it got it or not, and its predecessors did."""
        return self._cells[_CAME_AT]

    def came_for_one(self) -> None:
        """A connection waits, and this process is about to take it."""
        self._cells[_CAME_AT] += 1

    def connection_begins(self) -> None:
        self._cells[_CONNECTIONS_AT] += 1

    def connection_ends(self) -> None:
        self._cells[_CONNECTIONS_AT] -= 1

    def serves(self, roots: Sequence[bytes]) -> None:
        """These models and no others are served by this process."""
        for root, row in self._rows.items():
            self._cells[row + _SERVES_AT] = root in roots

    def logged(self, event: Event) -> None:
        """Events may come from several threads: the log holds its lock around this."""
        self._cells[_EVENTS_AT + _EVENT_NUMBER[event]] += 1

    def row_of(self, root: bytes) -> int:
        """Where calls for this model are counted; NO_MODEL for a root that has no row."""
        return self._rows.get(root, NO_MODEL)

    def enter(self) -> None:
        """A call begins."""
        self._cells[_UNDER_WAY_AT] += 1

    def leave(self, row: int, method: int, outcome: int) -> None:
        """A call ends. row: as `row_of` tells, or NO_MODEL. method: as `method_number` tells.

        outcome: gRPC's number of its status.
        """
        cells = self._cells
        cells[_UNDER_WAY_AT] -= 1
        cells[row + method * _OUTCOMES + outcome] += 1

    def took(self, row: int, timing: Timing, nanoseconds: int) -> None:
        """Something took this long."""
        cells = self._cells
        start = row + timing
        cells[start + bisect_left(_BUCKETS_NS, nanoseconds)] += 1
        cells[start + _SUM_AT] += nanoseconds

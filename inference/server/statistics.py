"""ModelStatistics: how many predictions there were and what their time went into.

On the public port a connection learns of its own predictions and of nobody else's: how busy a
server is with others is not its business. Counting takes some additions, on the event loop alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from sealserve.inference.server.registry import UnknownModelError
from sealserve.inference.wire import open_inference_pb2 as pb

MAX_BATCH_SIZES: Final = 64  # that are told apart; the rest is in the sums alone


class Times(NamedTuple):
    """When a prediction was where, in nanoseconds of one clock that never goes back.

    It waits for its turn from `asked` to `began`; `decoded`, `ran` and `encoded` are ends.
    """

    asked: int
    began: int
    decoded: int
    ran: int
    encoded: int


@dataclass(slots=True)
class Spent:
    """Nanoseconds of so many predictions, or of so many runs of the model."""

    count: int = 0
    input: int = 0
    infer: int = 0
    output: int = 0

    def add(self, times: Times) -> None:
        self.count += 1
        self.input += times.decoded - times.began
        self.infer += times.ran - times.decoded
        self.output += times.encoded - times.ran


@dataclass(slots=True)
class Counters:
    """What is counted for one model. Times are in nanoseconds, `last` in seconds since 1970.

    inferences: rows. runs: of the model; both are those that succeeded, as Triton counts them.
    """

    succeeded: int = 0
    succeeded_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    waited_ns: int = 0
    inferences: int = 0
    runs: int = 0
    last: float = 0.0
    spent: Spent = field(default_factory=Spent)
    batches: dict[int, Spent] = field(default_factory=dict)  # by their rows

    def success(self, times: Times, *, rows: int = 1) -> None:
        """One request was answered. rows: 1 for a model that does not join requests."""
        self.succeeded += 1
        self.succeeded_ns += times.encoded - times.asked
        self.waited_ns += times.began - times.asked
        self.inferences += rows
        self.runs += 1
        self.last = time.time()
        self.spent.add(times)
        if rows in self.batches or len(self.batches) < MAX_BATCH_SIZES:
            self.batches.setdefault(rows, Spent()).add(times)

    def failure(self, nanoseconds: int) -> None:
        """One request for this model was refused, given up or failed."""
        self.failed += 1
        self.failed_ns += nanoseconds


class Connections:
    """Counters by connection, and of each by the root of a model; gone when the connection is.

    A connection is the transport's own object: an address and a port may soon be another caller's.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, dict[bytes, Counters]] = WeakKeyDictionary()

    def of(self, connection: object) -> dict[bytes, Counters]:
        """Of this connection; empty for one that predicted nothing yet. To be looked at only."""
        return self._kept.get(connection, {})

    def counters(self, connection: object, root: bytes) -> Counters:
        """To count what this connection does with this model."""
        models = self._kept.get(connection)
        if models is None:
            models = self._kept[connection] = {}
        found = models.get(root)
        if found is None:
            found = models[root] = Counters()
        return found


def encode_statistics(
    request: pb.ModelStatisticsRequest, counted: Iterable[tuple[str, str, Counters]]
) -> pb.ModelStatisticsResponse:
    """The answer for the models asked for: all, all versions of one, or one.

    counted: name, version and counters of every model. UnknownModelError if it is none of them.
    """
    answer = pb.ModelStatisticsResponse()
    for name, version, counters in counted:
        if request.name in ("", name) and request.version in ("", version):
            answer.model_stats.append(_statistics(name, version, counters))
    if request.name and not answer.model_stats:
        raise UnknownModelError(f"no model {request.name[:128]!r} is served here")
    return answer


def _statistics(name: str, version: str, counters: Counters) -> pb.ModelStatistics:
    spent, count = counters.spent, counters.spent.count
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=int(counters.last * 1000),
        inference_count=counters.inferences,
        execution_count=counters.runs,
        inference_stats=pb.InferStatistics(
            success=pb.StatisticDuration(count=counters.succeeded, ns=counters.succeeded_ns),
            fail=pb.StatisticDuration(count=counters.failed, ns=counters.failed_ns),
            queue=pb.StatisticDuration(count=count, ns=counters.waited_ns),
            compute_input=pb.StatisticDuration(count=count, ns=spent.input),
            compute_infer=pb.StatisticDuration(count=count, ns=spent.infer),
            compute_output=pb.StatisticDuration(count=count, ns=spent.output),
        ),
        batch_stats=[_batch(rows, of_it) for rows, of_it in sorted(counters.batches.items())],
    )


def _batch(rows: int, spent: Spent) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=rows,
        compute_input=pb.StatisticDuration(count=spent.count, ns=spent.input),
        compute_infer=pb.StatisticDuration(count=spent.count, ns=spent.infer),
        compute_output=pb.StatisticDuration(count=spent.count, ns=spent.output),
    )

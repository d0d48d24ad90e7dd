"""Whether rows of a batch leave each other alone: a test before requests of strangers share runs.

A model's owner declares it, and a mistake would let one caller's rows change another's answers. So
each of some rows is run alone, then between neighbours of every extreme kind, at the ends and in
the middle of batches of several sizes. Answers must be the same within `TOLERANCE` of a row's
largest number, and exactly the same where they are no floats. It is a test and no proof: a model
that was made to mix rows on a secret sign would pass, which is why its owner has to declare it too.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from sealserve.inference.server.batching import MAX_BATCH_BYTES
from sealserve.inference.server.made_up import Fill, Runs, plain, request_of, sizes_to_try
from sealserve.inference.wire import bfloat16
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import ANY_SIZE
from sealserve.inference.wire.tensor import Array, Tensor
from sealserve.native.errors import SealserveError

# Other kernels for other batch sizes sum up in another order: float32 has 24 bits.
TOLERANCE: Final = 1e-5
_EXTREMES: Final = ("nan", "inf", "-inf", "huge", "zero", "denormal")
_BFLOAT16: Final = {"nan": 0x7FC0, "inf": 0x7F80, "-inf": 0xFF80, "huge": 0x7F7F,
                    "zero": 0, "denormal": 1}  # fmt: skip
Row = tuple[Array, ...]  # one row of each input


class Reason(enum.StrEnum):
    """Why requests may not share a run."""

    FIXED_BATCH = "an input has no first dimension of any size"
    NO_INPUT = "the model takes no made up inputs"
    NOT_FINITE = "made up inputs give no finite numbers"
    OTHER_ROWS = "an output does not have one row for each row"
    MIXED = "rows change each other"


def why_dependent(session: Runs, rows: int) -> Reason | None:
    """The reason why requests may not share runs of up to `rows` rows; None if they may."""
    if not all(spec.shape and spec.shape[0] == ANY_SIZE for spec in session.inputs):
        return Reason.FIXED_BATCH
    for size in sizes_to_try(session.inputs):
        test = _Test(session, size)
        try:
            test.run_alone()
        except SealserveError:
            continue
        except _DependentError as found:
            return found.reason
        return test.why_dependent(rows)
    return Reason.NO_INPUT


class _DependentError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Test:
    """Three rows, how they are answered alone, and how in company."""

    def __init__(self, session: Runs, size: int) -> None:
        self._session = session
        self._size = size
        self._tested = [self._row(plain(seed)) for seed in range(3)]
        self._alone: list[Sequence[Array]] = []

    def run_alone(self) -> None:
        """SealserveError if the model does not take such inputs."""
        self._alone = [self._run([row]) for row in self._tested]
        for output in zip(*self._alone, strict=True):
            if not any(_has_finite(answer) for answer in output):
                raise _DependentError(Reason.NOT_FINITE)

    def why_dependent(self, rows: int) -> Reason | None:
        """Run them in company of every kind."""
        row_bytes = sum(each.nbytes for each in self._tested[0])
        largest = min(rows, MAX_BATCH_BYTES // max(row_bytes, 1))
        try:
            for count, places in _arrangements(largest):
                if not self._same_among(self._row(plain(7)), count, places):
                    return Reason.NO_INPUT
                for kind in _EXTREMES:
                    # What takes no extreme number, as of a word, may take extreme floats beside.
                    if not self._same_among(self._row(_extreme(kind, every=True)), count, places):
                        self._same_among(self._row(_extreme(kind, every=False)), count, places)
        except _DependentError as found:
            return found.reason
        return None

    def _same_among(self, neighbour: Row, count: int, places: Sequence[int]) -> bool:
        """Whether the model takes that company at all; _DependentError if it makes a difference."""
        batch = [neighbour] * count
        for which, place in enumerate(places):
            batch[place] = self._tested[which]
        try:
            answers = self._run(batch)
        except SealserveError:
            return False
        for which, place in enumerate(places):
            for answer, alone in zip(answers, self._alone[which], strict=True):
                if not _same(answer[place : place + 1], alone):
                    raise _DependentError(Reason.MIXED)
        return True

    def _row(self, fill: Fill) -> Row:
        request = request_of(self._session.inputs, 1, self._size, fill)
        return tuple(tensor.data for tensor in request.inputs)

    def _run(self, batch: Sequence[Row]) -> list[Array]:
        """All outputs, of BF16 as float32."""
        inputs = tuple(
            Tensor(spec.name, spec.datatype, (len(batch), *rows[0].shape[1:]), np.concatenate(rows))
            for spec, rows in zip(self._session.inputs, zip(*batch, strict=True), strict=True)
        )
        outputs = self._session.run(InferRequest("", "", inputs))
        if any(output.shape[:1] != (len(batch),) for output in outputs):
            raise _DependentError(Reason.OTHER_ROWS)
        return [_numbers(output) for output in outputs]


def _arrangements(largest: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Sizes of batches, and where among neighbours tested rows stand in them."""
    places: dict[int, list[tuple[int, ...]]] = {2: [(0,), (1,)], 3: [(1,)], 7: [(0, 3, 6)]}
    if largest > max(places):
        places[largest] = [(0, largest // 2, largest - 1)]
    for count, several in places.items():
        if count <= largest:
            yield from ((count, each) for each in several)


def _extreme(kind: str, *, every: bool) -> Fill:
    """A neighbour of this kind. every: not in its floats alone."""
    others = plain(8)

    def fill(datatype: str, shape: tuple[int, ...]) -> Array:
        storage = DATA_TYPES[datatype].storage
        if datatype == "BF16":
            return np.full(shape, _BFLOAT16[kind], np.uint16)
        if storage is not None and storage.kind == "f":
            return np.full(shape, _extreme_float(kind, storage), storage)
        if not every:
            return others(datatype, shape)
        if storage is None:
            texts: Array = np.full(shape, b"" if kind == "zero" else b"9" * 1000, dtype=object)
            return texts
        return np.full(shape, _extreme_whole(kind, storage), storage)

    return fill


def _extreme_float(kind: str, storage: np.dtype[Any]) -> float:
    limits = np.finfo(storage)
    numbers = {"huge": limits.max, "zero": 0, "denormal": limits.smallest_subnormal}
    return float(numbers[kind]) if kind in numbers else float(kind)


def _extreme_whole(kind: str, storage: np.dtype[np.generic]) -> int:
    if kind == "zero":
        return 0
    if storage.kind == "b":
        return 1
    limits = np.iinfo(storage.str)
    return int(limits.min if kind == "-inf" else limits.max)


def _numbers(output: Tensor) -> Array:
    return bfloat16.from_bits(output.data) if output.datatype == "BF16" else output.data  # type: ignore[arg-type]


def _has_finite(answer: Array) -> bool:
    return answer.dtype.kind != "f" or not answer.size or bool(np.isfinite(answer).any())


def _same(answer: Array, alone: Array) -> bool:
    if answer.shape != alone.shape:
        return False
    if answer.dtype.kind != "f":
        return bool(np.array_equal(answer, alone))
    finite = alone[np.isfinite(alone)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0.0))
    return bool(np.allclose(answer.astype(np.float64), alone.astype(np.float64), rtol=0.0,
                            atol=TOLERANCE * largest, equal_nan=True))  # fmt: skip

"""Inputs nobody sent: for runs before the first request, and for the test whether rows mix."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from sealserve.inference.wire import bfloat16
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import ANY_SIZE, TensorSpec
from sealserve.inference.wire.tensor import Array, Tensor
from sealserve.native.errors import SealserveError

# What dimensions of any size are tried with, beside the rows; a picture may have to be one.
_SIZES: Final = (1, 8, 32, 224)
# A short run is tried until one of them was not disturbed: so often, or for so long together.
_TRIALS: Final = 64
_TRIAL_SECONDS: Final = 0.01
Fill = Callable[[str, tuple[int, ...]], Array]  # datatype and shape of one input


class Runs(Protocol):
    """A loaded model: `runtime.Session`, or a test's own."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    def run(self, request: InferRequest) -> tuple[Tensor, ...]: ...


def sizes_to_try(inputs: Sequence[TensorSpec]) -> Sequence[int]:
    """Sizes for dimensions of any size that are no rows; one that means nothing without such."""
    return _SIZES if any(ANY_SIZE in spec.shape[1:] for spec in inputs) else _SIZES[:1]


def request_of(inputs: Sequence[TensorSpec], rows: int, size: int, fill: Fill) -> InferRequest:
    """One request. rows: for first dimensions of any size; size: for the other ones."""
    return InferRequest("", "", tuple(_tensor(spec, rows, size, fill) for spec in inputs))


def zeros(datatype: str, shape: tuple[int, ...]) -> Array:
    """Nothing but zeros, or empty texts."""
    storage = DATA_TYPES[datatype].storage
    if storage is not None:
        return np.zeros(shape, storage)
    texts: Array = np.full(shape, b"", dtype=object)
    return texts


def plain(seed: int) -> Fill:
    """Numbers as models take them: floats around 0, numbers of 0 and 1 as of classes or words."""
    random = np.random.default_rng(seed)

    def fill(datatype: str, shape: tuple[int, ...]) -> Array:
        storage = DATA_TYPES[datatype].storage
        if datatype == "BF16":
            return bfloat16.to_bits(random.standard_normal(shape).astype(np.float32))
        if storage is not None and storage.kind == "f":
            return random.standard_normal(shape).astype(storage)
        whole = random.integers(0, 2, shape)
        return _texts(whole) if storage is None else whole.astype(storage)

    return fill


def warm_up(session: Runs, runs: int, *, rows: int = 1) -> float:
    """Run a model on zeros; seconds of the fastest run, infinite if there was none.

    runs: at least; a short one is tried more often, because what it takes decides where it runs
    later. A model that takes nothing made up is left as it is: its first caller warms it up.
    """
    for size in sizes_to_try(session.inputs):
        request = request_of(session.inputs, rows, size, zeros)
        try:
            return min(_tried(session, request, runs), default=float("inf"))
        except SealserveError:
            continue
    return float("inf")


def _tried(session: Runs, request: InferRequest, runs: int) -> list[float]:
    """Seconds of each run, none of them with `runs` 0."""
    taken = [_seconds(session, request) for _ in range(runs)]
    while taken and len(taken) < _TRIALS and sum(taken) < _TRIAL_SECONDS:
        taken.append(_seconds(session, request))
    return taken


def _seconds(session: Runs, request: InferRequest) -> float:
    began = time.perf_counter()
    session.run(request)
    return time.perf_counter() - began


def _tensor(spec: TensorSpec, rows: int, size: int, fill: Fill) -> Tensor:
    first, *others = spec.shape or (1,)
    dimensions = (rows if first == ANY_SIZE else first,
                  *(size if each == ANY_SIZE else each for each in others))  # fmt: skip
    shape = dimensions if spec.shape else ()
    return Tensor(spec.name, spec.datatype, shape, fill(spec.datatype, shape))


def _texts(numbers: Array) -> Array:
    texts: Array = np.empty(numbers.shape, dtype=object)
    texts.reshape(-1)[:] = [str(number).encode() for number in numbers.reshape(-1).tolist()]
    return texts

"""Requests that share a run: joined along their first dimension, and taken apart again.

Only for models whose rows leave each other alone (`independence.py`). Each request gets the rows
that are its own, as views of the answer; where anything is not as it must be for that, every
request runs by itself, so that nobody has to suffer for a neighbour.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from sealserve.inference.server.made_up import Runs
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.tensor import Array, Tensor

# Inputs of one joined run; beyond it, sharing a run saves nothing that memory is not dearer for.
MAX_BATCH_BYTES: Final = 32 * 2**20

Outputs = tuple[Tensor, ...]
# What requests must have in common: name, type and shape of a row of each input; outputs wanted.
Kind = tuple[tuple[tuple[str, str, tuple[int, ...]], ...], tuple[str, ...]]


def run_together(session: Runs, requests: Sequence[InferRequest]) -> list[Outputs] | None:
    """The outputs of each of several requests of one kind, in their order.

    None if they cannot be told apart: an output does not have one row for each row. Raises what
    `session.run` raises, for whichever of them it was.
    """
    rows = [request.inputs[0].shape[0] for request in requests]
    outputs = session.run(_joined(requests, sum(rows)))
    if any(output.shape[:1] != (sum(rows),) for output in outputs):
        return None
    ends = np.cumsum(rows).tolist()
    return [
        tuple(_rows(output, end - count, end) for output in outputs)
        for count, end in zip(rows, ends, strict=True)
    ]


def run_each(
    session: Runs, requests: Sequence[InferRequest], *, together: bool
) -> list[Outputs | Exception]:
    """The outputs of each, or what was wrong with it. together: they are of one kind, so try."""
    if together and len(requests) > 1:
        try:
            answers = run_together(session, requests)
        except Exception:  # one of them, and each by itself tells which
            answers = None
        if answers is not None:
            return list(answers)
    return [_run_alone(session, request) for request in requests]


def _run_alone(session: Runs, request: InferRequest) -> Outputs | Exception:
    try:
        return session.run(request)
    except Exception as error:  # its caller's, who is told as calls.py tells everything
        return error


def _joined(requests: Sequence[InferRequest], rows: int) -> InferRequest:
    first = requests[0]
    by_name = [{tensor.name: tensor.data for tensor in each.inputs} for each in requests]
    inputs = tuple(
        _concatenated(number, tensor, rows, [each[tensor.name] for each in by_name])
        for number, tensor in enumerate(first.inputs)
    )
    return InferRequest(first.model, first.version, inputs, first.outputs)


def _concatenated(number: int, like: Tensor, rows: int, parts: Sequence[Array]) -> Tensor:
    shape = (rows, *like.shape[1:])
    if like.data.dtype == object:
        return Tensor(like.name, like.datatype, shape, np.concatenate(parts))
    data = _SCRATCH.take(number, like.data.dtype, shape)
    np.concatenate(parts, out=data)
    return Tensor(like.name, like.datatype, shape, data)


def _rows(output: Tensor, start: int, end: int) -> Tensor:
    shape = (end - start, *output.shape[1:])
    return Tensor(output.name, output.datatype, shape, output.data[start:end])


class _Scratch(threading.local):
    """Memory of each thread to join inputs in, kept from run to run.

    Fresh memory of this size comes from the system page by page, which takes longer than the copy.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Array] = {}

    def take(self, number: int, storage: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
        """An array for input `number`; whatever it holds is old."""
        size = storage.itemsize * int(np.prod(shape))
        kept = self._kept.get(number)
        if kept is None or kept.nbytes < size:
            kept = self._kept[number] = np.empty(size, np.uint8)
        return kept[:size].view(storage).reshape(shape)


_SCRATCH: Final = _Scratch()

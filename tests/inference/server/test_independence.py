"""Models whose rows leave each other alone pass, and every way of mixing them is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from sealserve.inference.server.independence import Reason, why_dependent
from sealserve.inference.server.runtime import Session
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from support.batch_models import FLOAT, WIDTH, dense, node, session, weights

IMAGES = ("x", FLOAT, ("rows", 3, "height", "width"))


def image_net() -> Session:
    nodes = [
        node("Conv", "x w", "a", strides=[2, 2]),
        node("GlobalAveragePool", "a", "b"),
        node("Flatten", "b"),
    ]
    return session(nodes, takes=[IMAGES], w=weights(4, 3, 5, 5))


def embedding() -> Session:
    """Words by number, of which there are four: an extreme one is refused."""
    nodes = [node("Gather", "table x", "a"), node("ReduceMean", "a", axes=[1], keepdims=0)]
    return session(nodes, takes=[("x", TensorProto.INT64, ("rows", "words"))], table=weights(4, 5))


def words_beside_floats(*nodes: Any) -> Session:
    takes = [("x", FLOAT, ("rows", WIDTH)), ("word", TensorProto.INT64, ("rows",))]
    looked_up = node("Gather", "table word", "found")
    return session([looked_up, *nodes], takes=takes, table=weights(2, WIDTH))


def of_type(kind: int) -> Session:
    return session([node("Identity", "x")], takes=[("x", kind, ("rows", 2))], gives=[("y", kind)])


def label_and_scores() -> Session:
    nodes = [node("MatMul", "x w", "scores"), node("ArgMax", "scores", "label", axis=1)]
    gives = [("label", TensorProto.INT64), ("scores", FLOAT)]
    return session(nodes, gives=gives, w=weights(WIDTH, 3))


INDEPENDENT: dict[str, Callable[[], Session]] = {
    "layers": dense,
    "images of any size": image_net,
    "words": embedding,
    "words beside floats": lambda: words_beside_floats(node("Add", "x found")),
    "a label and scores": label_and_scores,
    "logarithms, of which some are not finite": lambda: session([node("Log", "x")]),
    **{
        f"type {kind}": lambda kind=kind: of_type(kind)  # type: ignore[misc]
        for kind in (TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16,
                     TensorProto.DOUBLE, TensorProto.BFLOAT16, TensorProto.STRING)
    },
}  # fmt: skip


@pytest.mark.parametrize("model", INDEPENDENT.values(), ids=INDEPENDENT.keys())
@pytest.mark.parametrize("rows", [2, 32])
def test_rows_that_leave_each_other_alone(model: Callable[[], Session], rows: int) -> None:
    assert why_dependent(model(), rows) is None


def half(kind: str) -> Session:
    """Adds what one row of the batch, the first or the last, has in its first column."""
    start = 0 if kind == "first" else -1
    end = 1 if kind == "first" else 2**31
    return session(
        [node("Slice", "x from to axes", "a"), node("Add", "x a")],
        **{"from": np.array([start, 0]), "to": np.array([end, 1]), "axes": np.array([0, 1])},
    )


MIXED: dict[str, Callable[[], Session]] = {
    "softmax over the batch": lambda: session([node("Softmax", "x", axis=0)]),
    "running sum": lambda: session([node("CumSum", "x zero")], zero=np.array(0)),
    "running sum from the end": lambda: session(
        [node("CumSum", "x zero", reverse=1)], zero=np.array(0)
    ),
    "batch norm in training form": lambda: session(
        [node("BatchNormalization", "x s b m v", "y m2 v2", training_mode=1)],
        s=np.ones(WIDTH, np.float32), b=np.zeros(WIDTH, np.float32),
        m=np.zeros(WIDTH, np.float32), v=np.ones(WIDTH, np.float32),
    ),
    "minus the mean": lambda: session(
        [node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x m")]
    ),
    "divided by the largest": lambda: session(
        [node("ReduceMax", "x", "m", axes=[0]), node("Div", "x m")]
    ),
    "quantized over all rows": lambda: session(
        [node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z")]
    ),
    "a matrix of all pairs": lambda: session(
        [node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "p"),
         node("MatMul", "p x")]
    ),
    "the other way round": lambda: session(
        [node("Slice", "x from to axes step")],
        **{"from": np.array([-1]), "to": np.array([-(2**31)]), "axes": np.array([0]),
           "step": np.array([-1])},
    ),
    "plus the first": lambda: half("first"),
    "plus the last": lambda: half("last"),
    "sorted": lambda: session(
        [node("Shape", "x", "all"), node("Slice", "all zero one", "rows"),
         node("TopK", "x rows", "y i", axis=0)],
        zero=np.array([0]), one=np.array([1]),
    ),
    "a label that depends on the mean": lambda: session(
        [node("ReduceMean", "x", "m", axes=[0]), node("Less", "x m")],
        gives=[("y", TensorProto.BOOL)],
    ),
    "floats mixed beside words, which take no extreme": lambda: words_beside_floats(
        node("Add", "x found", "a"), node("Softmax", "a", axis=0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("rows", [2, 32])
def test_rows_that_change_each_other(model: Callable[[], Session], rows: int) -> None:
    assert why_dependent(model(), rows) is Reason.MIXED


class Python:
    """A model written here. change: what becomes of a batch."""

    inputs = (TensorSpec("x", "FP32", (-1, 2)),)
    outputs = (TensorSpec("y", "FP32", (-1, 2)),)

    def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.change = change
        self.batches: list[np.ndarray] = []

    def run(self, request: InferRequest) -> tuple[Tensor, ...]:
        x = request.inputs[0].data
        self.batches.append(x.copy())
        with np.errstate(all="ignore"):
            y = self.change(x)
        return (Tensor("y", "FP32", y.shape, y),)


def spreads(what: Callable[[np.ndarray], np.ndarray], rows: int = 0) -> Python:
    """Shifts everything by 1 % if there is such an element in any row of `rows` and more."""

    def change(x: np.ndarray) -> np.ndarray:
        return x * np.float32(1.01 if len(x) > rows and what(x).any() else 1.0)

    return Python(change)


def marked(x: np.ndarray, place: int) -> np.ndarray:
    """One row of a batch of more than two is another."""
    y = x.copy()
    if len(x) > 2:
        y[place] += 1
    return y


ONE_CHECK_EACH: dict[str, Python] = {
    "nan": spreads(np.isnan),
    "inf": spreads(np.isposinf),
    "-inf": spreads(np.isneginf),
    "huge": spreads(lambda x: x == np.finfo(np.float32).max),
    "zero": spreads(lambda x: (x == 0).all(axis=1)),
    "denormal": spreads(lambda x: x == np.finfo(np.float32).smallest_subnormal),
    "of the largest size": spreads(np.isfinite, rows=31),
    "of other sizes": spreads(lambda x: np.array(3 <= len(x) < 32)),
    "of pairs": spreads(lambda x: np.array(len(x) == 2)),
    "in the middle": Python(lambda x: marked(x, len(x) // 2)),
    "at the end": Python(lambda x: marked(x, len(x) - 1)),
    "at the start": Python(lambda x: marked(x, 0)),
}  # fmt: skip


@pytest.mark.parametrize("model", ONE_CHECK_EACH.values(), ids=ONE_CHECK_EACH.keys())
def test_each_kind_of_company_is_tried(model: Python) -> None:
    assert why_dependent(model, 32) is Reason.MIXED


def off_by(part: float) -> Python:
    """Every row's second number is that part of its largest number off, in company."""

    def change(x: np.ndarray) -> np.ndarray:
        y = np.array(x, np.float32)
        if len(x) > 1:
            y[:, 1] += np.float32(part) * np.abs(x).max(axis=1)
        return y

    return Python(change)


@pytest.mark.parametrize(("part", "found"), [(3e-6, None), (3e-5, Reason.MIXED)])
def test_last_bits_may_differ_and_no_more(part: float, found: Reason | None) -> None:
    assert why_dependent(off_by(part), 8) is found


def test_batches_are_no_larger_than_those_to_come() -> None:
    model = Python(lambda x: x)
    assert why_dependent(model, 5) is None
    assert max(len(batch) for batch in model.batches) == 3
    assert why_dependent(model, 9) is None
    assert max(len(batch) for batch in model.batches) == 9


FIXED = [("x", FLOAT, (4, WIDTH))]
REASONS: dict[str, tuple[Callable[[], Any], Reason]] = {
    "a batch of four": (
        lambda: session([node("Relu", "x")], takes=FIXED), Reason.FIXED_BATCH,
    ),
    "a number": (
        lambda: session([node("Relu", "x")], takes=[("x", FLOAT, ())]), Reason.FIXED_BATCH,
    ),
    "one of two inputs without rows": (
        lambda: session([node("Mul", "x f")], takes=[("x", FLOAT, ("n", 2)), ("f", FLOAT, (1,))]),
        Reason.FIXED_BATCH,
    ),
    "a sum of all rows": (
        lambda: session([node("ReduceSum", "x", keepdims=0)]), Reason.OTHER_ROWS,
    ),
    "a mean over the batch": (
        lambda: session([node("ReduceMean", "x", axes=[0])]), Reason.OTHER_ROWS,
    ),
    "columns first": (
        lambda: session([node("Transpose", "x", perm=[1, 0])]), Reason.OTHER_ROWS,
    ),
    "one output of two without rows": (
        lambda: session(
            [node("Relu", "x"), node("Shape", "x", "s")],
            gives=[("y", FLOAT), ("s", TensorProto.INT64)],
        ),
        Reason.OTHER_ROWS,
    ),
    "nothing but NaN": (
        lambda: session([node("Abs", "x", "a"), node("Neg", "a", "b"), node("Sqrt", "b")]),
        Reason.NOT_FINITE,
    ),
    "nothing made up is taken": (
        lambda: session([node("Gather", "table x")], takes=[("x", TensorProto.INT64, ("rows",))],
                        table=weights(1, 2)),
        Reason.NO_INPUT,
    ),
    "no more than one row is taken": (
        lambda: session([node("Reshape", "x one")], one=np.array([1, WIDTH])), Reason.NO_INPUT,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "reason"), REASONS.values(), ids=REASONS.keys())
def test_models_that_have_no_batches(model: Callable[[], Any], reason: Reason) -> None:
    assert why_dependent(model(), 8) is reason

"""Models whose rows leave each other alone, and models whose rows do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sealserve.inference.server.memory import AnonymousPlace
from sealserve.inference.server.runtime import Session

FLOAT = TensorProto.FLOAT
WIDTH = 6


def session(
    nodes: Sequence[NodeProto],
    *,
    takes: Sequence[tuple[str, int, Sequence[Any]]] = (("x", FLOAT, ("rows", WIDTH)),),
    gives: Sequence[tuple[str, int]] = (("y", FLOAT),),
    **tensors: Any,
) -> Session:
    """A loaded model. tensors: its initializers, by name."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(*each) for each in takes],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in gives],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Session(model.SerializeToString(), AnonymousPlace(), threads=1)


def node(operator: str, takes: str, gives: str = "y", **attributes: Any) -> NodeProto:
    """takes, gives: names, separated by spaces; `_` for none."""
    names = [name.replace("_", "") for name in takes.split(" ")]
    return helper.make_node(operator, names, gives.split(" "), **attributes)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def dense() -> Session:
    """Two layers and a softmax over columns: what a model of a table is."""
    return session(
        [
            node("MatMul", "x w", "a"),
            node("Relu", "a", "b"),
            node("MatMul", "b v", "c"),
            node("Softmax", "c", axis=1),
        ],
        w=weights(WIDTH, 16),
        v=weights(16, 3),
    )

"""Three models that differ in what a request costs: nothing, a walk over weights, many bytes.

    tabular   30 floats, one small layer: the request is all there is
    mlp       768 floats, 15 million weights: memory is read once for each request or batch
    conv      3 x 224 x 224 floats, 600 KB: one strided convolution, so that the bytes matter

All take a batch of any size, and their weights are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
INPUT, OUTPUT = "x", "y"
_OPSET, _IR = 17, 10


@dataclass(frozen=True)
class Model:
    """shape: of one input, without the batch."""

    name: str
    shape: tuple[int, ...]
    proto: ModelProto

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name}.onnx"
        onnx.save(self.proto, path)
        return path

    def example(self) -> Floats:
        """A batch of one, the same in every run."""
        random = np.random.default_rng(1)
        return random.standard_normal((1, *self.shape), np.float32)


def models() -> tuple[Model, ...]:
    """In the order above."""
    return (
        model("tabular", (30,), layers([30, 16, 2])),
        model("mlp", (768,), layers([768, 3072, 3072, 1000])),
        model("conv", (3, 224, 224), _convolution()),
    )


Part = tuple[NodeProto, dict[str, Floats]]  # one step, and the weights in it


def layers(widths: Sequence[int]) -> Iterator[Part]:
    """MatMul and Relu, from each width to the next."""
    random = np.random.default_rng(0)
    before = INPUT
    for at, (rows, columns) in enumerate(pairwise(widths)):
        weights = random.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5)
        last = at == len(widths) - 2
        product = OUTPUT if last else f"product{at}"
        yield helper.make_node("MatMul", [before, f"w{at}"], [product]), {f"w{at}": weights}
        if not last:
            before = f"layer{at}"
            yield helper.make_node("Relu", [product], [before]), {}


def _convolution() -> Iterator[Part]:
    random = np.random.default_rng(0)
    kernels = random.standard_normal((8, 3, 7, 7), np.float32) / np.float32(12)
    yield (
        helper.make_node("Conv", [INPUT, "kernels"], ["seen"], strides=[4, 4], pads=[3, 3, 3, 3]),
        {"kernels": kernels},
    )
    yield helper.make_node("Relu", ["seen"], ["kept"]), {}
    yield helper.make_node("GlobalAveragePool", ["kept"], ["mean"]), {}
    yield helper.make_node("Flatten", ["mean"], ["flat"]), {}
    weights = random.standard_normal((8, 10), np.float32)
    yield helper.make_node("MatMul", ["flat", "w"], [OUTPUT]), {"w": weights}


def model(name: str, shape: tuple[int, ...], parts: Iterator[Part]) -> Model:
    """These steps one after the other, from INPUT to OUTPUT."""
    nodes, weights = [], {}
    for node, more in parts:
        nodes.append(node)
        weights |= more
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return Model(name, shape, helper.make_model(graph, opset_imports=opsets, ir_version=_IR))

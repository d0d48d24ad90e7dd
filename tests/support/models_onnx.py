"""ONNX models to seal: small ones with tensors of every size class, and what they predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
WIDTH = 512  # a square matrix of float32 is exactly 1 MiB: the smallest tensor with its own entry
CLASSES = 16


def random_array(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def batch(rows: int = 3, width: int = WIDTH) -> dict[str, Array]:
    return {"x": random_array(99, rows, width)}


def tensor_info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(nodes: list[NodeProto], tensors: dict[str, Array], width: int) -> ModelProto:
    """x of `width` columns in, y out."""
    initializers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [tensor_info("x", ["rows", width])],
        [tensor_info("y", ["rows out", "columns out"])],
        initializer=initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def classifier(seed: int = 1) -> ModelProto:
    """Two layers with weights of 1 MiB (own entry), 32 KiB (shared), 64 bytes (in the graph)."""
    tensors = {
        "w0": random_array(seed, WIDTH, WIDTH),
        "w1": random_array(seed + 1, WIDTH, CLASSES),
        "b1": random_array(seed + 2, CLASSES),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"]),
        helper.make_node("Relu", ["h0"], ["h1"]),
        helper.make_node("MatMul", ["h1", "w1"], ["h2"]),
        helper.make_node("Add", ["h2", "b1"], ["y"]),
    ]
    return model_of(nodes, tensors, WIDTH)


def small(seed: int = 1) -> ModelProto:
    """One layer of 8 by 4: everything stays in the graph."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model_of(nodes, {"w": random_array(seed, 8, 4)}, 8)


def with_one(array: Array, nodes: list[NodeProto] | None = None, width: int = 0) -> ModelProto:
    """x times one matrix `w`, or other nodes that use it, with x of another width."""
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model_of(nodes, {"w": array}, width or array.shape[0])


def without_weights() -> ModelProto:
    return model_of([helper.make_node("Relu", ["x"], ["y"])], {}, 8)


def save_external(model: ModelProto, path: Path, location: str | None = None) -> None:
    """Weights beside the model: all in one file, or (None) each in a file of its own."""
    (path.parent / (location or ".")).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=location is not None,
        location=location,
        size_threshold=0,
    )


def point_outside(model: ModelProto, **places: str) -> ModelProto:
    """The same model, its first weights claimed to be external data at these places."""
    model = ModelProto.FromString(model.SerializeToString())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in places.items():
        tensor.external_data.add(key=key, value=value)
    return model


def predict(model: Path | bytes, feeds: dict[str, Array], folder: str = "") -> list[Array]:
    """What ONNX Runtime answers. folder: where the external data of a model in memory are."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if folder:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, folder)
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    answer: list[Array] = session.run(None, feeds)
    return answer


def same_bits(one: list[Array], other: list[Array]) -> bool:
    return [a.tobytes() for a in one] == [a.tobytes() for a in other]

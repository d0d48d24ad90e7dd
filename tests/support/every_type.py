"""A server with a sealed model for each data type, for clients of other projects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys import new_identity
from support import client_case as case
from support.models_sealed import seal_model
from support.server_case import FIXED_TYPES, echo
from support.server_process import certificate_of, serving

TYPES = {**{name: kind for name, (kind, _) in FIXED_TYPES.items()}, "BYTES": TensorProto.STRING}
MODELS = (*TYPES, "pair")


def pair() -> onnx.ModelProto:
    """Two inputs, and their sum and difference."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]),
         helper.make_node("Sub", ["a", "b"], ["difference"])],
        "pair",
        [value(name, TensorProto.FLOAT, ("rows", 2)) for name in ("a", "b")],
        [value(name, TensorProto.FLOAT, ("rows", 2)) for name in ("sum", "difference")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@contextmanager
def serving_every_type(folder: Path, root: SimulatedRoot) -> Iterator[tuple[str, Path]]:
    """Where it listens, and its certificate in a file. Model `T` gives back an input of type T."""
    desk = folder / "desk"
    desk.mkdir()
    keys = [new_identity(desk / "owner.key").recipient]
    arguments: list[str] = []
    for name in MODELS:
        model = pair() if name == "pair" else onnx.load_from_string(echo(TYPES[name]))
        sealed = seal_model(model, desk / f"{name}.sealed", keys=keys, name=name)
        arguments += [f"{name}.sealed", "--root", sealed.root.hex()]
    arguments += ["--identity", "owner.key", "--listen", "127.0.0.1:0"]
    with serving(desk, arguments, case.machine(root)) as server:
        certificate = desk / "server.pem"
        certificate.write_text(certificate_of(server.target))
        yield server.target, certificate

"""Models beyond 2 GiB that take no room, and what a program needs in memory to handle one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper

Marks = dict[int, bytes]  # what stands in a table that is zero elsewhere, by offset
INT32_END = 1 << 31
UINT32_END = 1 << 32
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9  # onnx.proto3

# Runs a verb; the last line of stderr is the most memory it ever had. `VmHWM` begins anew with the
# program, while the maximum that getrusage tells counts what was forked as well.
_MEASURED = """
import sys
from pathlib import Path
from sealserve.cli.main import run
status = run(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line for line in lines if line.startswith("VmHWM:")).split()[1], file=sys.stderr)
sys.exit(status)
"""


@dataclass(frozen=True)
class Ran:
    """peak: bytes of memory at the highest."""

    status: int
    out: str
    err: str
    peak: int


def run_measured(*arguments: str | Path) -> Ran:
    """A verb of the command line in a process of its own."""
    command = [sys.executable, "-P", "-c", _MEASURED, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True)
    err, _, peak = ran.stderr.rstrip("\n").rpartition("\n")
    return Ran(ran.returncode, ran.stdout, err, int(peak) * 1024)


def marks(*offsets: int) -> Marks:
    """64 random bytes at each of these places."""
    random = np.random.default_rng(0)
    return {offset: random.bytes(64) for offset in offsets}


def save_external(folder: Path, size: int, marked: Marks) -> Path:
    """A model that looks bytes up in a table of this size, which is a file beside it."""
    write_hole(folder / "net.data", 0, size, marked)
    model = _lookup()
    table = _table(size)
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="net.data")
    model.graph.initializer.append(table)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def save_inline(path: Path, size: int, marked: Marks) -> int:
    """The same with its table inside, in a file of exactly this size; returns the table's."""
    front = _front(size)
    front = _front(size - len(front))  # every length takes 5 bytes, before and after
    path.write_bytes(front)
    write_hole(path, len(front), size - len(front), marked)
    return size - len(front)


def write_hole(path: Path, start: int, size: int, marked: Marks) -> None:
    """`size` bytes behind the first `start` of a file: zeros, but for the marks."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(start + size)
        for offset, data in marked.items():
            file.seek(start + offset)
            file.write(data)


def look_up(model: Path, marked: Marks) -> Marks:
    """What the model answers at the places of these marks."""
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    places = np.array([i for at in marked for i in range(at, at + 64)], np.int64)
    answer: Any = session.run(None, {"i": places})[0]
    return {at: answer[64 * k : 64 * (k + 1)].tobytes() for k, at in enumerate(marked)}


def _lookup() -> ModelProto:
    """y = w[i]; whoever calls adds w."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "i"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _table(size: int) -> TensorProto:
    return TensorProto(name="w", data_type=TensorProto.UINT8, dims=[size])


def _front(size: int) -> bytes:
    """A serialized model, but for the `size` bytes of its table at the end.

    The graph comes twice: a parser joins what belongs to one field.
    """
    front = _head(_TENSOR_RAW_DATA, size)
    front = _table(size).SerializeToString() + front
    front = _head(_GRAPH_INITIALIZER, len(front) + size) + front
    front = _head(_MODEL_GRAPH, len(front) + size) + front
    return _lookup().SerializeToString() + front


def _head(number: int, length: int) -> bytes:
    """Tag and length of a field that holds bytes or a message."""
    return bytes([number << 3 | 2]) + _varint(length)


def _varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([low])

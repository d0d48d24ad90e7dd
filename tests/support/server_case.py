"""The whole server in a thread of this process, over models of the test's own, and calls to it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, cast

import grpc
import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server.config import Callers, KeySource, Limits, ServedModel, ServerConfig
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.server.memory import AnonymousPlace
from sealserve.inference.server.opening import Opened
from sealserve.inference.server.port import HeldPort
from sealserve.inference.server.registry import Registry, ServedSession
from sealserve.inference.server.runtime import Session
from sealserve.inference.server.server import Server
from sealserve.inference.server.table import FIRST_WORKER, Table
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferResponse, decode_response
from sealserve.inference.wire.open_inference_pb2 import ModelInferRequest
from support.client_server import Doubler, LoopThread
from support.refusals import is_listed

# Protocol name, ONNX name, and how its elements look in raw contents.
FIXED_TYPES: dict[str, tuple[int, str]] = {
    "BOOL": (TensorProto.BOOL, "?"),
    "UINT8": (TensorProto.UINT8, "u1"),
    "UINT16": (TensorProto.UINT16, "<u2"),
    "UINT32": (TensorProto.UINT32, "<u4"),
    "UINT64": (TensorProto.UINT64, "<u8"),
    "INT8": (TensorProto.INT8, "i1"),
    "INT16": (TensorProto.INT16, "<i2"),
    "INT32": (TensorProto.INT32, "<i4"),
    "INT64": (TensorProto.INT64, "<i8"),
    "FP16": (TensorProto.FLOAT16, "<f2"),
    "FP32": (TensorProto.FLOAT, "<f4"),
    "FP64": (TensorProto.DOUBLE, "<f8"),
    "BF16": (TensorProto.BFLOAT16, "<u2"),
}
PINNED = [("grpc.ssl_target_name_override", names.SERVER_NAME)]
NO_LIMITS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CALL_SECONDS = 10.0
# With these a client may show words of its own.
OF_CLIENTS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
}


def until(holds: Callable[[], bool]) -> None:
    """Wait for what has to happen; a test that waits in vain fails."""
    end = time.monotonic() + CALL_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def one_node(
    operator: str, takes: Sequence[tuple[str, int, Sequence[Any]]], gives: tuple[str, int]
) -> bytes:
    """A model of one operator. takes: name, ONNX type and shape of each input."""
    inputs = [helper.make_tensor_value_info(*each) for each in takes]
    output = helper.make_tensor_value_info(*gives, None)
    node = helper.make_node(operator, [name for name, _, _ in takes], [gives[0]])
    graph = helper.make_graph([node], "net", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def echo(kind: int, shape: Sequence[Any] = ("rows", 2)) -> bytes:
    """A model that gives back its input."""
    return one_node("Identity", [("x", kind, shape)], ("y", kind))


def lookup() -> bytes:
    """Rows of a table by number; ONNX Runtime's own error for a number outside quotes it."""
    graph = onnx.load_from_string(
        one_node("Gather", [("table", TensorProto.FLOAT, (4, 2)), ("x", TensorProto.INT64, ("n",))],
                 ("y", TensorProto.FLOAT))
    )  # fmt: skip
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    del graph.graph.input[0]
    data: bytes = graph.SerializeToString()
    return data


def counter() -> bytes:
    """Counts to its input x, one by one: a prediction that takes as long as a test wants."""
    real, whole, truth = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go on"], ["still"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [value("turn", whole, []), value("go on", truth, []), value("sum", real, [])],
        [value("still", truth, []), value("more", real, [])],
        [helper.make_tensor("one", real, [], [1.0])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["x", "", "zero"], ["y"], body=body)],
        "counter",
        [value("x", whole, [])],
        [value("y", real, [])],
        [helper.make_tensor("zero", real, [], [0.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def root_of(name: str, version: str = "1") -> bytes:
    """The root a model of these tests has."""
    return hashlib.sha256(f"{name} {version}".encode()).digest()


def loaded(name: str, graph: bytes, version: str = "1") -> ServedSession:
    """A model without weights of its own, ready to be served."""
    session = Session(graph, AnonymousPlace(), threads=1)
    return ServedSession(name, version, root_of(name, version), session)


def doubler(name: str = "doubler") -> ServedSession:
    """A model that can be made to wait: its `session.gate`."""
    return ServedSession(name, "1", root_of(name), cast(Session, Doubler()))


def infer_request(
    model: str, *inputs: tuple[str, str, Sequence[int], bytes], version: str = ""
) -> ModelInferRequest:
    """A request with raw contents: name, type, shape and bytes of each input."""
    return ModelInferRequest(
        model_name=model,
        model_version=version,
        inputs=[
            ModelInferRequest.InferInputTensor(name=name, datatype=kind, shape=shape)
            for name, kind, shape, _ in inputs
        ],
        raw_input_contents=[data for _, _, _, data in inputs],
    )


class Served:
    """A server from its configuration on: TLS, limits, health, reflection; on a free port."""

    def __init__(
        self,
        source: EvidenceSource,
        *models: ServedSession,
        limits: Limits | None = None,
        require_root: bool = False,
        callers: Callers | None = None,
        port: int = 0,
        held: HeldPort | None = None,
    ) -> None:
        self.config = ServerConfig(
            models=tuple(ServedModel(model.name, (model.root.hex(),)) for model in models),
            keys=KeySource(identity="none is read: the models are open"),
            listen_host="127.0.0.1",
            listen_port=port,
            require_root=require_root,
            limits=limits or Limits(),
            callers=callers or Callers(),
        )
        self.identity = TlsIdentity(source)
        self.table = Table([model.root.hex() for model in models], 1)
        for model in models:
            self.table.describe(model.root.hex(), model.name, model.version)
        opened = Opened(Registry(models), 0, 0)
        self.server = Server(
            self.config, source, self.identity, opened, self.table.slot(FIRST_WORKER), port=held
        )
        self._told: set[tuple[str, str]] = set()
        self.loop = LoopThread()
        self.port = self.loop.run(self.server.start())
        self.channel = self.connect()

    @property
    def admitted(self) -> int:
        """Predictions that run or wait."""
        return self.server._predictions.admitted

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connect(self) -> grpc.Channel:
        """A channel of its own, pinned to the certificate in use."""
        credentials = grpc.ssl_channel_credentials(self.identity.certificate_pem)
        own = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.target, credentials, [*PINNED, *NO_LIMITS, *own])

    def start(self, path: str, message: Message | bytes, *roots: bytes | str) -> Any:
        """Begin a call that names these roots; a future of its answer."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        values = [root if isinstance(root, str) else root.hex() for root in roots]
        metadata = [(names.MODEL_ROOT_KEY, value) for value in values]
        call = self.channel.unary_unary(path).future(data, timeout=CALL_SECONDS, metadata=metadata)
        call.add_done_callback(self._ended)
        return call

    def call(self, path: str, message: Message | bytes, *roots: bytes | str) -> bytes:
        """The answer; grpc.RpcError if there is none."""
        answer: bytes = self.start(path, message, *roots).result()
        return answer

    def stream(self, messages: Iterable[Message | bytes], *roots: bytes, **more: Any) -> Any:
        """Begin a stream that names these roots; an iterator of its answers, as bytes."""
        data = (m if isinstance(m, bytes) else m.SerializeToString() for m in messages)
        metadata = [(names.MODEL_ROOT_KEY, root.hex()) for root in roots]
        metadata += more.get("metadata", [])
        call = self.channel.stream_stream(names.MODEL_STREAM_INFER)
        return call(data, timeout=more.get("timeout", CALL_SECONDS), metadata=metadata)

    def infer(self, message: Message | bytes, *roots: bytes | str) -> InferResponse:
        """A prediction."""
        return decode_response(self.call(names.MODEL_INFER, message, *roots))

    def _ended(self, call: Any) -> None:
        """In a thread of gRPC's."""
        if call.code() not in OF_CLIENTS:
            self._told.add((call.code().name, call.details()))

    def stop(self) -> None:
        """The end; AssertionError if a caller was told what docs/refusals.md does not have."""
        self.channel.close()
        self.loop.run(self.server.stop())
        self.loop.stop()
        assert {each for each in self._told if not is_listed(*each)} == set()

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

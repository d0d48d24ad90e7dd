"""The client in the shape of Triton's: what it refuses, and how calls and streams end."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sealserve import tritonclient as grpcclient
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.infer import InferRequest, encode_request
from sealserve.native.errors import ConfigError
from support import client_case as case
from support.client_server import MODEL, LiveServer, Relay, eventually, failing
from support.ports import free_port

X = np.array([[1.0, 2.0, 3.0]], np.float32)
Code = grpc.StatusCode
Failure = grpcclient.InferenceServerException


@pytest.fixture
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root), stream=echo) as live:
        yield live


@pytest.fixture
def client(server: LiveServer, simulated_root: SimulatedRoot) -> Iterator[Any]:
    trust = case.trust(simulated_root)
    with grpcclient.InferenceServerClient(server.target, trust=trust) as connected:
        yield connected


def given(x: Any = X) -> list[Any]:
    return [grpcclient.InferInput("x", x.shape, "FP32").set_data_from_numpy(x)]


async def echo(_requests: Any, context: Any) -> None:
    """Answers with the id; an id of `fail` is answered with words, `end` ends the stream."""
    while (message := await context.read()) is not grpc.aio.EOF:
        said = pb.ModelInferRequest.FromString(message).id
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.ROOT.hex()),))
        if said == "end":
            await context.abort(Code.FAILED_PRECONDITION, "on purpose")
        if said == "other":
            context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.OTHER.hex()),))
        if said == "rubbish":
            await context.write(b"\xff")
        answer = pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(id=said))
        if said == "fail":
            answer = pb.ModelStreamInferResponse(error_message="on purpose")
        await context.write(answer.SerializeToString())


# ---- clients


def test_it_needs_nothing_of_the_original() -> None:
    code = (
        "import sys; sys.modules['tritonclient'] = sys.modules['ml_dtypes'] = None;"
        "import sealserve.tritonclient as one; assert one.trusting"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_a_trust_file_may_be_named(
    server: LiveServer, simulated_root: SimulatedRoot, tmp_path: Path
) -> None:
    file = tmp_path / "trust.toml"
    file.write_bytes(case.trust_bytes(simulated_root))
    library = grpcclient.trusting(file, token="a-token", connections=2)
    with library.InferenceServerClient(url=server.target, verbose=False, ssl=True) as client:
        assert client.infer(MODEL, given()).as_numpy("rows").tolist() == [1]
    assert {*vars(library)} >= {"InferInput", "InferRequestedOutput", "InferenceServerException"}


def test_nothing_is_trusted_by_default(server: LiveServer) -> None:
    with pytest.raises(TypeError, match="trust"):
        grpcclient.InferenceServerClient(server.target)
    with pytest.raises(ConfigError):
        grpcclient.InferenceServerClient(server.target, trust="/nowhere/trust.toml")


def test_a_server_that_is_not_acceptable(simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "debug")) as bad, pytest.raises(Failure) as caught:
        grpcclient.InferenceServerClient(bad.target, trust=case.trust(simulated_root))
    assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
    assert bad.record.calls == []


def test_nobody_there(simulated_root: SimulatedRoot) -> None:
    with pytest.raises(Failure, match=r"no TLS 1\.3 handshake") as caught:
        grpcclient.InferenceServerClient(
            f"127.0.0.1:{free_port()}", trust=case.trust(simulated_root)
        )
    assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_who_a_caller_is_has_one_way(server: LiveServer, simulated_root: SimulatedRoot) -> None:
    with pytest.raises(Failure, match="token="):
        grpcclient.InferenceServerClient(
            server.target, private_key="key.pem", trust=case.trust(simulated_root)
        )


def test_replicas_and_another_one_when_one_is_gone(
    server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    with (
        Relay(server.port) as relay,
        grpcclient.InferenceServerClient(
            f"{relay.target},{server.target}", trust=case.trust(simulated_root)
        ) as client,
    ):
        client.infer(MODEL, given())
        relay.cut()
        for _ in range(4):
            client.infer(MODEL, given())


# ---- calls


def test_headers_do_not_go_along(server: LiveServer, client: Any) -> None:
    server.record.calls.clear()
    with pytest.raises(Failure, match="no headers"):
        client.infer(MODEL, given(), headers={"x": "y"})
    with pytest.raises(Failure, match="no headers"):
        client.start_stream(print, headers={"x": "y"})
    assert server.record.calls == []


def test_models_are_not_loaded_from_here(client: Any) -> None:
    for work in (client.load_model, client.unload_model):
        with pytest.raises(Failure) as caught:
            work("net")
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_an_answer_of_another_root(simulated_root: SimulatedRoot) -> None:
    def other(data: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.OTHER.hex()),))
        return data

    with (
        case.live(case.machine(simulated_root), rewrites={names.MODEL_INFER: other}) as server,
        grpcclient.InferenceServerClient(server.target, trust=case.trust(simulated_root)) as client,
        pytest.raises(Failure) as caught,
    ):
        client.infer(MODEL, given())
    assert caught.value.status() == "StatusCode.PERMISSION_DENIED"


@pytest.mark.parametrize("answer", [b"\xff", b"\x0a\x02\xff\xff"])
def test_an_answer_that_is_none(simulated_root: SimulatedRoot, answer: bytes) -> None:
    rewrites = {names.MODEL_INFER: lambda data, _: answer}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        grpcclient.InferenceServerClient(server.target, trust=case.trust(simulated_root)) as client,
        pytest.raises(Failure) as caught,
    ):
        client.infer(MODEL, given())
    assert caught.value.status() == "StatusCode.DATA_LOSS"


def test_a_result_whose_bytes_do_not_fit() -> None:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[3])
    message = pb.ModelInferResponse(outputs=[output], raw_output_contents=[b"1234"])
    result = grpcclient.InferResult(message)
    with pytest.raises(Failure, match="does not fit"):
        result.as_numpy("y")
    assert result.as_numpy("z") is None
    assert result.get_output("z") is None
    assert result.get_output("y", as_json=True)["datatype"] == "FP32"


def test_a_servers_words_are_told(simulated_root: SimulatedRoot) -> None:
    rewrites = {names.MODEL_INFER: failing(Code.RESOURCE_EXHAUSTED, times=1)}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        grpcclient.InferenceServerClient(server.target, trust=case.trust(simulated_root)) as client,
        pytest.raises(Failure) as caught,
    ):
        client.infer(MODEL, given())
    assert str(caught.value) == "[StatusCode.RESOURCE_EXHAUSTED] on purpose"


def test_a_request_is_the_same_as_by_our_client() -> None:
    from sealserve.inference.client.triton.requests import request_of
    from sealserve.inference.wire.tensor import Tensor

    ours = encode_request(InferRequest(MODEL, "7", (Tensor("x", "FP32", (1, 3), X),), ("y",), "9"))
    wanted = [grpcclient.InferRequestedOutput("y")]
    theirs = request_of(MODEL, given(), "7", "9", wanted, 0, False, False, 0, None, None)
    assert theirs == ours


def test_what_is_said_beside_a_request() -> None:
    from sealserve.inference.client.triton.requests import request_of

    said = {"a": "b", "c": True, "d": 7, "e": 0.5}
    message = pb.ModelInferRequest.FromString(
        request_of(MODEL, given(), "", "", None, "s", True, False, 3, 5000, said)
    )
    found = {k: getattr(v, str(v.WhichOneof("parameter_choice")))
             for k, v in message.parameters.items()}  # fmt: skip
    assert found == {
        **said,
        "sequence_id": "s",
        "sequence_start": True,
        "sequence_end": False,
        "priority": 3,
        "timeout": 5000,
    }
    with pytest.raises(Failure, match="cannot travel"):
        request_of(MODEL, given(), "", "", None, 0, False, False, 0, None, {"a": []})


MISFITS = {
    "no array": ([1.0], "FP32", [1], "numpy array"),
    "another type": (np.array([1]), "FP32", [1], "of type INT64"),
    "no type of the protocol's": (np.array([1j]), "FP32", [1], "of type complex128"),
    "another shape": (X, "FP32", [3], "shape"),
    "not exact in BF16": (np.array([0.1], np.float32), "BF16", [1], "BF16 does not hold"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_inputs_that_are_not_what_was_said(name: str) -> None:
    value, datatype, shape, words = MISFITS[name]
    with pytest.raises(Failure, match=words):
        grpcclient.InferInput("x", shape, datatype).set_data_from_numpy(value)  # type: ignore[arg-type]


def test_values_are_those_of_the_moment(client: Any) -> None:
    x = X.copy()
    inputs = given(x)
    x[:] = 0
    assert client.infer(MODEL, inputs).as_numpy("twice").tolist() == [[2.0, 4.0, 6.0]]


def test_words_and_the_names_of_types() -> None:
    words = np.array(["ä", b"b"], object)
    held = grpcclient.InferInput("x", [2], "BYTES").set_data_from_numpy(words)
    assert held._raw == b"\2\0\0\0\xc3\xa4\1\0\0\0b"
    assert (held.name(), held.datatype(), list(held.set_shape([1, 2]).shape())) == (
        "x", "BYTES", [1, 2])  # fmt: skip
    for name in ("BOOL", "INT8", "UINT64", "FP16", "FP64", "BYTES"):
        assert grpcclient.np_to_triton_dtype(np.dtype(grpcclient.triton_to_np_dtype(name))) == name
    assert grpcclient.np_to_triton_dtype(np.dtype(">f4")) == "FP32"
    assert grpcclient.np_to_triton_dtype(complex) is None
    assert grpcclient.triton_to_np_dtype("FP8") is None


# ---- calls that are answered later


def outcome(told: queue.Queue[Any]) -> tuple[Any, Any]:
    result, error = told.get(timeout=10)
    return result and result.get_response().id, error and error.status()


def into(told: queue.Queue[Any]) -> Any:
    return lambda result, error: told.put((result, error))


def test_a_call_that_is_given_up(server: LiveServer, client: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    server.model.gate.clear()
    context = client.async_infer(MODEL, given(), into(told))
    assert server.model.started.wait(10)
    context.cancel()
    server.model.gate.set()
    assert outcome(told) == (None, "StatusCode.CANCELLED")


def test_a_call_that_may_not_take_so_long(server: LiveServer, client: Any) -> None:
    server.model.gate.clear()
    with pytest.raises(Failure) as caught:
        client.infer(MODEL, given(), client_timeout=0.2)
    server.model.gate.set()
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_calls_under_way_end_with_the_client(
    server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    told: queue.Queue[Any] = queue.Queue()
    trust = case.trust(simulated_root)
    with grpcclient.InferenceServerClient(server.target, trust=trust) as client:
        server.model.gate.clear()
        client.async_infer(MODEL, given(), into(told))
        assert server.model.started.wait(10)
    result, error = told.get(timeout=10)
    assert result is None
    assert isinstance(error, Failure)


# ---- streams


def test_a_stream_goes_on_after_an_error(client: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(into(told))
    with pytest.raises(Failure, match="open already"):
        client.start_stream(into(told))
    for number in ("1", "fail", "2"):
        client.async_stream_infer(MODEL, given(), request_id=number)
    client.stop_stream()
    assert [outcome(told) for _ in range(3)] == [("1", None), (None, None), ("2", None)]
    assert told.empty()
    client.start_stream(into(told))  # another one
    client.stop_stream()


def test_a_stream_that_the_server_ends(client: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(into(told))
    client.async_stream_infer(MODEL, given(), request_id="end")
    assert outcome(told) == (None, "StatusCode.FAILED_PRECONDITION")
    eventually(lambda: not client._stream._reader.is_alive())
    with pytest.raises(Failure, match="has ended"):
        client.async_stream_infer(MODEL, given())
    client.stop_stream()


@pytest.mark.parametrize(
    ("said", "status"),
    [("other", "StatusCode.PERMISSION_DENIED"), ("rubbish", "StatusCode.DATA_LOSS")],
)
def test_a_stream_of_a_server_that_answers_something_else(
    client: Any, said: str, status: str
) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(into(told))
    client.async_stream_infer(MODEL, given(), request_id=said)
    client.stop_stream()
    outcomes = []
    while not told.empty():
        outcomes.append(outcome(told)[1])
    assert outcomes[-1] == status


def test_a_stream_that_is_given_up(client: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(into(told))
    client.async_stream_infer(MODEL, given(), request_id="1")
    assert outcome(told) == ("1", None)
    client.stop_stream(cancel_requests=True)
    assert outcome(told) == (None, "StatusCode.CANCELLED")


def test_a_stream_that_breaks_takes_its_replica_out(
    server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    told: queue.Queue[Any] = queue.Queue()
    with (
        Relay(server.port) as relay,
        grpcclient.InferenceServerClient(relay.target, trust=case.trust(simulated_root)) as client,
    ):
        client.start_stream(into(told))
        client.async_stream_infer(MODEL, given(), request_id="1")
        assert outcome(told) == ("1", None)
        relay.cut()
        assert outcome(told) == (None, "StatusCode.UNAVAILABLE")
        (replica,) = client._pool.replicas
        assert replica.verdict is None


def test_nothing_more_is_sent_on_evidence_that_is_too_old(client: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.start_stream(into(told))
    client.async_stream_infer(MODEL, given(), request_id="1")
    assert outcome(told) == ("1", None)
    session = client._stream._session
    object.__setattr__(session, "asked_at", session.asked_at - MAX_EVIDENCE_AGE_SECONDS - 1)
    with pytest.raises(Failure, match="too old"):
        client.async_stream_infer(MODEL, given())

"""Streams of requests: order, errors inside, what they may hold, and how they end."""

from __future__ import annotations

import gc
import queue
import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server import streaming
from sealserve.inference.server.config import Limits
from sealserve.inference.server.streaming import IN_FLIGHT, Stream
from sealserve.inference.wire import infer, names
from sealserve.inference.wire import open_inference_pb2 as pb
from support.attestation_simulated import machine_of
from support.server_case import (
    CALL_SECONDS,
    Served,
    doubler,
    echo,
    infer_request,
    loaded,
    root_of,
    until,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


@pytest.fixture(scope="module")
def served(machine: Machine) -> Iterator[Served]:
    models = [loaded(name, echo(TensorProto.FLOAT)) for name in ("echo", "other")]
    with Served(machine, *models, limits=Limits(message_bytes=1 << 20)) as server:
        yield server


class Gated:
    """A server of a model that can be made to wait, beside one that answers at once."""

    def __init__(self, machine: Machine, **limits: Any) -> None:
        model = doubler()
        self.session: Any = model.session
        others = loaded("echo", echo(TensorProto.FLOAT))
        self.server = Served(machine, model, others, limits=Limits(**limits))

    def __enter__(self) -> Gated:
        self.session.gate.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.gate.set()
        self.server.stop()

    @property
    def streams(self) -> list[Stream]:
        return list(self.server.server._service._streams._open)

    @property
    def read(self) -> int:
        """Requests of all streams that were read and are not answered."""
        return sum(len(stream._requests) for stream in self.streams)

    @property
    def taken(self) -> int:
        """Places that streams have beside the one of each."""
        return self.server.server._service._streams._taken

    def turn(self) -> None:
        """The event loop has done what it had to do."""
        for _ in range(3):
            self.server.call(names.SERVER_LIVE, b"")

    def drain(self) -> None:
        async def drain() -> None:
            self.server.server._service.drain()

        self.server.loop.run(drain())


class Sender:
    """Requests one by one, and the end when it is told to."""

    def __init__(self, *requests: pb.ModelInferRequest) -> None:
        self._queue: queue.Queue[pb.ModelInferRequest | None] = queue.Queue()
        for request in requests:
            self.send(request)

    def send(self, request: pb.ModelInferRequest) -> None:
        self._queue.put(request)

    def close(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[pb.ModelInferRequest]:
        while (request := self._queue.get()) is not None:
            yield request


def echoing(number: int, model: str = "echo") -> pb.ModelInferRequest:
    data = np.array([[number, number]], "<f4").tobytes()
    request = infer_request(model, ("x", "FP32", (1, 2), data))
    request.id = str(number)
    return request


def doubling(number: int) -> pb.ModelInferRequest:
    data = np.array([[number] * 3], "<f4").tobytes()
    request = infer_request("doubler", ("x", "FP32", (1, 3), data))
    request.id = str(number)
    return request


def read(call: Any) -> list[pb.ModelStreamInferResponse]:
    return [pb.ModelStreamInferResponse.FromString(data) for data in call]


def take(call: Any) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse.FromString(next(call))


def test_answers_come_in_the_order_of_their_requests(served: Served) -> None:
    call = served.stream(echoing(number) for number in range(10 * IN_FLIGHT))
    answers = read(call)
    assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(len(answers))]
    assert len(answers) == 10 * IN_FLIGHT
    for number, answer in enumerate(answers):
        assert answer.error_message == ""
        assert answer.infer_response.raw_output_contents == [
            np.array([number, number], "<f4").tobytes()
        ]
    assert call.code() is grpc.StatusCode.OK


def test_each_answer_is_the_last_one_to_its_request(served: Served) -> None:
    request = echoing(1)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    for answer in read(served.stream([request, echoing(2), echoing(3, "absent")])):
        assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_stream_without_a_request_ends_well(served: Served) -> None:
    call = served.stream([])
    assert read(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_an_error_says_whose_it_is_and_the_stream_goes_on(served: Served) -> None:
    call = served.stream([echoing(1, "absent"), b"\xff" * 40, echoing(2)])
    unknown, nothing, answer = read(call)
    assert "no model 'absent'" in unknown.error_message
    inner = unknown.infer_response
    assert (inner.id, inner.model_name) == ("1", "absent")
    assert nothing.error_message
    assert nothing.infer_response.id == ""
    assert answer.infer_response.id == "2"
    assert call.code() is grpc.StatusCode.OK


def test_whoever_asks_for_it_gets_the_first_error_as_the_end(served: Served) -> None:
    """Triton's own header; everything before the error is answered."""
    metadata = [("triton_grpc_error", "true")]
    call = served.stream([echoing(1), echoing(2, "absent"), echoing(3)], metadata=metadata)
    assert take(call).infer_response.id == "1"
    with pytest.raises(grpc.RpcError):
        take(call)
    assert call.code() is grpc.StatusCode.NOT_FOUND
    assert "no model 'absent'" in call.details()


def test_an_answer_waits_for_those_before_it(machine: Machine) -> None:
    with Gated(machine) as gated:
        call = gated.server.stream([doubling(1), echoing(2)])
        gated.session.started.wait()
        until(lambda: gated.server.admitted == 1)  # the second has run
        gated.session.gate.set()
        assert [answer.infer_response.id for answer in read(call)] == ["1", "2"]


def test_what_is_not_foreseen_is_told_without_a_word_of_it(
    served: Served, monkeypatch: pytest.MonkeyPatch, server_log: Any
) -> None:
    def decode(_self: Any) -> Any:
        raise KeyError("the tensor held 31337")

    monkeypatch.setattr(infer.IncomingRequest, "decode", decode)
    (answer,) = read(served.stream([echoing(1)]))
    assert answer.error_message == "the server failed on this request"
    assert '"error": "KeyError"' in server_log.getvalue()
    assert "31337" not in server_log.getvalue()


# ---- roots


def test_a_root_of_each_model_is_named_and_told(served: Served) -> None:
    roots = [root_of("echo"), root_of("other")]
    call = served.stream([echoing(1), echoing(2, "other"), echoing(3)], *roots)
    assert [answer.error_message for answer in read(call)] == ["", "", ""]
    told = [value for key, value in call.trailing_metadata() if key == names.MODEL_ROOT_KEY]
    assert told == [root.hex() for root in roots]


def test_a_model_whose_root_was_not_named_is_refused_each_time(served: Served) -> None:
    call = served.stream(
        [echoing(1, "other"), echoing(2), echoing(3, "other")], root_of("echo"), bytes(32)
    )
    refused, answered, again = read(call)
    assert root_of("other").hex() in refused.error_message
    assert again.error_message == refused.error_message
    assert answered.error_message == ""
    assert (names.MODEL_ROOT_KEY, root_of("other").hex()) in call.trailing_metadata()


def test_a_server_that_requires_a_root_answers_no_stream_without(machine: Machine) -> None:
    with Served(machine, loaded("echo", echo(TensorProto.FLOAT)), require_root=True) as server:
        (refused,) = read(server.stream([echoing(1)]))
        assert "wants the root" in refused.error_message
        (answered,) = read(server.stream([echoing(1)], root_of("echo")))
        assert answered.error_message == ""


def test_a_root_is_compared_before_the_tensors_are_looked_at(served: Served) -> None:
    request = echoing(1)
    request.inputs[0].shape[:] = [-1, -1]
    (refused,) = read(served.stream([request], bytes(32)))
    assert root_of("echo").hex() in refused.error_message


# ---- what a stream may hold


def test_a_stream_is_read_only_so_far(machine: Machine) -> None:
    with Gated(machine) as gated:
        call = gated.server.stream(doubling(number) for number in range(3 * IN_FLIGHT))
        until(lambda: gated.read == IN_FLIGHT)
        gated.turn()
        assert gated.read == IN_FLIGHT
        gated.session.gate.set()
        assert len(read(call)) == 3 * IN_FLIGHT


def test_all_streams_together_are_read_only_so_far(machine: Machine) -> None:
    """Each has one place of its own, and all share the others, which come back."""
    with Gated(machine, waiting=5) as gated:
        senders = [Sender(), Sender()]
        calls = [gated.server.stream(sender) for sender in senders]
        until(lambda: len(gated.streams) == 2)
        for number in range(IN_FLIGHT):
            for sender in senders:
                sender.send(doubling(number))
        for sender in senders:
            sender.close()
        until(lambda: gated.read == 5)
        gated.turn()
        assert (gated.read, gated.taken) == (5, 3)
        gated.session.gate.set()
        answers = [answer for call in calls for answer in read(call)]
        assert len(answers) == 2 * IN_FLIGHT
        assert {answer.error_message for answer in answers} == {""}
        until(lambda: gated.taken == 0)


def test_more_streams_than_may_wait_have_one_request_each(machine: Machine) -> None:
    with Gated(machine, running=3, waiting=1) as gated:
        senders = [Sender(), Sender(), Sender()]
        calls = [gated.server.stream(sender) for sender in senders]
        until(lambda: len(gated.streams) == 3)
        for sender in senders:
            for number in range(3):
                sender.send(doubling(number))
            sender.close()
        until(lambda: gated.read == 3)
        gated.turn()
        assert (gated.read, gated.taken) == (3, 0)
        gated.session.gate.set()
        answers = [answer for call in calls for answer in read(call)]
        assert [answer.error_message for answer in answers] == 9 * [""]


def test_an_idle_stream_takes_no_place_of_others(machine: Machine) -> None:
    with Gated(machine) as gated:
        gated.session.gate.set()
        sender = Sender(doubling(1))
        call = gated.server.stream(sender)
        take(call)
        gated.turn()
        assert gated.taken == 0
        sender.close()
        assert read(call) == []


def test_a_request_goes_with_its_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the stream's end, and not with the next garbage collection."""
    seen: list[weakref.ref[Any]] = []

    class Incoming(infer.IncomingRequest):
        def __init__(self, data: bytes) -> None:
            seen.append(weakref.ref(self))
            super().__init__(data)

    monkeypatch.setattr(streaming, "IncomingRequest", Incoming)
    sender = Sender(echoing(1), echoing(2, "absent"))
    call = served.stream(sender)
    gc.disable()
    try:
        assert [take(call).infer_response.id for _ in range(2)] == ["1", "2"]
        until(lambda: [incoming() for incoming in seen] == [None, None])
    finally:
        gc.enable()
        sender.close()
    assert read(call) == []


def test_a_message_above_the_limit_ends_a_stream(served: Served) -> None:
    large = infer_request("echo", ("x", "FP32", (1 << 17, 2), bytes(1 << 20)))
    call = served.stream([large])
    with pytest.raises(grpc.RpcError):
        read(call)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert read(served.stream([echoing(1)]))


# ---- how a stream ends


def test_whoever_stops_sending_gets_what_is_still_to_come(machine: Machine) -> None:
    with Gated(machine) as gated:
        sender = Sender(doubling(1), doubling(2))
        call = gated.server.stream(sender)
        sender.close()
        until(lambda: gated.read == 2)
        gated.session.gate.set()
        assert [answer.infer_response.id for answer in read(call)] == ["1", "2"]
        until(lambda: not gated.streams)


def test_a_cancelled_stream_leaves_nothing_behind(machine: Machine) -> None:
    with Gated(machine, running=1) as gated:
        sender = Sender(*map(doubling, range(5)))
        call = gated.server.stream(sender)
        until(lambda: gated.server.admitted == 5)
        assert gated.taken > 0
        call.cancel()
        sender.close()
        until(lambda: not gated.streams)
        until(lambda: gated.server.admitted == 1)  # which runs, and cannot be stopped
        assert gated.taken == 0
        gated.session.gate.set()
        until(lambda: gated.server.admitted == 0)
        assert gated.session.runs == 1


def test_a_callers_own_deadline_ends_its_stream(machine: Machine) -> None:
    with Gated(machine) as gated:
        sender = Sender(doubling(1))
        call = gated.server.stream(sender, timeout=0.2)
        with pytest.raises(grpc.RpcError):
            take(call)
        assert call.code() is DEADLINE_EXCEEDED
        sender.close()
        until(lambda: not gated.streams)


def test_a_request_that_takes_too_long_is_given_up_alone(machine: Machine) -> None:
    with Gated(machine, request_seconds=0.2) as gated:
        sender = Sender(doubling(1))
        call = gated.server.stream(sender)
        assert take(call).error_message == "the request took too long"
        gated.session.gate.set()
        sender.send(doubling(2))
        assert take(call).error_message == ""
        sender.close()
        assert read(call) == []


def test_a_callers_patience_is_a_parameter(machine: Machine) -> None:
    with Gated(machine, request_seconds=CALL_SECONDS) as gated:
        request = doubling(1)
        request.parameters["timeout"].int64_param = 1000
        (answer,) = read(gated.server.stream([request]))
        assert answer.error_message == "the request took too long"
        assert gated.server.start(names.MODEL_INFER, request).code() is DEADLINE_EXCEEDED


def test_patience_that_is_not_tried_changes_nothing(served: Served) -> None:
    request = echoing(1)
    request.parameters["timeout"].int64_param = 2**63 - 1
    assert served.infer(request).outputs


def test_an_idle_stream_is_ended(machine: Machine) -> None:
    with Gated(machine, request_seconds=0.05) as gated:
        sender = Sender()
        call = gated.server.stream(sender)
        with pytest.raises(grpc.RpcError):
            take(call)
        sender.close()
        assert call.code() is UNAVAILABLE
        assert "idle" in call.details()


def test_a_stream_that_waits_for_an_answer_is_not_idle(machine: Machine) -> None:
    """Its end comes from its request, which is told, and only then from silence."""
    with Gated(machine, request_seconds=0.05) as gated:
        sender = Sender(doubling(1))
        call = gated.server.stream(sender)
        assert take(call).error_message == "the request took too long"
        with pytest.raises(grpc.RpcError):
            take(call)
        sender.close()
        assert "idle" in call.details()


def test_answers_that_nobody_takes_end_a_stream(machine: Machine) -> None:
    rows = 1 << 16
    large = infer_request("echo", ("x", "FP32", (rows, 2), bytes(8 * rows)))
    with Gated(machine, request_seconds=0.5) as gated:
        call = gated.server.stream(large for _ in range(IN_FLIGHT))
        until(lambda: len(gated.streams) == 1)
        until(lambda: not gated.streams)
        with pytest.raises(grpc.RpcError):
            read(call)
        assert call.code() is DEADLINE_EXCEEDED


def test_a_stream_ends_when_the_server_does_but_not_before_its_answers(machine: Machine) -> None:
    with Gated(machine) as gated:
        sender = Sender(doubling(1))
        call = gated.server.stream(sender)
        gated.session.started.wait()
        gated.drain()
        sender.send(doubling(2))  # too late
        gated.session.gate.set()
        assert take(call).infer_response.id == "1"
        with pytest.raises(grpc.RpcError):
            take(call)
        sender.close()
        assert call.code() is UNAVAILABLE
        assert "being stopped" in call.details()


def test_a_server_that_is_stopped_takes_no_new_stream(machine: Machine) -> None:
    with Gated(machine) as gated:
        gated.drain()
        call = gated.server.stream([echoing(1)])
        with pytest.raises(grpc.RpcError):
            take(call)
        assert call.code() is UNAVAILABLE


def test_nobody_waits_for_an_idle_stream(machine: Machine) -> None:
    """`stop` would take `drain_seconds`, which are longer than this test waits for anything."""
    with Gated(machine, drain_seconds=10 * CALL_SECONDS) as gated:
        sender = Sender()
        call = gated.server.stream(sender)
        until(lambda: len(gated.streams) == 1)
        gated.server.loop.run(gated.server.server.stop())
        sender.close()
        assert call.code() is UNAVAILABLE


def test_whoever_goes_away_is_no_failure_of_the_server(machine: Machine, server_log: Any) -> None:
    """Nobody who reads the log could do anything about it."""
    with Gated(machine) as gated:
        sender = Sender(*map(echoing, range(2 * IN_FLIGHT)))
        call = gated.server.stream(sender)
        take(call)
        call.cancel()
        sender.close()
        until(lambda: not gated.streams)
    assert "request_failed" not in server_log.getvalue()

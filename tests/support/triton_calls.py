"""Every call of `tritonclient`, made by it unmodified: a program for its own virtual environment.

    python triton_calls.py TARGET CERTIFICATE

The server has a model `T` for each data type T, which gives back its input `x` as `y`, and `pair`,
which adds and subtracts `a` and `b`. Prints, as one JSON object, what each call told: its name in
this file, and either what came back or the status of a refusal.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import ml_dtypes  # type: ignore[import-not-found]
import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-not-found]
import tritonclient.grpc.aio as triton_aio  # type: ignore[import-not-found]
from tritonclient.grpc import model_config_pb2, service_pb2  # type: ignore[import-not-found]
from tritonclient.utils import InferenceServerException  # type: ignore[import-not-found]

NAME = ("grpc.ssl_target_name_override", "sealserve.internal")
SECONDS = 20
STREAMED = 50
TYPES: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 2**8 - 1]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-(2**7), 2**7 - 1]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.1, np.nan]], np.float16),
    "FP32": np.array([[0.1, -np.inf]], np.float32),
    "FP64": np.array([[0.1, -0.0]], np.float64),
    "BF16": np.array([[0.1, np.nan]], ml_dtypes.bfloat16),
    "BYTES": np.array([[b"", "Grüße".encode()]], np.object_),
}
Told = Any
CALLS: dict[str, Callable[[Any], Told]] = {}


def call(function: Callable[[Any], Told]) -> Callable[[Any], Told]:
    CALLS[function.__name__] = function
    return function


def given(name: str, datatype: str, values: Any) -> Any:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def one(values: Any = TYPES["FP32"], datatype: str = "FP32") -> list[Any]:
    return [given("x", datatype, values)]


def same(result: Any, name: str, values: Any) -> bool:
    """Bit by bit, with type and shape."""
    seen = result.as_numpy(name)
    if (seen.dtype, seen.shape) != (values.dtype, values.shape):
        return False
    if values.dtype == np.object_:
        return bool(seen.tolist() == values.tolist())
    return bool(seen.tobytes() == values.tobytes())


# ---- about the server and its models


@call
def server(client: Any) -> Told:
    return client.get_server_metadata(as_json=True)


@call
def index(client: Any) -> Told:
    return client.get_model_repository_index(as_json=True)


@call
def config(client: Any) -> Told:
    return client.get_model_config("pair", as_json=True)


@call
def config_of_text(client: Any) -> Told:
    return client.get_model_config("BYTES", "1.0", as_json=True)


@call
def numbers(_client: Any) -> Told:
    """The fields of every message and the numbers of every data type, as this library has them."""
    told: dict[str, dict[str, int]] = {}
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR):
        waiting = list(file.message_types_by_name.values())
        for message in waiting:
            told[message.full_name] = {field.name: field.number for field in message.fields}
            waiting.extend(message.nested_types)
        for kind in file.enum_types_by_name.values():
            told[kind.full_name] = {value.name: value.number for value in kind.values}
    return told


@call
def load(client: Any) -> Told:
    return client.load_model("pair")


@call
def load_with_files(client: Any) -> Told:
    return client.load_model("pair", config="{}", files={"file:1/model.onnx": b"x"})


@call
def unload(client: Any) -> Told:
    return client.unload_model("pair")


@call
def shared_memory(client: Any) -> Told:
    return client.register_system_shared_memory("region", "/region", 16)


@call
def traces(client: Any) -> Told:
    return client.get_trace_settings()


# ---- predictions


@call
def every_type(client: Any) -> Told:
    return {
        datatype: same(client.infer(datatype, one(values, datatype)), "y", values)
        for datatype, values in TYPES.items()
    }


@call
def every_type_without_a_row(client: Any) -> Told:
    return {
        datatype: same(client.infer(datatype, one(values[:0], datatype)), "y", values[:0])
        for datatype, values in TYPES.items()
    }


def pair_inputs() -> list[Any]:
    return [
        given("b", "FP32", np.array([[1, 2]], np.float32)),
        given("a", "FP32", np.array([[10, 20]], np.float32)),
    ]


@call
def two_inputs_and_two_outputs(client: Any) -> Told:
    result = client.infer("pair", pair_inputs())
    return {name: result.as_numpy(name).tolist() for name in ("sum", "difference")}


@call
def one_output_of_two(client: Any) -> Told:
    wanted = [triton.InferRequestedOutput("difference")]
    result = client.infer("pair", pair_inputs(), outputs=wanted, request_id="one of two")
    response = result.get_response()
    return [response.id, [output.name for output in response.outputs]]


@call
def with_compression(client: Any) -> Told:
    values = TYPES["FP32"]
    return same(client.infer("FP32", one(), compression_algorithm="gzip"), "y", values)


@call
def with_patience_and_priority(client: Any) -> Told:
    return same(client.infer("FP32", one(), timeout=10_000_000, priority=1), "y", TYPES["FP32"])


@call
def in_the_background(client: Any) -> Told:
    answered: queue.Queue[Any] = queue.Queue()
    client.async_infer("FP32", one(), lambda result, error: answered.put((result, error)))
    result, error = answered.get(timeout=SECONDS)
    return error is None and same(result, "y", TYPES["FP32"])


@call
def statistics(client: Any) -> Told:
    client.infer("FP64", one(TYPES["FP64"], "FP64"))
    return client.get_inference_statistics("FP64", as_json=True)


@call
def statistics_of_all(client: Any) -> Told:
    return len(client.get_inference_statistics(as_json=True)["model_stats"])


# ---- refusals


@call
def unknown_model(client: Any) -> Told:
    return client.infer("absent", one())


@call
def unknown_version(client: Any) -> Told:
    return client.infer("FP32", one(), model_version="9")


@call
def unknown_output(client: Any) -> Told:
    return client.infer("FP32", one(), outputs=[triton.InferRequestedOutput("z")])


@call
def unknown_parameter(client: Any) -> Told:
    return client.infer("FP32", one(), parameters={"top_k": 1})


@call
def a_sequence(client: Any) -> Told:
    return client.infer("FP32", one(), sequence_id=7, sequence_start=True)


@call
def a_classification(client: Any) -> Told:
    return client.infer("FP32", one(), outputs=[triton.InferRequestedOutput("y", class_count=3)])


@call
def another_shape(client: Any) -> Told:
    return client.infer("FP32", one(np.zeros((1, 3), np.float32)))


@call
def another_root(client: Any) -> Told:
    return client.infer("FP32", one(), headers={"sealserve-model-root": "11" * 32})


# ---- streams


@call
def a_stream(client: Any) -> Told:
    """Many requests, every tenth of which is wrong: what came back, in its order."""
    answered: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answered.put((result, error)))
    for number in range(STREAMED):
        values = np.full((1, 2), number, np.float32)
        client.async_stream_infer(
            "FP32" if number % 10 else "absent",
            one(values),
            request_id=str(number),
            enable_empty_final_response=bool(number % 2),
        )
    told = [_streamed(*answered.get(timeout=SECONDS)) for _ in range(STREAMED)]
    client.stop_stream()
    return told


def _streamed(result: Any, error: Any) -> Told:
    if error is not None:
        return error.message()
    response = result.get_response()
    final = response.parameters["triton_final_response"].bool_param
    return [response.id, result.as_numpy("y").tolist(), final]


@call
def a_stream_that_ends_with_the_first_error(client: Any) -> Told:
    answered: queue.Queue[Any] = queue.Queue()
    client.start_stream(
        lambda result, error: answered.put(error), headers={"triton_grpc_error": "true"}
    )
    client.async_stream_infer("absent", one())
    error = answered.get(timeout=SECONDS)
    client.stop_stream(cancel_requests=True)
    raise error


@call
def a_stream_that_is_cancelled(client: Any) -> Told:
    answered: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answered.put(error))
    client.async_stream_infer("FP32", one())
    assert answered.get(timeout=SECONDS) is None
    client.stop_stream(cancel_requests=True)
    return client.is_server_live()


# ---- and all of it once more, asynchronously


async def asynchronously(client: Any) -> Told:
    values = TYPES["FP32"]

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(STREAMED):
            yield {"model_name": "FP32", "inputs": one(values), "request_id": str(number)}

    streamed = [
        (result.get_response().id, same(result, "y", values))
        async for result, error in client.stream_infer(requests())
        if error is None
    ]
    return {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model_ready": await client.is_model_ready("FP32"),
        "model": (await client.get_model_metadata("FP32", as_json=True))["name"],
        "config": (await client.get_model_config("FP32", as_json=True))["config"]["name"],
        "index": len((await client.get_model_repository_index(as_json=True))["models"]),
        "statistics": len((await client.get_inference_statistics("FP32")).model_stats),
        "infer": same(await client.infer("FP32", one()), "y", values),
        "streamed": streamed,
    }


async def with_asyncio(target: str, **options: Any) -> Told:
    async with triton_aio.InferenceServerClient(target, **options) as client:
        return await asynchronously(client)


def told_by(function: Callable[[], Told]) -> Told:
    try:
        return {"told": function()}
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


def main(target: str, certificate: str) -> None:
    options: dict[str, Any] = {
        "ssl": True, "root_certificates": certificate, "channel_args": [NAME]
    }  # fmt: skip
    with triton.InferenceServerClient(target, **options) as client:
        told = {name: told_by(lambda f=f: f(client)) for name, f in CALLS.items()}  # type: ignore[misc]
    told["asyncio"] = told_by(lambda: asyncio.run(with_asyncio(target, **options)))
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

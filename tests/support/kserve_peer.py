"""Every call of KServe's gRPC client, made by it unmodified: a program for its own environment.

    python kserve_peer.py TARGET CERTIFICATE

The server is that of support/every_type.py. Prints, as one JSON object, what each call told: its
name in this file, and either what came back or the status of a refusal.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from kserve import (  # type: ignore[import-not-found]
    InferenceGRPCClient,
    InferInput,
    InferRequest,
)
from kserve.protocol.infer_type import RequestedOutput  # type: ignore[import-not-found]

NAME = ("grpc.ssl_target_name_override", "sealserve.internal")
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
    "BYTES": np.array([[b"", "Grüße".encode()]], np.object_),
}
Told = Any
CALLS: dict[str, Callable[[Any], Awaitable[Told]]] = {}


def call(function: Callable[[Any], Awaitable[Told]]) -> Callable[[Any], Awaitable[Told]]:
    CALLS[function.__name__] = function
    return function


def raw(name: str, datatype: str, values: Any) -> Any:
    """An input in raw contents; this client tells their length as a parameter."""
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=True)
    return tensor


def typed(name: str, datatype: str, values: Any) -> Any:
    """The same in typed contents."""
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=False)
    return tensor


def request(inputs: Any, model: str = "FP32", **more: Any) -> Any:
    return InferRequest(model, inputs, **more)


def same(response: Any, values: Any) -> bool:
    """Bit by bit, with type and shape."""
    (output,) = response.outputs
    seen = output.as_numpy()
    if (output.name, seen.dtype, seen.shape) != ("y", values.dtype, values.shape):
        return False
    if values.dtype == np.object_:
        return bool(seen.tolist() == values.tolist())
    return bool(seen.tobytes() == values.tobytes())


@call
async def health(client: Any) -> Told:
    return [
        await client.is_server_live(),
        await client.is_server_ready(),
        await client.is_model_ready("FP32"),
        await client.is_model_ready("absent"),
    ]


@call
async def every_type_raw(client: Any) -> Told:
    return {
        datatype: same(await client.infer(request([raw("x", datatype, values)], datatype)), values)
        for datatype, values in TYPES.items()
    }


@call
async def every_type_typed(client: Any) -> Told:
    """FP16 has no typed contents."""
    return {
        datatype: same(
            await client.infer(request([typed("x", datatype, values)], datatype)), values
        )
        for datatype, values in TYPES.items()
        if datatype != "FP16"
    }


@call
async def no_rows(client: Any) -> Told:
    values = TYPES["FP32"][:0]
    return same(await client.infer(request([raw("x", "FP32", values)])), values)


@call
async def an_id_and_one_output_of_two(client: Any) -> Told:
    values = np.array([[1, 2]], np.float32)
    wanted = [RequestedOutput("difference", parameters={"binary_data": True})]
    response = await client.infer(
        request(
            [raw("a", "FP32", 3 * values), raw("b", "FP32", values)],
            "pair",
            request_id="7",
            request_outputs=wanted,
            parameters={"binary_data_output": True},
        )
    )
    return [response.id, {o.name: o.as_numpy().tolist() for o in response.outputs}]


@call
async def the_root(client: Any) -> Told:
    """Metadata beside the request, as this client sends it."""
    headers = (("sealserve-model-root", "11" * 32),)
    return await client.infer(request([raw("x", "FP32", TYPES["FP32"])]), headers=headers)


@call
async def unknown_model(client: Any) -> Told:
    return await client.infer(request([raw("x", "FP32", TYPES["FP32"])], "absent"))


@call
async def unknown_parameter(client: Any) -> Told:
    asked = request([raw("x", "FP32", TYPES["FP32"])], parameters={"explain": True})
    return await client.infer(asked)


@call
async def another_shape(client: Any) -> Told:
    return await client.infer(request([raw("x", "FP32", np.zeros((1, 3), np.float32))]))


async def told_by(function: Callable[[Any], Awaitable[Told]], client: Any) -> Told:
    try:
        return {"told": await function(client)}
    except grpc.RpcError as error:
        return {"status": error.code().name, "message": error.details()}


async def main(target: str, certificate: str) -> None:
    logging.disable()
    async with InferenceGRPCClient(
        target, use_ssl=True, root_certificates=certificate, channel_args=[NAME]
    ) as client:
        told = {name: await told_by(function, client) for name, function in CALLS.items()}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

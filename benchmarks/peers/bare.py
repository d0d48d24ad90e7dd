"""The floor of what Python can do: gRPC's asyncio server and ONNX Runtime, and nothing else.

    bare.py FOLDER [CERTIFICATE KEY]

Serves every NAME.onnx of the folder, by the messages as protobuf makes them, each run where the
call arrives. Prints `ready PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from session import session

from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb

MESSAGE_BYTES = 16 * 2**20


class Servicer:
    def __init__(self, folder: Path) -> None:
        self._sessions = {path.stem: session(path) for path in folder.glob("*.onnx")}

    async def infer(self, request: pb.ModelInferRequest, _context: Any) -> pb.ModelInferResponse:
        (given,) = request.inputs
        array = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(given.shape)
        (result,) = self._sessions[request.model_name].run(None, {given.name: array})
        return pb.ModelInferResponse(
            model_name=request.model_name,
            model_version="1",
            outputs=[
                pb.ModelInferResponse.InferOutputTensor(
                    name="y", datatype="FP32", shape=result.shape
                )
            ],
            raw_output_contents=[result.tobytes()],
        )


async def serve(folder: Path, *tls: Path) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES)])
    _, service, method = names.MODEL_INFER.split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        Servicer(folder).infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    if tls:
        certificate, key = (path.read_bytes() for path in tls)
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("ready", port, flush=True)
    await server.wait_for_termination()


asyncio.run(serve(*map(Path, sys.argv[1:])))

"""KServe's Python server, with ONNX Runtime in its models.

    in_kserve.py FOLDER HTTP_PORT GRPC_PORT

Serves every NAME.onnx of the folder.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from session import session


class Onnx(Model):
    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self._session = session(path)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        (given,) = payload.inputs
        (result,) = self._session.run(None, {given.name: given.as_numpy()})
        output = InferOutput("y", [*result.shape], "FP32")
        output.set_data_from_numpy(result, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


folder, http_port, grpc_port = sys.argv[1:]
logging.disable(logging.INFO)  # two lines for each request
server = ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1)
server.start([Onnx(path) for path in sorted(Path(folder).glob("*.onnx"))])

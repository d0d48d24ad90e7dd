"""ONNX Runtime in MLServer: the runtime that its model-settings.json names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import session


class Onnx(MLModel):
    async def load(self) -> bool:
        self._session = session(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        array = np.ascontiguousarray(NumpyCodec.decode_input(given), np.float32)
        (result,) = self._session.run(None, {given.name: array})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", result)]
        )

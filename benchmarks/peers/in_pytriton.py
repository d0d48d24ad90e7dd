"""Triton, with ONNX Runtime in Python behind it: PyTriton.

    in_pytriton.py FOLDER HTTP_PORT GRPC_PORT

Serves every NAME.onnx of the folder, with Triton's dynamic batching.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from session import session

MAX_BATCH = 16


def bind(triton: Triton, path: Path) -> None:
    loaded = session(path)
    (given,), (result,) = loaded.get_inputs(), loaded.get_outputs()
    shape = tuple(size if isinstance(size, int) else -1 for size in given.shape[1:])

    @batch
    def infer(**inputs: Any) -> list[Any]:
        return loaded.run(None, inputs)

    triton.bind(
        model_name=path.stem,
        infer_func=infer,
        inputs=[Tensor(name=given.name, dtype=np.float32, shape=shape)],
        outputs=[Tensor(name=result.name, dtype=np.float32, shape=(-1,))],
        config=ModelConfig(max_batch_size=MAX_BATCH),
        strict=False,
    )


folder, http_port, grpc_port = sys.argv[1:]
config = TritonConfig(
    http_port=int(http_port), grpc_port=int(grpc_port), allow_metrics=False, log_verbose=0
)
with Triton(config=config) as triton:
    for path in sorted(Path(folder).glob("*.onnx")):
        bind(triton, path)
    triton.serve()

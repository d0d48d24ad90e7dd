"""Plain ONNX Runtime: one session on a plaintext file, and one prediction.

    plain.py MODEL PREPACKING

PREPACKING is `1` or `0`. Prints `ready` once the prediction is there, and ends with its input.
"""

from __future__ import annotations

import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import

import numpy as np
import onnxruntime as ort

path, prepacking = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
if prepacking == "0":
    options.add_session_config_entry("session.disable_prepacking", "1")
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
(given,) = session.get_inputs()
session.run(None, {given.name: np.zeros((1, *given.shape[1:]), np.float32)})
print("ready", flush=True)
sys.stdin.read()

"""What an operator does with `tritonclient`: a program for its own virtual environment.

    python triton_control.py SOCKET

Lists, loads and unloads model `m`, tries to bring a model along, and prints as one JSON object what
each call told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import tritonclient.grpc as triton  # type: ignore[import-not-found]
from tritonclient.utils import InferenceServerException  # type: ignore[import-not-found]


def told_by(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except InferenceServerException as error:
        return error.status()


def main(path: str) -> None:
    with triton.InferenceServerClient(f"unix:{path}") as client:
        calls: dict[str, Callable[[], Any]] = {
            "index": lambda: client.get_model_repository_index(as_json=True),
            "load": lambda: client.load_model("m"),
            "unload": lambda: client.unload_model("m", unload_dependents=True),
            "statistics": lambda: client.get_inference_statistics(as_json=True),
            "a configuration": lambda: client.load_model("m", config="{}"),
            "files": lambda: client.load_model("m", config="{}", files={"file:1/model.onnx": b"x"}),
            "a prediction": lambda: client.infer("m", []),
        }
        json.dump({name: told_by(call) for name, call in calls.items()}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A program for the virtual environment of `tritonclient`: it knows nothing of ours.

    python triton_peer.py TARGET CERTIFICATE MODEL INPUT.npy OUT.npz [ROOT]

Believes only the certificate in the file, predicts, writes the outputs, and prints as one JSON
object what the server told of itself, or the status of its refusal.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-not-found]
from tritonclient.utils import InferenceServerException  # type: ignore[import-not-found]

NAME = ("grpc.ssl_target_name_override", "sealserve.internal")
SECONDS = 10


def main(target: str, certificate: str, model: str, given: str, out: str, *root: str) -> None:
    headers = {"sealserve-model-root": root[0]} if root else None
    with triton.InferenceServerClient(
        target, ssl=True, root_certificates=certificate, channel_args=[NAME]
    ) as client:
        try:
            told = predict(client, model, np.load(given), out, headers)
        except InferenceServerException as error:
            told = {"status": error.status(), "message": error.message()}
    json.dump(told, sys.stdout)


def predict(
    client: Any, model: str, x: Any, out: str, headers: dict[str, str] | None
) -> dict[str, Any]:
    """Everything a careful user of the library asks before and after a prediction."""
    told = {
        "live": client.is_server_live(headers, client_timeout=SECONDS),
        "ready": client.is_server_ready(headers, client_timeout=SECONDS),
        "model_ready": client.is_model_ready(model, headers=headers, client_timeout=SECONDS),
        "server": client.get_server_metadata(headers, as_json=True, client_timeout=SECONDS),
        "model": client.get_model_metadata(
            model, headers=headers, as_json=True, client_timeout=SECONDS
        ),
    }
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    outputs = [output["name"] for output in told["model"]["outputs"]]
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(
        model, [tensor], outputs=wanted, request_id="7", headers=headers, client_timeout=SECONDS
    )
    np.savez(out, **{name: result.as_numpy(name) for name in outputs})
    return {**told, "id": result.get_response().id}


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A library of Triton's shape that knows what to expect of servers, for a program's one line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.triton import client, errors, tensors
from sealserve.policy import Trust


def trusting(
    trust: Trust | str | Path,
    *,
    token: str | None = None,
    connections: int = 1,
    certificate: Certificate | None = None,
) -> SimpleNamespace:
    """What `import tritonclient.grpc` would give, with clients that verify against `trust`."""
    return SimpleNamespace(
        InferenceServerClient=partial(
            client.InferenceServerClient,
            trust=trust,
            token=token,
            connections=connections,
            certificate=certificate,
        ),
        InferInput=tensors.InferInput,
        InferRequestedOutput=tensors.InferRequestedOutput,
        InferResult=tensors.InferResult,
        InferenceServerException=errors.InferenceServerException,
        np_to_triton_dtype=tensors.np_to_triton_dtype,
        triton_to_np_dtype=tensors.triton_to_np_dtype,
    )

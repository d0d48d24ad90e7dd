"""Every data type of the protocol goes to a real session and comes back, by each of our clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client.triton import InferenceServerClient, InferInput
from sealserve.policy import Trust
from support import client_case as case
from support.client_both import BOTH
from support.client_server import MODEL
from support.server_case import FIXED_TYPES, Served, echo, loaded, root_of

TYPES = {**{name: kind for name, (kind, _) in FIXED_TYPES.items()}, "BYTES": TensorProto.STRING}

# Of shape (rows, 2). BF16 has no dtype of NumPy's own: it goes and comes as float32.
VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False], [False, True]]),
    "FP16": np.array([[0.5, -0.0], [65504.0, 6e-8]], np.float16),
    "FP32": np.array([[0.1, -1e38], [np.inf, np.nan]], np.float32),
    "FP64": np.array([[0.1, -1e300], [np.inf, 5e-324]]),
    "BF16": np.array([[0.5, -2.0], [3.3895313892515355e38, np.inf]], np.float32),
    "BYTES": np.array([[b"", "ä".encode()], [b"a\0b", b"x" * 300]], object),
    **{
        f"{sign}INT{bits}": np.array(
            [[0, 1], [np.iinfo(f"{sign}int{bits}".lower()).min,
                      np.iinfo(f"{sign}int{bits}".lower()).max]],
            f"{sign}int{bits}".lower(),
        )
        for sign in ("", "U") for bits in (8, 16, 32, 64)
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[Served]:
    models = [loaded(name, echo(kind)) for name, kind in TYPES.items()]
    with Served(case.machine(simulated_root), *models, require_root=True) as served:
        yield served


@pytest.fixture(scope="module")
def trust(simulated_root: SimulatedRoot) -> Trust:
    tables = "\n".join(f'[models.{name}]\nroots = ["{root_of(name).hex()}"]\n' for name in TYPES)
    return case.trust(
        simulated_root, (f'[models.{MODEL}]\nroots = ["{case.ROOT.hex()}"]\n', tables)
    )


def test_there_is_a_value_of_every_type() -> None:
    assert VALUES.keys() == TYPES.keys()


def same(seen: Any, sent: Any) -> bool:
    if sent.dtype == object:
        return bool(seen.tolist() == sent.tolist())
    return bool(
        (seen.dtype, seen.shape, seen.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
    )


@pytest.mark.parametrize("connect", BOTH.values(), ids=BOTH)
def test_our_clients(server: Served, trust: Trust, connect: Callable[..., Any]) -> None:
    with connect(server.target, trust) as client:
        for name, sent in VALUES.items():
            assert same(client.predict(name, {"x": sent})["y"], sent), name
            empty = client.predict(name, {"x": sent[:0]})["y"]
            assert empty.shape == (0, 2), name


def test_the_client_in_tritons_shape(server: Served, trust: Trust) -> None:
    with InferenceServerClient(server.target, trust=trust) as client:
        for name, sent in VALUES.items():
            given = InferInput("x", sent.shape, name).set_data_from_numpy(sent)
            assert same(client.infer(name, [given]).as_numpy("y"), sent), name


def test_texts_may_be_fixed_in_length(server: Served, trust: Trust) -> None:
    """NumPy's own arrays of bytes and of text."""
    for texts in (np.array([["ab", "c"]]), np.array([[b"ab", b"c"]])):
        with BOTH["threads"](server.target, trust) as client:
            assert client.predict("BYTES", {"x": texts})["y"].tolist() == [[b"ab", b"c"]]

"""Requests and answers beyond a real server's limit: nothing that another attempt would change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.config import Limits
from sealserve.native.errors import InputError
from sealserve.policy import Trust
from support import client_case as case
from support.client_both import BOTH
from support.client_server import MODEL
from support.server_case import Served, loaded, one_node, root_of

MOST = 64 * 1024


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[Served]:
    zeros = one_node(
        "ConstantOfShape", [("x", TensorProto.INT64, ("n",))], ("y", TensorProto.FLOAT)
    )
    machine, limits = case.machine(simulated_root), Limits(message_bytes=MOST)
    with Served(machine, loaded(MODEL, zeros), limits=limits, require_root=True) as served:
        yield served


@pytest.fixture(scope="module")
def trust(simulated_root: SimulatedRoot) -> Trust:
    return case.trust(simulated_root, (case.ROOT.hex(), root_of(MODEL).hex()))


GIVEN = {
    "a request": np.ones(MOST, np.int64),
    "an answer": np.array([MOST], np.int64),
}


@pytest.mark.parametrize("x", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("connect", BOTH.values(), ids=BOTH)
def test_what_is_too_long_is_the_callers_mistake(
    server: Served, trust: Trust, connect: Callable[..., Any], x: Any
) -> None:
    with connect(server.target, trust) as client, pytest.raises(InputError):
        client.predict(MODEL, {"x": x})

"""Calls that a type checker would refuse: a TypeError that says what belongs there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import Client, check, connect, connect_async
from support import client_case as case
from support.client_server import MODEL, LiveServer

CONNECTS: dict[str, Callable[..., Any]] = {
    "connect": connect,
    "connect_async": lambda *given: asyncio.run(connect_async(*given)),
    "check": check,
}
NO_TRUST = {
    "a name": ("trust.toml", r'is a str, .*: Trust\.load\("trust\.toml"\)$'),
    "a path": (Path("trust.toml"), r'Trust\.load\("trust\.toml"\)$'),
    "nothing": (None, r"is a NoneType, not a sealserve\.Trust$"),
    "a table": ({"version": 1}, r"is a dict, not a sealserve\.Trust$"),
}
NO_MAPPING = {
    "an array": (np.zeros((1, 3), np.float32), r'is a ndarray; .*: \{"x": …\}$'),
    "a list": ([[1.0, 2.0, 3.0]], "is a list; "),
    "nothing": (None, "is a NoneType; "),
    "a name": ("x", "is a str; "),
}


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root)) as live:
        yield live


@pytest.fixture
def client(server: LiveServer, simulated_root: SimulatedRoot) -> Iterator[Client]:
    with connect(server.target, case.trust(simulated_root)) as connected:
        yield connected


@pytest.mark.parametrize("verb", CONNECTS)
@pytest.mark.parametrize("name", NO_TRUST)
def test_no_trust(server: LiveServer, verb: str, name: str) -> None:
    server.record.calls.clear()
    given, words = NO_TRUST[name]
    with pytest.raises(TypeError, match=words):
        CONNECTS[verb](server.target, given)
    assert server.record.calls == []


@pytest.mark.parametrize("name", NO_MAPPING)
def test_inputs_without_names(server: LiveServer, client: Client, name: str) -> None:
    given, words = NO_MAPPING[name]
    with pytest.raises(TypeError, match=words):
        client.predict(MODEL, given)  # type: ignore[arg-type]
    assert server.record.prediction_bytes == 0


def test_outputs_that_are_one_name(client: Client) -> None:
    with pytest.raises(TypeError, match=r'a list of names: \["twice"\]'):
        client.predict(MODEL, {"x": [[1.0, 2.0, 3.0]]}, outputs="twice")

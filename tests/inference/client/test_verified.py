"""A connected client: what changes under it, and what it then does."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect, connect_async
from sealserve.inference.wire import names
from sealserve.native.errors import InputError, PolicyViolation, UnavailableError
from support import client_case as case
from support.client_server import MODEL, Relay

ROWS = {"x": [[1.0, 2.0, 3.0]]}


def test_a_rotation_is_survived_without_a_new_verification(simulated_root: SimulatedRoot) -> None:
    """The next certificate is pinned beside the current one before it is in use."""
    with case.live(case.machine(simulated_root)) as server:
        with connect(server.target, case.trust(simulated_root)) as client:
            server.identity.rotate()  # the channel for data connects on first use
            assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]
        assert server.record.count(names.GET_EVIDENCE) == 1


def test_two_rotations_are_verified_anew(simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root)) as server:
        with connect(server.target, case.trust(simulated_root)) as client:
            server.identity.rotate()
            server.identity.rotate()
            assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]
        assert server.record.count(names.GET_EVIDENCE) == 2


def test_a_server_that_restarts_with_a_new_key_is_verified_anew(
    simulated_root: SimulatedRoot,
) -> None:
    source = case.machine(simulated_root)
    with case.live(source) as first, case.live(source) as second, Relay(first.port) as relay:
        with connect(relay.target, case.trust(simulated_root)) as client:
            relay.route = second.port
            assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]
        assert second.record.count(names.GET_EVIDENCE) == 1
        assert first.record.prediction_bytes == 0


def test_a_reload_under_a_verified_channel_is_refused(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        client.predict(MODEL, ROWS)
        server.serve_instead(case.OTHER)
        with pytest.raises(PolicyViolation):
            client.predict(MODEL, ROWS)
        assert server.model.runs == 1


def test_a_slow_server_is_given_up_at_the_deadline(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        server.model.gate.clear()
        with pytest.raises(UnavailableError):
            client.predict(MODEL, ROWS, timeout_seconds=0.5)


def test_a_server_that_dies_in_the_middle_of_a_call(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        server.model.gate.clear()
        asked = pool.submit(client.predict, MODEL, ROWS)
        assert server.model.started.wait(10)
        relay.cut()
        with pytest.raises(UnavailableError):
            asked.result(20)


BAD_INPUTS: dict[str, dict[str, object]] = {
    "missing": {},
    "unknown": {**ROWS, "y": [1]},
    "another name": {"y": [[1, 2, 3]]},
    "another width": {"x": [[1, 2]]},
    "another rank": {"x": [1, 2, 3]},
    "ragged": {"x": [[1, 2, 3], [1]]},
    "words": {"x": [["a", "b", "c"]]},
    "float64": {"x": np.zeros((1, 3))},
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_fit_are_not_sent(simulated_root: SimulatedRoot, name: str) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        with pytest.raises(InputError):
            client.predict(MODEL, BAD_INPUTS[name])
        assert server.record.prediction_bytes == 0


def test_many_threads_share_a_client_across_rotations(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        begin = threading.Barrier(4)

        def ask(number: int) -> list[float]:
            begin.wait()
            rows = [[float(number), 0.0, 0.0]]
            return [client.predict(MODEL, {"x": rows})["twice"][0, 0] for _ in range(10)]

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, number) for number in range(4)]
            server.identity.rotate()
            server.identity.rotate()
            assert [set(one.result(30)) for one in asked] == [{0.0}, {2.0}, {4.0}, {6.0}]


def test_a_closed_client_refuses(simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root)) as server:
        client = connect(server.target, case.trust(simulated_root))
        client.close()
        with pytest.raises(ValueError, match="closed"):
            client.predict(MODEL, ROWS)


def test_the_asyncio_client_does_the_same(simulated_root: SimulatedRoot) -> None:
    async def ask(target: str) -> list[float]:
        async with await connect_async(target, case.trust(simulated_root)) as client:
            server.identity.rotate()
            server.identity.rotate()
            answers = await asyncio.gather(*(client.predict(MODEL, ROWS) for _ in range(4)))
            return [float(answer["twice"][0, 2]) for answer in answers]

    with case.live(case.machine(simulated_root)) as server:
        assert asyncio.run(ask(server.target)) == [6.0] * 4


def test_the_asyncio_client_refuses_a_faulty_machine(simulated_root: SimulatedRoot) -> None:
    async def ask(target: str) -> None:
        await connect_async(target, case.trust(simulated_root))

    with case.live(case.machine(simulated_root, "debug")) as server:
        with pytest.raises(PolicyViolation):
            asyncio.run(ask(server.target))
        assert server.record.calls == []

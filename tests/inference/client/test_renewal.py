"""What a client does about a server that is gone, asks for patience, or has to be verified anew."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import (
    Client,
    connect,
    connect_async,
    pool,
    pool_async,
    session,
    session_async,
)
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS, elapsed
from sealserve.inference.server.challenge import Answer
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.native.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    PolicyViolation,
    SealserveError,
    UnavailableError,
)
from support import client_case as case
from support.client_server import (
    MODEL,
    LiveServer,
    Relay,
    Rewrite,
    eventually,
    failing,
    silent_port,
)

ROWS = {"x": [[1.0, 2.0, 3.0]]}
Code = grpc.StatusCode
AFRESH = [names.GET_EVIDENCE, names.MODEL_METADATA, names.MODEL_INFER]


def session_in_use(client: Any) -> Any:
    """What a client of one server calls over."""
    return client._pool.roster.seats[0].session


def predicting(simulated_root: SimulatedRoot, rewrite: Rewrite) -> LiveServer:
    """A good server but for its answers to predictions."""
    return case.live(case.machine(simulated_root), rewrites={names.MODEL_INFER: rewrite})


def rows(client: Client, **options: Any) -> list[int]:
    """One prediction; how many rows it had."""
    found: list[int] = client.predict(MODEL, ROWS, **options)["rows"].tolist()
    return found


# ---- statuses

STATUSES: dict[grpc.StatusCode, type[SealserveError]] = {
    Code.FAILED_PRECONDITION: PolicyViolation,
    Code.NOT_FOUND: InputError,
    Code.INVALID_ARGUMENT: InputError,
    Code.UNAUTHENTICATED: ConfigError,
    Code.DATA_LOSS: IntegrityError,
    Code.RESOURCE_EXHAUSTED: UnavailableError,
    Code.DEADLINE_EXCEEDED: UnavailableError,
    Code.CANCELLED: UnavailableError,
    Code.INTERNAL: UnavailableError,
}


@pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
def test_what_a_status_means_and_that_nothing_is_asked_twice(
    simulated_root: SimulatedRoot, code: grpc.StatusCode
) -> None:
    with (
        predicting(simulated_root, failing(code, times=1, pushback="250")) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        with pytest.raises(SealserveError, match="on purpose") as caught:
            client.predict(MODEL, ROWS)
        assert server.record.count(names.MODEL_INFER) == 1
        assert server.record.count(names.GET_EVIDENCE) == 1
    assert type(caught.value) is STATUSES[code]
    if isinstance(caught.value, UnavailableError):
        assert caught.value.retry_after_seconds == 0.25


def test_a_request_longer_than_the_server_takes_is_no_reason_to_try_again(
    simulated_root: SimulatedRoot,
) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
        pytest.raises(InputError, match="longer than"),
    ):
        client.predict(MODEL, {"x": [[0.0, 0.0, 0.0]] * 400_000})


# ---- unavailable, with and without a word on when to come back


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long clients waited, in seconds; they need not."""
    seconds: list[float] = []

    async def sleep(pause: float) -> None:
        seconds.append(pause)

    monkeypatch.setattr(pool, "sleep", seconds.append)
    monkeypatch.setattr(pool_async, "sleep", sleep)
    return seconds


async def _predict_async(target: str, trust: Any, timeout_seconds: float) -> Any:
    async with await connect_async(target, trust) as client:
        return await client.predict(MODEL, ROWS, timeout_seconds=timeout_seconds)


def _predict(target: str, trust: Any, timeout_seconds: float) -> Any:
    with connect(target, trust) as client:
        return client.predict(MODEL, ROWS, timeout_seconds=timeout_seconds)


BOTH = {
    "threads": _predict,
    "asyncio": lambda *arguments: asyncio.run(_predict_async(*arguments)),
}
Predict = Callable[[str, Any, float], Any]


@pytest.fixture(params=BOTH)
def predict(request: pytest.FixtureRequest) -> Predict:
    """Connect and predict, with each of the two clients."""
    chosen: Predict = BOTH[request.param]
    return chosen


def test_a_server_that_asks_for_patience_gets_it(
    simulated_root: SimulatedRoot, waited: list[float], predict: Predict
) -> None:
    rewrite = failing(Code.UNAVAILABLE, times=1, pushback="250")
    with predicting(simulated_root, rewrite) as server:
        predict(server.target, case.trust(simulated_root), 30.0)
        assert waited == [0.25]
        assert server.record.count(names.MODEL_INFER) == 2
        assert server.record.count(names.GET_EVIDENCE) == 1  # it spoke over its verified channel


def test_patience_ends_after_the_second_time(
    simulated_root: SimulatedRoot, waited: list[float], predict: Predict
) -> None:
    rewrite = failing(Code.UNAVAILABLE, times=9, pushback="250")
    with predicting(simulated_root, rewrite) as server:
        with pytest.raises(UnavailableError) as caught:
            predict(server.target, case.trust(simulated_root), 30.0)
        assert waited == [0.25]
        assert server.record.count(names.MODEL_INFER) == 2
        assert caught.value.retry_after_seconds == 0.25


@pytest.mark.parametrize(
    ("pushback", "seconds"),
    [("60000", 60.0), ("-1", 0.0), ("soon", 0.0), ("9" * 30, 0.0), ("", 0.0)],
)
def test_a_server_that_says_not_within_this_call_is_not_asked_again(
    simulated_root: SimulatedRoot,
    waited: list[float],
    predict: Predict,
    pushback: str,
    seconds: float,
) -> None:
    """A pushback that is no number of milliseconds means: do not try again (gRFC A6)."""
    rewrite = failing(Code.UNAVAILABLE, times=9, pushback=pushback)
    with predicting(simulated_root, rewrite) as server:
        with pytest.raises(UnavailableError) as caught:
            predict(server.target, case.trust(simulated_root), 30.0)
        assert caught.value.retry_after_seconds == seconds
        assert waited == []
        assert server.record.count(names.MODEL_INFER) == 1


def test_a_server_that_says_nothing_is_verified_anew_once(
    simulated_root: SimulatedRoot, predict: Predict
) -> None:
    with predicting(simulated_root, failing(Code.UNAVAILABLE, times=1)) as server:
        predict(server.target, case.trust(simulated_root), 30.0)
        assert server.record.count(names.MODEL_INFER) == 2
        assert server.record.count(names.GET_EVIDENCE) == 2
    with predicting(simulated_root, failing(Code.UNAVAILABLE, times=9)) as server:
        with pytest.raises(UnavailableError):
            predict(server.target, case.trust(simulated_root), 30.0)
        assert server.record.count(names.MODEL_INFER) == 2
        assert server.record.count(names.GET_EVIDENCE) == 2


# ---- the server behind the address changes


def test_a_server_that_asks_for_patience_and_is_replaced_meanwhile(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drains, says so, and comes back with another key: verified before it is asked."""
    source = case.machine(simulated_root)
    rewrite = failing(Code.UNAVAILABLE, times=1, pushback="250")
    with predicting(simulated_root, rewrite) as first, case.live(source) as second:
        with Relay(first.port) as relay:

            def replace(_: float) -> None:
                relay.route = second.port
                relay.hang_up()

            monkeypatch.setattr(pool, "sleep", replace)
            with connect(relay.target, case.trust(simulated_root)) as client:
                assert rows(client) == [1]
        assert second.record.count(names.GET_EVIDENCE) == 1
        assert first.record.count(names.MODEL_INFER) == 1


def test_evidence_of_more_than_an_hour_is_renewed_before_data_leaves(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        rows(client)
        assert server.record.count(names.GET_EVIDENCE) == 1
        monkeypatch.setattr(session, "elapsed", lambda: elapsed() + MAX_EVIDENCE_AGE_SECONDS)
        server.record.calls.clear()
        rows(client)
    asked = [method for method, _ in server.record.calls]
    assert asked == AFRESH


def test_the_asyncio_client_renews_it_too(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = MAX_EVIDENCE_AGE_SECONDS

    async def ask(server: LiveServer) -> None:
        async with await connect_async(server.target, case.trust(simulated_root)) as client:
            await client.predict(MODEL, ROWS)
            monkeypatch.setattr(session_async, "elapsed", lambda: elapsed() + later)
            server.record.calls.clear()
            await client.predict(MODEL, ROWS)

    with case.live(case.machine(simulated_root)) as server:
        asyncio.run(ask(server))
        assert [method for method, _ in server.record.calls] == AFRESH


# ---- channels


def test_old_channels_are_closed(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
    ):
        held = []
        for _ in range(3):
            rows(client)
            held.append(session_in_use(client))  # so that only closing can end its connection
            client.recheck()
        eventually(lambda: relay.open == 0)
        rows(client)
        eventually(lambda: relay.open == 1)


def test_a_renewal_does_not_end_the_calls_of_others(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        held = session_in_use(client)  # so that only closing can end its connection
        server.model.gate.clear()
        asked = pool.submit(rows, client)
        assert server.model.started.wait(10)
        client.recheck()
        eventually(lambda: relay.open == 1)  # what is in use stays
        server.model.gate.set()
        assert asked.result(20) == [1]
        eventually(lambda: relay.open == 0)
        del held


def test_the_asyncio_client_closes_old_channels_when_nobody_uses_them(
    simulated_root: SimulatedRoot,
) -> None:
    async def ask(server: LiveServer, relay: Relay) -> None:
        async with await connect_async(relay.target, case.trust(simulated_root)) as client:
            held = session_in_use(client)  # so that only closing can end its connection
            server.model.gate.clear()
            asked = asyncio.create_task(client.predict(MODEL, ROWS))
            assert await asyncio.to_thread(server.model.started.wait, 10)
            await client.recheck()
            await asyncio.to_thread(eventually, lambda: relay.open == 1)
            server.model.gate.set()
            assert (await asked)["rows"].tolist() == [1]
            await asyncio.to_thread(eventually, lambda: relay.open == 0)
            del held

    with case.live(case.machine(simulated_root)) as server, Relay(server.port) as relay:
        asyncio.run(ask(server, relay))


# ---- deadlines and closing while somebody else verifies


def test_waiting_for_the_renewal_of_another_ends_with_the_own_deadline(
    simulated_root: SimulatedRoot,
) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        silent_port() as silent,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        relay.route = silent
        seen = relay.connections
        patient = pool.submit(client.recheck, timeout_seconds=600.0)
        eventually(lambda: relay.connections > seen)
        with pytest.raises(UnavailableError, match=r"within 0\.2 seconds"):
            client.recheck(timeout_seconds=0.2)
        assert not patient.done()
        relay.cut()
        with pytest.raises(UnavailableError):
            patient.result(20)


def test_the_asyncio_client_waits_no_longer_either(simulated_root: SimulatedRoot) -> None:
    async def ask(relay: Relay, silent: int) -> None:
        async with await connect_async(relay.target, case.trust(simulated_root)) as client:
            relay.route = silent
            seen = relay.connections
            patient = asyncio.create_task(client.recheck(timeout_seconds=600.0))
            await asyncio.to_thread(eventually, lambda: relay.connections > seen)
            with pytest.raises(UnavailableError, match=r"within 0\.2 seconds"):
                await client.recheck(timeout_seconds=0.2)
            assert not patient.done()
            relay.cut()
            with pytest.raises(UnavailableError):
                await patient

    with (
        case.live(case.machine(simulated_root)) as server,
        silent_port() as silent,
        Relay(server.port) as relay,
    ):
        asyncio.run(ask(relay, silent))


def _gated(source: Any) -> tuple[TlsIdentity, Callable[[frozenset[bytes]], Answer], Any, Any]:
    """An identity, a way to answer that waits for the gate, the gate, and whether it waits."""
    owner = TlsIdentity(source)
    answer = case.answers(source, owner)
    gate, asked = threading.Event(), threading.Event()
    gate.set()

    def waiting(nonces: frozenset[bytes]) -> Answer:
        asked.set()
        gate.wait()
        return answer(nonces)

    return owner, waiting, gate, asked


def test_a_client_can_be_closed_while_it_verifies(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    owner, answer, gate, asked = _gated(source)
    with (
        case.live(source, identity=owner, answer=answer) as server,
        Relay(server.port) as relay,
        ThreadPoolExecutor(1) as pool,
    ):
        client = connect(relay.target, case.trust(simulated_root))
        gate.clear()
        asked.clear()
        renewing = pool.submit(client.recheck)
        assert asked.wait(10)
        client.close()
        assert not renewing.done()
        gate.set()
        with pytest.raises(ValueError, match="closed"):
            renewing.result(20)
        eventually(lambda: relay.open == 0)


def test_the_asyncio_client_can_be_closed_while_it_verifies(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)
    owner, answer, gate, asked = _gated(source)

    async def ask(target: str) -> None:
        client = await connect_async(target, case.trust(simulated_root))
        gate.clear()
        asked.clear()
        renewing = asyncio.create_task(client.recheck())
        assert await asyncio.to_thread(asked.wait, 10)
        await client.close()
        assert not renewing.done()
        gate.set()
        with pytest.raises(ValueError, match="closed"):
            await renewing

    with case.live(source, identity=owner, answer=answer) as server:
        asyncio.run(ask(server.target))


def test_a_recheck_that_fails_leaves_the_client_as_it_was(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        case.live(case.machine(simulated_root, "debug")) as faulty,
        Relay(server.port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
    ):
        before = client.verdict
        relay.route = faulty.port
        with pytest.raises(PolicyViolation):
            client.recheck()
        assert faulty.record.calls == []
        relay.route = server.port
        assert client.verdict is before
        assert rows(client) == [1]
        assert client.recheck().at > before.at


def test_bytes_that_trickle_in_do_not_stretch_the_deadline(simulated_root: SimulatedRoot) -> None:
    """A server that keeps a handshake alive byte by byte is given up like a silent one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB begins
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"\0")
                    except OSError:
                        return

        with ThreadPoolExecutor(1) as pool:
            trickling = pool.submit(trickle)
            with pytest.raises(UnavailableError, match="in time"):
                connect(
                    f"127.0.0.1:{listening.getsockname()[1]}",
                    case.trust(simulated_root),
                    timeout_seconds=0.3,
                )
            stop.set()
            trickling.result(10)


# ---- fork


def in_a_child(work: Callable[[], object]) -> str:
    """The error that `work` raises in a forked child, "" if none; fails if it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
            os.write(writer, b"-")
        except BaseException as error:  # the child must not go on as a second pytest
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        ended, _, _ = select.select([answer], [], [], 10)
        if not ended:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert ended, "the child hung"
        return answer.read().decode().strip("-")


def test_a_client_is_of_the_process_that_made_it(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        uses: list[Callable[[], object]] = [
            lambda: client.predict(MODEL, ROWS),
            lambda: client.metadata(MODEL),
            lambda: client.recheck(),
            lambda: client.models(),
            lambda: client.verdict,
        ]
        for use in uses:
            said = in_a_child(use)
            assert said.startswith("RuntimeError(")
            assert "connect again in this process" in said
        with client._pool._roster._lock:  # as another thread may, in the moment of the fork
            assert in_a_child(client.close) == ""  # a with block in the child ends quietly
        assert rows(client) == [1]  # and the parent's client still works


def test_an_asyncio_client_is_of_the_process_that_made_it(simulated_root: SimulatedRoot) -> None:
    async def make(target: str) -> None:
        async with await connect_async(target, case.trust(simulated_root)) as client:

            def use() -> None:
                coroutine = client.predict(MODEL, ROWS)
                coroutine.send(None)

            assert in_a_child(use).startswith("RuntimeError(")
            assert (await client.predict(MODEL, ROWS))["rows"].tolist() == [1]

    with case.live(case.machine(simulated_root)) as server:
        asyncio.run(make(server.target))


# ---- closing under somebody


def test_calls_under_way_end_when_the_client_is_closed(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        server.model.gate.clear()
        asked = pool.submit(rows, client)
        assert server.model.started.wait(10)
        client.close()
        with pytest.raises(UnavailableError):
            asked.result(20)


def test_tasks_end_with_an_error_of_ours_when_the_client_is_closed(
    simulated_root: SimulatedRoot,
) -> None:
    """Nobody cancelled them: a CancelledError would look as if somebody had."""

    async def ask(server: LiveServer) -> None:
        client = await connect_async(server.target, case.trust(simulated_root))
        server.model.gate.clear()
        asked = asyncio.create_task(client.predict(MODEL, ROWS))
        assert await asyncio.to_thread(server.model.started.wait, 10)
        await client.close()
        with pytest.raises(UnavailableError):
            await asked

    with case.live(case.machine(simulated_root)) as server:
        asyncio.run(ask(server))


def test_a_task_that_is_cancelled_is_cancelled(simulated_root: SimulatedRoot) -> None:
    async def ask(server: LiveServer) -> None:
        async with await connect_async(server.target, case.trust(simulated_root)) as client:
            server.model.gate.clear()
            asked = asyncio.create_task(client.predict(MODEL, ROWS))
            assert await asyncio.to_thread(server.model.started.wait, 10)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            server.model.gate.set()
            assert (await client.predict(MODEL, ROWS))["rows"].tolist() == [1]

    with case.live(case.machine(simulated_root)) as server:
        asyncio.run(ask(server))


def test_of_several_accepted_roots_the_server_says_which_it_runs(
    simulated_root: SimulatedRoot,
) -> None:
    """Both are served, under two names; the trust file accepts both for one."""
    source = case.machine(simulated_root)
    owner = TlsIdentity(source)
    answer = case.answers(source, owner, roots=tuple(sorted((case.ROOT, case.OTHER))))
    both = (f'["{case.ROOT.hex()}"]', f'["{case.OTHER.hex()}", "{case.ROOT.hex()}"]')
    with (
        case.live(source, identity=owner, answer=answer) as server,
        connect(server.target, case.trust(simulated_root, both)) as client,
    ):
        assert client.models() == {MODEL: (case.OTHER.hex(), case.ROOT.hex())}
        assert rows(client) == [1]
        assert server.record.count(names.MODEL_METADATA) == 2
        server.serve_instead(bytes([0xAB] * 32))
        with pytest.raises(PolicyViolation):
            rows(client)

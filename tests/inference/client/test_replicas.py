"""Several replicas: each proves itself, calls go to those alone, and one may die under load."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import pool, pool_async
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS
from sealserve.inference.server.challenge import Answer
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    PolicyViolation,
    SealserveError,
    UnavailableError,
)
from support import client_case as case
from support.client_both import BOTH
from support.client_server import MODEL, LiveServer, Relay, eventually, failing, silent_port
from support.ports import free_port

ROWS = {"x": [[1.0, 2.0, 3.0]]}
Code = grpc.StatusCode
Connect = Callable[..., Any]


@pytest.fixture(params=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Each of the two clients."""
    return BOTH[request.param]


@pytest.fixture
def servers(simulated_root: SimulatedRoot) -> Iterator[list[LiveServer]]:
    """Three good replicas, each of a machine and with a key of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(case.live(case.machine(simulated_root))) for _ in range(3)]


def targets(*servers: LiveServer | Relay) -> str:
    return ",".join(server.target for server in servers)


def rows(client: Any, times: int = 1) -> None:
    for _ in range(times):
        assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]


def predictions(*servers: LiveServer) -> list[int]:
    return [server.record.count(names.MODEL_INFER) for server in servers]


def challenges(*servers: LiveServer) -> list[int]:
    return [server.record.count(names.GET_EVIDENCE) for server in servers]


def pool_of(client: Any) -> Any:
    return getattr(client, "pool", None) or client._pool


# ---- who takes part


def test_each_replica_is_challenged_and_calls_are_spread_over_all(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with connect(targets(*servers), case.trust(simulated_root)) as client:
        assert challenges(*servers) == [1, 1, 1]
        rows(client, 9)
        assert predictions(*servers) == [3, 3, 3]
        assert challenges(*servers) == [1, 1, 1]
        assert [one.target for one in client.replicas] == [server.target for server in servers]
        assert all(one.verdict and not one.reason for one in client.replicas)
        assert client.models() == {MODEL: (case.ROOT.hex(),)}
        assert [model.name for model in client.served().models] == [MODEL]


def test_addresses_may_come_as_a_sequence(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with connect([server.target for server in servers], case.trust(simulated_root)) as client:
        rows(client, 3)
    assert predictions(*servers) == [1, 1, 1]


BAD: dict[str, tuple[str, type[SealserveError]]] = {
    "not genuine": ("other-key", EvidenceError),
    "not acceptable": ("debug", PolicyViolation),
}


@pytest.mark.parametrize("name", BAD)
def test_a_replica_that_is_not_verified_gets_nothing(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect, name: str
) -> None:
    fault, kind = BAD[name]
    with case.live(case.machine(simulated_root, fault)) as bad:
        with connect(targets(servers[0], bad), case.trust(simulated_root)) as client:
            rows(client, 4)
            good, left_out = client.replicas
        assert predictions(servers[0]) == [4]
        assert bad.record.calls == [] or {m for m, _ in bad.record.calls} == {names.GET_EVIDENCE}
    assert good.verdict is not None
    assert left_out.verdict is None
    assert type(left_out.reason) is kind


def test_what_no_patience_mends_is_told_where_nobody_is_left(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    with case.live(case.machine(simulated_root, "debug")) as bad:
        target = f"127.0.0.1:{free_port()},{bad.target}"
        with pytest.raises(PolicyViolation) as caught:
            connect(target, case.trust(simulated_root))
        assert bad.record.prediction_bytes == 0
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


def test_nobody_there_at_all(simulated_root: SimulatedRoot, connect: Connect) -> None:
    with pytest.raises(UnavailableError, match=r"no TLS 1\.3 handshake"):
        connect([f"127.0.0.1:{free_port()}" for _ in range(3)], case.trust(simulated_root))


@pytest.mark.parametrize("target", ["", [], "a,,b", ["127.0.0.1:1,127.0.0.1:2"]])
def test_what_is_no_list_of_addresses(
    simulated_root: SimulatedRoot, connect: Connect, target: Any
) -> None:
    with pytest.raises(ConfigError):
        connect(target, case.trust(simulated_root))


def test_the_name_of_a_trust_file_is_none_here_either(connect: Connect) -> None:
    with pytest.raises(TypeError, match=r"Trust\.load"):
        connect("127.0.0.1:1,127.0.0.1:2", "trust.toml")


def test_a_silent_replica_does_not_hold_up_the_others(
    simulated_root: SimulatedRoot,
    servers: list[LiveServer],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "LATER_SECONDS", 0.01)
    monkeypatch.setattr(pool_async, "LATER_SECONDS", 0.01)
    with silent_port() as silent:
        target = f"127.0.0.1:{silent},{servers[0].target}"
        with connect(target, case.trust(simulated_root), timeout_seconds=600.0) as client:
            rows(client, 3)
            assert client.replicas[0].verdict is None
    assert predictions(servers[0]) == [3]


PROGRAMS = {
    "threads": """
with connect(target, trust, timeout_seconds=600.0) as client:
    client.predict(MODEL, {"x": [[1, 2, 3]]})
""",
    "asyncio": """
async def main():
    async with await connect_async(target, trust, timeout_seconds=600.0) as client:
        await client.predict(MODEL, {"x": [[1, 2, 3]]})
asyncio.run(main())
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_though_a_replica_says_nothing(
    simulated_root: SimulatedRoot, servers: list[LiveServer], tmp_path: Path, name: str
) -> None:
    (tmp_path / "trust.toml").write_bytes(case.trust_bytes(simulated_root))
    with silent_port() as silent:
        program = (
            "import asyncio; from sealserve import Trust, connect, connect_async\n"
            f"MODEL = {MODEL!r}; target = ['127.0.0.1:{silent}', {servers[0].target!r}]\n"
            f"trust = Trust.load('trust.toml'){PROGRAMS[name]}"
        )
        subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, check=True, timeout=120)
    assert predictions(servers[0]) == [1]


def test_nobody_says_a_word(simulated_root: SimulatedRoot, connect: Connect) -> None:
    with silent_port() as one, silent_port() as two:
        target = f"127.0.0.1:{one},127.0.0.1:{two}"
        with pytest.raises(UnavailableError, match=r"in time|within 0\.3 seconds"):
            connect(target, case.trust(simulated_root), timeout_seconds=0.3)


def test_calls_about_a_model_go_to_those_that_have_it(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    other = LiveServer(case.machine(simulated_root), case.OTHER)
    table = f'[models.{MODEL}]\nroots = ["{case.ROOT.hex()}"]'
    both = (table, f'{table}\n[models.lung]\nroots = ["{case.OTHER.hex()}"]')
    with other:
        other.serve_instead(case.OTHER, "lung")
        trust = case.trust(simulated_root, both)
        with connect(targets(servers[0], other), trust) as client:
            rows(client, 4)
            for _ in range(2):
                client.predict("lung", ROWS)
            assert sorted(client.models()) == [MODEL, "lung"]
        assert predictions(servers[0], other) == [4, 2]


# ---- a replica goes


def test_killing_one_of_three_under_load_fails_no_call(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    enough = threading.Event()

    def work(client: Any) -> int:
        done = 0
        while not enough.is_set():
            rows(client)
            done += 1
        return done

    victim, *others = servers
    with (
        Relay(victim.port) as process,
        connect(targets(process, *others), case.trust(simulated_root)) as client,
        ThreadPoolExecutor(4) as workers,
    ):
        working = [workers.submit(work, client) for _ in range(4)]
        eventually(lambda: min(predictions(*servers)) > 3)
        process.cut()  # as when it is killed: nobody says good-bye
        before = predictions(*others)
        eventually(
            lambda: all(
                now > then + 10 for now, then in zip(predictions(*others), before, strict=True)
            )
        )
        enough.set()
        assert min(one.result(20) for one in working) > 0
        gone, *left = client.replicas
        assert gone.verdict is None
        assert all(one.verdict for one in left)
    assert challenges(*others) == [1, 1]


def test_one_that_comes_back_is_verified_before_it_is_asked(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    first, stays, second = servers
    with (
        Relay(first.port) as relay,
        connect(targets(relay, stays), case.trust(simulated_root)) as client,
    ):
        rows(client, 2)
        relay.route = second.port
        relay.hang_up()
        eventually(lambda: (rows(client), predictions(second)[0])[1] > 0)
        assert challenges(second) == [1]
        assert all(one.verdict for one in client.replicas)
        methods = [method for method, _ in second.record.calls]
    assert methods[0] == names.GET_EVIDENCE


def test_one_that_comes_back_as_somebody_else_is_left_out(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with (
        case.live(case.machine(simulated_root, "debug")) as bad,
        Relay(servers[0].port) as relay,
        connect(targets(relay, servers[1]), case.trust(simulated_root)) as client,
    ):
        relay.route = bad.port
        relay.hang_up()
        eventually(
            lambda: (rows(client), isinstance(client.replicas[0].reason, PolicyViolation))[1]
        )
        rows(client, 4)
        assert bad.record.prediction_bytes == 0


def test_when_all_went_whoever_is_there_now_is_verified(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with (
        Relay(servers[0].port) as one,
        Relay(servers[0].port) as two,
        connect(targets(one, two), case.trust(simulated_root)) as client,
    ):
        for relay in (one, two):
            relay.route = servers[1].port
            relay.hang_up()
        rows(client)
        assert predictions(servers[1]) == [1]


def test_when_all_went_for_good_it_is_told(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with (
        Relay(servers[0].port) as one,
        Relay(servers[1].port) as two,
        connect(targets(one, two), case.trust(simulated_root)) as client,
    ):
        one.cut()
        two.cut()
        for _ in range(2):
            with pytest.raises(UnavailableError):
                client.predict(MODEL, ROWS)


# ---- one says no


def busy(code: grpc.StatusCode, pushback: str | None, root: SimulatedRoot) -> LiveServer:
    rewrite = failing(code, times=99, pushback=pushback)
    return case.live(case.machine(root), rewrites={names.MODEL_INFER: rewrite})


@pytest.mark.parametrize("pushback", ["60000", None])
def test_unavailable_is_asked_elsewhere_at_once(
    simulated_root: SimulatedRoot,
    servers: list[LiveServer],
    connect: Connect,
    pushback: str | None,
) -> None:
    with (
        busy(Code.UNAVAILABLE, pushback, simulated_root) as draining,
        connect(targets(draining, servers[0]), case.trust(simulated_root)) as client,
    ):
        rows(client, 2)
    assert predictions(servers[0]) == [2]
    assert predictions(draining)[0] > 0
    assert challenges(servers[0]) == [1]


@pytest.mark.parametrize(
    "code", [Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.NOT_FOUND]
)
def test_nothing_else_is_asked_twice(
    simulated_root: SimulatedRoot,
    servers: list[LiveServer],
    connect: Connect,
    code: grpc.StatusCode,
) -> None:
    with (
        busy(code, None, simulated_root) as full,
        connect(targets(full, servers[0]), case.trust(simulated_root)) as client,
    ):
        failures = 0
        for _ in range(2):
            try:
                rows(client)
            except SealserveError:
                failures += 1
        assert failures == 1
        assert predictions(full, servers[0]) == [1, 1]
        assert all(one.verdict for one in client.replicas)


# ---- age, and being asked to look again


def age(client: Any, position: int) -> None:
    """That replica's evidence is too old from now on."""
    found = pool_of(client).roster.seats[position].session
    object.__setattr__(found, "asked_at", found.asked_at - MAX_EVIDENCE_AGE_SECONDS - 1)


def test_old_evidence_is_renewed_while_others_answer(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with connect(targets(*servers[:2]), case.trust(simulated_root)) as client:
        age(client, 0)
        rows(client)
        assert predictions(servers[0], servers[1]) == [0, 1]
        eventually(lambda: challenges(servers[0]) == [2])
        eventually(lambda: (rows(client), predictions(servers[0])[0])[1] > 0)


def test_nobody_gets_data_on_evidence_that_is_too_old(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with connect(targets(*servers[:2]), case.trust(simulated_root)) as client:
        age(client, 0)
        age(client, 1)
        for server in servers:
            server.record.calls.clear()
        rows(client)
        asked = [[method for method, _ in server.record.calls] for server in servers[:2]]
    assert all(not calls or calls[0] == names.GET_EVIDENCE for calls in asked)


def test_a_recheck_is_of_every_replica(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    with (
        case.live(case.machine(simulated_root, "debug")) as bad,
        Relay(servers[0].port) as relay,
        connect(targets(relay, servers[1]), case.trust(simulated_root)) as client,
    ):
        client.recheck()
        assert challenges(servers[0], servers[1]) == [2, 2]
        relay.route = bad.port
        client.recheck()
        assert isinstance(client.replicas[0].reason, PolicyViolation)
        rows(client, 3)
        assert predictions(servers[0], servers[1]) == [0, 3]
        assert bad.record.prediction_bytes == 0


# ---- another version

BOTH_ROOTS = (f'["{case.ROOT.hex()}"]', f'["{case.OTHER.hex()}", "{case.ROOT.hex()}"]')


class Reloading:
    """A server whose evidence always names what it serves."""

    def __init__(self, simulated_root: SimulatedRoot) -> None:
        source = case.machine(simulated_root)
        owner = TlsIdentity(source)
        self.root = case.ROOT

        def answer(nonces: frozenset[bytes]) -> Answer:
            return case.answers(source, owner, roots=(self.root,))(nonces)

        self.server = case.live(source, identity=owner, answer=answer)

    def reload(self) -> None:
        self.root = case.OTHER
        self.server.serve_instead(case.OTHER)


def test_another_version_that_is_accepted_is_verified_and_asked(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    one = Reloading(simulated_root)
    with (
        one.server as server,
        connect(server.target, case.trust(simulated_root, BOTH_ROOTS)) as client,
    ):
        rows(client)
        assert client.models() == {MODEL: (case.ROOT.hex(),)}
        one.reload()
        server.record.calls.clear()
        rows(client)
        assert client.models() == {MODEL: (case.OTHER.hex(),)}
        methods = [method for method, _ in server.record.calls]
    afresh = [names.GET_EVIDENCE, names.MODEL_METADATA, names.MODEL_INFER]
    assert methods == [names.MODEL_INFER, *afresh]  # the first was refused, its tensors unread


def test_another_version_that_is_not_accepted_is_a_violation(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    one = Reloading(simulated_root)
    with one.server as server, connect(server.target, case.trust(simulated_root)) as client:
        rows(client)
        one.reload()
        with pytest.raises(PolicyViolation):
            client.predict(MODEL, ROWS)
        assert challenges(server) == [1]


def test_a_server_that_only_says_it_has_another_version_is_not_asked_for_ever(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    one = Reloading(simulated_root)
    with (
        one.server as server,
        connect(server.target, case.trust(simulated_root, BOTH_ROOTS)) as client,
    ):
        server.serve_instead(case.OTHER)  # and its evidence still names the one before
        with pytest.raises(PolicyViolation):
            client.predict(MODEL, ROWS)
        assert challenges(server) == [2]


def test_replicas_that_load_another_version_in_turn_lose_no_call(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    replicas = [Reloading(simulated_root) for _ in range(2)]
    with (
        replicas[0].server as one,
        replicas[1].server as two,
        connect(targets(one, two), case.trust(simulated_root, BOTH_ROOTS)) as client,
    ):
        for replica in replicas:
            rows(client, 2)
            replica.reload()
            rows(client, 4)
        eventually(lambda: (rows(client), challenges(one, two))[1] == [2, 2])
        eventually(lambda: all(replica.verdict for replica in client.replicas))
        assert client.models() == {MODEL: (case.OTHER.hex(),)}


# ---- names


def test_a_name_with_several_addresses_is_several_replicas_if_asked_for(
    simulated_root: SimulatedRoot,
    servers: list[LiveServer],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = [server.port for server in servers[:2]]
    look_up = meaning(monkeypatch, ports)
    with connect("dns:///replicas.test:8001", case.trust(simulated_root)) as client:
        rows(client, 4)
        assert predictions(servers[0], servers[1]) == [2, 2]
        look_up[:] = [servers[1].port, servers[2].port]  # one went, one came
        client.recheck()
        rows(client, 4)
        assert predictions(*servers) == [2, 4, 2]
        assert [one.target for one in client.replicas] == [s.target for s in servers[1:]]


def test_one_that_is_not_meant_any_more_does_not_join(
    simulated_root: SimulatedRoot,
    servers: list[LiveServer],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was being verified when its name lost that address."""
    look_up = meaning(monkeypatch, [server.port for server in servers[:2]])
    with connect("dns:///replicas.test", case.trust(simulated_root)) as client:
        roster = pool_of(client).roster
        gone = roster.seats[0]
        look_up[:] = [servers[1].port]
        client.recheck()
        assert gone.session.uses.begin() is False  # closed as soon as nobody uses it
        assert roster.joined(gone, gone.session) is gone.session
        rows(client, 2)
        assert predictions(servers[0], servers[1]) == [0, 2]


def meaning(monkeypatch: pytest.MonkeyPatch, ports: list[int]) -> list[int]:
    """What `replicas.test` means; may be changed."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "replicas.test":
            return real(host, port, *arguments, **options)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.1", one)) for one in ports for _ in range(2)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return ports


def test_a_name_that_nobody_has(simulated_root: SimulatedRoot, connect: Connect) -> None:
    with pytest.raises(UnavailableError, match=r"nobody\.invalid has no address"):
        connect("dns:///nobody.invalid", case.trust(simulated_root))


# ---- connections, balancers


def test_several_connections_to_one_replica(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    """A connection is one of the server's workers."""
    with (
        Relay(servers[0].port) as relay,
        connect(relay.target, case.trust(simulated_root), connections=3) as client,
    ):
        before = relay.connections
        rows(client, 6)
        assert relay.connections == before + 3
    assert challenges(servers[0]) == [1]


@pytest.mark.parametrize("connections", [0, -1, 65])
def test_a_number_of_connections_that_makes_no_sense(
    simulated_root: SimulatedRoot, connect: Connect, connections: int
) -> None:
    with pytest.raises(ValueError, match="connections is"):
        connect("127.0.0.1:1", case.trust(simulated_root), connections=connections)


def test_a_balancer_that_changes_the_server_below_us_fools_nobody(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    """The next connection goes to another server, whose certificate is not the pinned one."""
    with Relay(lambda n: servers[n % 2].port) as relay, pytest.raises(UnavailableError):
        connect(relay.target, case.trust(simulated_root), timeout_seconds=30.0)
    assert all(server.record.calls == [] for server in servers)


def test_a_balancer_that_changes_it_after_the_verdict_gets_no_data(
    simulated_root: SimulatedRoot, servers: list[LiveServer], connect: Connect
) -> None:
    """The handshake fails, so the server that is there now is verified, and fails to stay."""
    with (
        Relay(servers[0].port) as relay,
        connect(relay.target, case.trust(simulated_root)) as client,
    ):
        relay.route = lambda n: servers[1 + n % 2].port
        with pytest.raises(UnavailableError):
            client.predict(MODEL, ROWS)
    assert [server.record.prediction_bytes for server in servers] == [0, 0, 0]


# ---- a caller's token

TOKEN = "c2VjcmV0~of_a-caller="


def test_a_token_is_sent_on_verified_channels_alone(
    simulated_root: SimulatedRoot, connect: Connect
) -> None:
    seen: dict[str, list[str]] = {}

    def note(method: str) -> Any:
        def rewrite(data: bytes, context: Any) -> bytes:
            metadata = context.invocation_metadata()
            seen[method] = [str(v) for k, v in metadata if k == "authorization"]
            return data

        return rewrite

    every = (names.GET_EVIDENCE, names.MODEL_METADATA, names.MODEL_INFER)
    rewrites = {method: note(method) for method in every}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        connect(server.target, case.trust(simulated_root), token=TOKEN) as client,
    ):
        rows(client)
        assert TOKEN not in repr(pool_of(client).terms)
    bearer = [f"Bearer {TOKEN}"]
    assert seen == {
        names.GET_EVIDENCE: [],
        names.MODEL_METADATA: bearer,
        names.MODEL_INFER: bearer,
    }


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n", "ä", "=", "a" * 4097, "a\0"])
def test_what_is_no_token(simulated_root: SimulatedRoot, connect: Connect, token: str) -> None:
    with pytest.raises(ConfigError, match="token is none") as caught:
        connect("127.0.0.1:1", case.trust(simulated_root), token=token)
    assert "hint: a line end" in str(caught.value)

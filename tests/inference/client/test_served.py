"""What a server says it has: names and versions of the models that a trust file accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect, connect_async
from sealserve.inference.client.served import Served
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.native.errors import PolicyViolation
from sealserve.policy import Trust
from support import client_case as case
from support.client_server import MODEL, LiveServer, failing, grpc

Ask = Callable[[LiveServer, Trust], Served]
NEITHER = bytes([0xAB] * 32)
BOTH = (f'["{case.ROOT.hex()}"]', f'["{case.OTHER.hex()}", "{case.ROOT.hex()}"]')
LUNG = ("[models.", f'[models.lung]\nroots = ["{NEITHER.hex()}"]\n\n[models.')


@pytest.fixture
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    """Its evidence names two roots."""
    source = case.machine(simulated_root)
    owner = TlsIdentity(source)
    answer = case.answers(source, owner, roots=tuple(sorted((case.ROOT, case.OTHER))))
    with case.live(source, identity=owner, answer=answer) as live:
        yield live


def _threads(server: LiveServer, trust: Trust) -> Served:
    with connect(server.target, trust) as client:
        return client.served()


def _asyncio(server: LiveServer, trust: Trust) -> Served:
    async def ask() -> Served:
        async with await connect_async(server.target, trust) as client:
            return await client.served()

    return asyncio.run(ask())


@pytest.fixture(params=[_threads, _asyncio])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


def versions(served: Served) -> list[tuple[str, str, bytes]]:
    return [(model.name, model.version, model.root) for model in served.models]


def test_one_version(server: LiveServer, simulated_root: SimulatedRoot, ask: Ask) -> None:
    served = ask(server, case.trust(simulated_root))
    assert versions(served) == [(MODEL, "1", case.ROOT)]
    assert (served.models[0].inputs, served.models[0].outputs) == (
        server.model.inputs,
        server.model.outputs,
    )
    assert served.absent == {}
    assert server.record.count(names.MODEL_METADATA) == 1


def test_every_version_that_is_accepted(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    server.serve_also(case.OTHER, "2")
    assert versions(ask(server, case.trust(simulated_root, BOTH))) == [
        (MODEL, "1", case.ROOT),
        (MODEL, "2", case.OTHER),
    ]


def test_a_version_that_is_not_the_servers_choice(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    server.serve_instead(case.OTHER)
    server.serve_also(case.ROOT, "2")
    assert versions(ask(server, case.trust(simulated_root))) == [(MODEL, "2", case.ROOT)]


def test_a_root_under_another_name(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    server.serve_instead(case.ROOT, "lung")
    served = ask(server, case.trust(simulated_root))
    assert served == Served((), {MODEL: "the server has its root, but under another name"})


def test_a_name_with_another_root(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    server.serve_instead(case.OTHER)
    server.serve_also(case.ROOT, "1", "lung")
    served = ask(server, case.trust(simulated_root))
    assert served == Served((), {MODEL: "the server has that name, but with another root"})


def test_a_root_that_is_not_served(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    served = ask(server, case.trust(simulated_root, LUNG))
    assert versions(served) == [(MODEL, "1", case.ROOT)]
    assert served.absent == {"lung": "the server has none of its roots"}


def test_a_root_the_evidence_does_not_name(
    server: LiveServer, simulated_root: SimulatedRoot, ask: Ask
) -> None:
    server.serve_instead(NEITHER)
    with pytest.raises(PolicyViolation, match="attest again"):
        ask(server, case.trust(simulated_root))


def test_a_server_that_fails(server: LiveServer, simulated_root: SimulatedRoot, ask: Ask) -> None:
    """Once without a word: it is verified anew and asked again."""
    server.rewrites[names.MODEL_METADATA] = failing(grpc.StatusCode.UNAVAILABLE, times=1)
    assert versions(ask(server, case.trust(simulated_root))) == [(MODEL, "1", case.ROOT)]
    assert server.record.count(names.GET_EVIDENCE) == 2

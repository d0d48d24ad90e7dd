"""Servers that want a client's certificate: who gets in, and what is told to who does not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sealserve import tritonclient
from sealserve.attestation import Roots
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import Certificate, certificate, check
from sealserve.inference.client.clock import Deadline, now
from sealserve.inference.client.collect import collect
from sealserve.inference.client.fetch import fetch_certificate, wants_certificate
from sealserve.inference.client.introduction import introduce
from sealserve.inference.client.triton.errors import InferenceServerException
from sealserve.inference.server.config import Callers
from sealserve.native.errors import ConfigError, SealserveError, UnavailableError
from sealserve.policy import Trust
from support import client_case as case
from support.client_authority import Authority, Issued
from support.client_both import BOTH
from support.client_server import MODEL, silent_port
from support.proxies import LocalProxy
from support.server_case import Served, doubler, root_of

AUTHORITY = Authority()
ROWS = np.ones((1, 3), np.float32)
HINT = "the server wants a client's certificate: --certificate and --key"
Connect = Callable[..., Any]


@pytest.fixture(params=BOTH)
def connect(request: pytest.FixtureRequest) -> Connect:
    return BOTH[request.param]


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[Served]:
    callers = Callers(client_ca=AUTHORITY.own.decode())
    with Served(case.machine(simulated_root), doubler(MODEL), callers=callers) as served:
        yield served


@pytest.fixture
def trust(simulated_root: SimulatedRoot) -> Trust:
    return case.trust(simulated_root, (case.ROOT.hex(), root_of(MODEL).hex()))


def parsed(issued: Issued) -> Certificate:
    return Certificate.parse(issued.chain, issued.key, file="client.pem")


def refused(kind: type[SealserveError], *words: str, by: Callable[[], object]) -> None:
    with pytest.raises(kind) as failure:
        by()
    assert type(failure.value) is kind
    assert HINT in failure.value.hint
    for word in words:
        assert word in str(failure.value)


# ---- who gets in

KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_client_of_the_authority_predicts(
    server: Served, trust: Trust, connect: Connect, kind: str
) -> None:
    own = parsed(AUTHORITY.issue(key=KEYS[kind]()))
    with connect(server.target, trust, certificate=own, connections=2) as client:
        for _ in range(2):
            assert client.predict(MODEL, {"x": ROWS})["twice"].tolist() == [[2, 2, 2]]
        client.recheck()
        assert client.predict(MODEL, {"x": ROWS})["rows"].tolist() == [1]


def test_so_do_a_check_an_introduction_and_kept_evidence(
    server: Served, trust: Trust, simulated_root: SimulatedRoot
) -> None:
    own = parsed(AUTHORITY.issue())
    roots = Roots.simulated(simulated_root.ark_sha256)
    assert check(server.target, trust, certificate=own).platform == "simulated"
    assert introduce(server.target, roots, certificate=own).roots == {root_of(MODEL)}
    for expected in (None, trust):
        assert collect(server.target, expected, certificate=own).address == server.target


def test_so_does_a_program_of_tritons_shape(server: Served, trust: Trust) -> None:
    grpcclient = tritonclient.trusting(trust, certificate=parsed(AUTHORITY.issue()))
    with grpcclient.InferenceServerClient(server.target) as client:
        assert client.is_model_ready(MODEL)
    with pytest.raises(InferenceServerException, match="a client's certificate") as failure:
        tritonclient.trusting(trust).InferenceServerClient(server.target)
    assert HINT in str(failure.value.debug_details())
    with pytest.raises(InferenceServerException, match="certificate="):
        grpcclient.InferenceServerClient(server.target, private_key="client.key")


def test_so_does_a_proxy(server: Served, trust: Trust) -> None:
    with LocalProxy(server.target, trust, certificate=parsed(AUTHORITY.issue())) as proxy:
        assert proxy.health() == 1


def test_a_server_that_wants_none_gets_none(trust: Trust, simulated_root: SimulatedRoot) -> None:
    with Served(case.machine(simulated_root), doubler(MODEL)) as server:
        assert check(server.target, trust, certificate=parsed(Authority().issue()))


# ---- who does not


def test_without_one_it_is_said_what_is_missing(
    server: Served, trust: Trust, connect: Connect
) -> None:
    words = f"{server.target} takes no connection without a client's certificate"
    refused(ConfigError, words, by=lambda: connect(server.target, trust))


def old(monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """One whose time was over an hour ago, as its holder's clock does not know."""
    late = now()
    with monkeypatch.context() as changed:
        changed.setattr(certificate, "now", lambda: late - timedelta(hours=2))
        return parsed(AUTHORITY.issue(ends=timedelta(hours=-1)))


OTHERS: dict[str, Callable[[pytest.MonkeyPatch], Certificate]] = {
    "of an authority of the same name": lambda _: parsed(Authority().issue()),
    "of another authority": lambda _: parsed(Authority("another").issue()),
    "whose time is over": old,
}


@pytest.mark.parametrize("name", OTHERS)
def test_with_a_wrong_one_no_more_is_said_than_is_known(
    server: Served,
    trust: Trust,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    own = OTHERS[name](monkeypatch)
    words = (
        f"{server.target} wants a client's certificate, and the connection with ours broke",
        f"client.pem is valid from {own.since.isoformat()} to {own.until.isoformat()}",
        "an authority that it knows",
    )
    refused(UnavailableError, *words, by=lambda: connect(server.target, trust, certificate=own))


def test_an_introduction_and_kept_evidence_are_told_the_same(
    server: Served, trust: Trust, simulated_root: SimulatedRoot
) -> None:
    roots = Roots.simulated(simulated_root.ark_sha256)
    refused(ConfigError, by=lambda: introduce(server.target, roots))
    refused(ConfigError, by=lambda: collect(server.target, None))
    refused(ConfigError, by=lambda: collect(server.target, trust))
    own = parsed(Authority().issue())
    refused(UnavailableError, by=lambda: introduce(server.target, roots, certificate=own))
    refused(UnavailableError, by=lambda: collect(server.target, trust, certificate=own))


def test_of_several_replicas_what_no_patience_mends_is_told(
    server: Served, trust: Trust, connect: Connect
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = listener.getsockname()[1]
    for target in (f"127.0.0.1:{gone},{server.target}", f"{server.target},127.0.0.1:{gone}"):
        refused(ConfigError, by=lambda target=target: connect(target, trust))


def test_a_server_that_wants_one_from_now_on(
    trust: Trust, simulated_root: SimulatedRoot, connect: Connect
) -> None:
    callers = Callers(client_ca=AUTHORITY.own.decode())
    machine = case.machine(simulated_root)
    with ExitStack() as stack:
        with Served(machine, doubler(MODEL)) as before:
            client = stack.enter_context(connect(before.target, trust))
            assert client.predict(MODEL, {"x": ROWS})["rows"].tolist() == [1]
        stack.enter_context(Served(machine, doubler(MODEL), callers=callers, port=before.port))
        refused(ConfigError, by=lambda: client.predict(MODEL, {"x": ROWS}))


# ---- what is known of a server


def test_its_own_certificate_is_shown_to_everybody(server: Served) -> None:
    """TLS 1.3: before it looks at a client's. So ours goes to nobody whose evidence is not read."""
    deadline = Deadline(10.0)
    assert fetch_certificate("127.0.0.1", server.port, deadline)
    assert wants_certificate("127.0.0.1", server.port, deadline)


def test_a_server_that_wants_none_does_not_say_so(simulated_root: SimulatedRoot) -> None:
    with Served(case.machine(simulated_root), doubler()) as server:
        assert not wants_certificate("127.0.0.1", server.port, Deadline(10.0))


def test_nor_does_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = listener.getsockname()[1]
    assert not wants_certificate("127.0.0.1", gone, Deadline(10.0))
    with silent_port() as silent:
        assert not wants_certificate("127.0.0.1", silent, Deadline(0.2))
    passed = Deadline(1e-6)
    assert not wants_certificate("127.0.0.1", gone, passed)


def test_nor_one_that_speaks_no_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.recv(4096)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert not wants_certificate(*listener.getsockname(), Deadline(10.0))
        thread.join()

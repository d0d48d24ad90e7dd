"""Attacks on the channel, each carried out to the end by an adversary on sockets of its own.

For each attack one defence is named. With it the client refuses, with the code of that defence, and
the adversary has seen nothing of the prediction. With that one defence taken out, and everything
else in place, the same adversary gets the data: the attack is a real one, and nothing else would
have stopped it.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509

from sealserve.attestation import (
    ChallengeClaims,
    Evidence,
    TlsClaims,
    encode,
    ratls,
    read_certificate,
)
from sealserve.attestation.binding import VERSION, b64url
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.client import channel, connect, connect_async, session, session_async
from sealserve.inference.client import verification as decides
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.server import service
from sealserve.inference.server.challenge import Answer
from sealserve.inference.server.handed import Certificates
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.native.errors import EvidenceError, PolicyViolation, SealserveError
from sealserve.policy import Trust, guest_checks
from sealserve.policy.outcome import Outcome
from support import client_case as case
from support.client_case import FixedIdentity, Parts
from support.client_server import CONFIG, MODEL, LiveServer, Relay

PAYLOAD = np.random.default_rng(1).random((8192, 3), np.float32)
OTHER_SOFTWARE = bytes([0xBD] * 32)
NO_CODE = "failed precondition"  # the server's own refusal has words and a status
Disarm = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Scene:
    """target: where the victim connects. seen: whether somebody unapproved has its data by now.

    meanwhile: what happens between two predictions of the victim on one verified channel.
    """

    target: str
    seen: Callable[[], bool]
    meanwhile: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Attack:
    """code: of the refusal. disarm: takes the defence out."""

    stage: Callable[[SimulatedRoot], AbstractContextManager[Scene]]
    code: str
    disarm: Disarm


# ---- adversaries


class NoMachine:
    """What an adversary outside of every machine has instead of one."""

    platform = "none"

    def evidence(self, claims: bytes) -> Evidence:
        raise AssertionError("no machine speaks for this adversary")


def adversary(identity: FixedIdentity, answer: Callable[[frozenset[bytes]], Answer]) -> LiveServer:
    """A server that looks like ours, and writes down what it is sent."""
    return LiveServer(NoMachine(), case.ROOT, identity=identity, answer=answer)


def got_data(server: LiveServer) -> Callable[[], bool]:
    return lambda: server.record.prediction_bytes > PAYLOAD.nbytes


def shown_by(port: int) -> bytes:
    """The certificate that whoever listens there shows (DER)."""
    return fetch_certificate("127.0.0.1", port, Deadline(10.0))


def asked(port: int, nonces: frozenset[bytes]) -> Answer:
    """What the server there answers to somebody else's nonce."""
    (nonce,) = nonces
    credentials = channel.credentials(shown_by(port))
    options = channel.options(channel.EVIDENCE_BYTES)
    with grpc.secure_channel(channel.target("127.0.0.1", port), credentials, options) as opened:
        request = GetEvidenceRequest(nonce=nonce).SerializeToString()
        told = GetEvidenceResponse.FromString(opened.unary_unary(names.GET_EVIDENCE)(request))
    return Answer(told.evidence, told.next_certificate)


def own_certificate(key: Any, evidence: bytes, **parts: Any) -> bytes:
    return Parts(key, evidence, **parts).build(datetime.now(UTC))


def takes_over(genuine: LiveServer, other: LiveServer, first: int) -> Callable[[int], int]:
    """The first connections go to the one, those after them to the other."""
    return lambda connection: genuine.port if connection < first else other.port


# ---- 1 relay: a key of its own, and everything the genuine machine says


@contextmanager
def speaking_for(genuine: LiveServer) -> Iterator[Scene]:
    """The evidence of that server in a certificate for a key of the adversary's own.

    Challenges are passed on to that server, and its answers back.
    """
    stolen = read_certificate(shown_by(genuine.port), datetime.now(UTC)).evidence
    key = case.new_key()
    certificate = own_certificate(key, encode(stolen))
    identity = FixedIdentity(key, Certificates(certificate, certificate))
    with adversary(identity, lambda nonces: asked(genuine.port, nonces)) as middle:
        yield Scene(middle.target, got_data(middle))


@contextmanager
def relay(root: SimulatedRoot) -> Iterator[Scene]:
    """Somebody between the victim and the server it means.

    Needs: the key that evidence names is compared with the key of this channel.
    """
    with case.live(case.machine(root)) as genuine, speaking_for(genuine) as scene:
        yield scene


# ---- 2 diversion: a genuine machine, and not the one that was meant


@contextmanager
def diverted_challenge(root: SimulatedRoot) -> Iterator[Scene]:
    """The TLS key of one machine got out; its challenges are answered by another, sound one.

    Needs: the answer to a challenge has to name the key of this channel too.
    """
    broken = TlsIdentity(case.machine(root))
    leaked = FixedIdentity(broken._key, broken.certificates)
    with (
        case.live(case.machine(root)) as sound,
        adversary(leaked, lambda nonces: asked(sound.port, nonces)) as middle,
    ):
        yield Scene(middle.target, got_data(middle))


@contextmanager
def diverted_connection(root: SimulatedRoot) -> Iterator[Scene]:
    """The connection leads to a genuine machine that runs the adversary's own software.

    Needs: HOST_DATA is compared with the policies that the trust file lists.
    """
    with (
        case.live(case.machine(root)) as meant,
        case.live(Machine(root, OTHER_SOFTWARE)) as other,
        Relay(takes_over(meant, other, 0)) as network,
    ):
        yield Scene(network.target, got_data(other))


# ---- 3 replay: what a machine said once, by somebody who has its key now


@contextmanager
def replay(root: SimulatedRoot) -> Iterator[Scene]:
    """A machine answered a challenge while it was sound; later its key got out.

    Needs: the evidence has to name the nonce that this client made.
    """
    identity = TlsIdentity(case.machine(root))
    with case.live(case.machine(root), identity=identity) as once:
        recorded = asked(once.port, frozenset({bytes([9] * 32)}))
    leaked = FixedIdentity(identity._key, identity.certificates)
    with adversary(leaked, lambda _: recorded) as later:
        yield Scene(later.target, got_data(later))


# ---- 4 reflection: what the victim's own machine says


@contextmanager
def reflection(root: SimulatedRoot) -> Iterator[Scene]:
    """The victim is a server itself, on a machine that it would accept: a proxy, say.

    The adversary turns round, asks the victim's own server with the victim's own nonce, and hands
    its answer back. Needs: as for the relay, the key that evidence names.
    """
    with case.live(case.machine(root)) as victim, speaking_for(victim) as scene:
        yield scene


# ---- 5 purpose swap: evidence of the approved machine that was made for something else


@contextmanager
def runtime_data_service(machine: Machine) -> Iterator[int]:
    """Evidence over what another container names, as sidecars of confidential containers make it.

    One JSON object a connection; an object of ours (`sealserve`, `keys`) is refused.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            data = self.rfile.read()
            if not json.loads(data).keys() & {"sealserve", "keys"}:
                self.wfile.write(encode(machine.evidence(data)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def evidence_over(port: int, members: dict[str, object]) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.sendall(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())
        opened.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: opened.recv(65536), b""))


@contextmanager
def purpose_swap(root: SimulatedRoot) -> Iterator[Scene]:
    """Members of ours under another container's own name for them, on the approved machine.

    Needs: claims say that they are ours and for which purpose, and nothing without that is read.
    """
    with runtime_data_service(case.machine(root)) as port:
        key = case.new_key()
        spki = b64url(case.spki_of(key))
        certificate = own_certificate(key, evidence_over(port, {"spki": spki}))

        def answer(nonces: frozenset[bytes]) -> Answer:
            claims = {
                "config": b64url(CONFIG),
                "next": b64url(hashlib.sha256(certificate).digest()),
                "nonces": [b64url(nonce) for nonce in nonces],
                "roots": [b64url(case.ROOT)],
                "spki": spki,
            }
            return Answer(evidence_over(port, claims), certificate)

        identity = FixedIdentity(key, Certificates(certificate, certificate))
        with adversary(identity, answer) as imposter:
            yield Scene(imposter.target, got_data(imposter))


# ---- 6 a leaf signed by the pinned certificate


@contextmanager
def signed_leaf(root: SimulatedRoot) -> Iterator[Scene]:
    """A genuine machine shows a certificate that may sign, and signs one for a key outside.

    gRPC takes whatever a pinned certificate vouches for. Needs: the profile is checked before a
    certificate is pinned.
    """
    source = case.machine(root)
    inside, outside = case.new_key(), case.new_key()
    evidence = case.tls_evidence(source, inside)
    may_sign = case.profile(
        evidence,
        constraints=(x509.BasicConstraints(ca=True, path_length=None), True),
        usage=(case.key_usage(key_cert_sign=True), True),
    )
    authority = own_certificate(inside, evidence, extensions=may_sign)
    owner = FixedIdentity(inside, Certificates(authority, authority))
    leaf = own_certificate(outside, evidence, signer=inside)
    chain = case.as_pem(authority)
    imposter = FixedIdentity(outside, Certificates(leaf, leaf), chain)
    with (
        case.live(source, identity=owner) as machine,
        adversary(imposter, lambda nonces: asked(machine.port, nonces)) as elsewhere,
        Relay(takes_over(machine, elsewhere, 2)) as network,
    ):
        yield Scene(network.target, got_data(elsewhere))


# ---- 7 a reload behind a verified channel


@contextmanager
def reload_to_another_model(root: SimulatedRoot) -> Iterator[Scene]:
    """The operator has the server load another model under the same name, on the same channel.

    Needs: a request names the root that was verified, and the measured server compares it before
    it looks at a tensor.
    """
    with case.live(case.machine(root)) as server:
        yield Scene(
            server.target,
            lambda: server.model.runs > 1,
            meanwhile=lambda: server.serve_instead(case.OTHER),
        )


# ---- taking one defence out


def keys_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decides, "_require_key", lambda seen, wanted, code: None)


def any_software_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    judges = importlib.import_module("sealserve.policy.appraise")  # the name is its function's too

    def passes(_: Any) -> Outcome:
        return Outcome("software is not compared")

    without = tuple(passes if check is guest_checks._software else check for check in judges.CHECKS)
    monkeypatch.setattr(judges, "CHECKS", without)


def nonces_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decides.Verification, "_require_nonce", lambda self, said, nonce: None)


def purposes_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever purpose claims name, or none, is taken for the expected one."""

    def named(shape: Any, purpose: str) -> Any:
        parse = shape.parse

        def lenient(claims: bytes) -> Any:
            header = {"purpose": purpose, "version": VERSION}
            members = {**json.loads(claims), "sealserve": header}
            return parse(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())

        return lenient

    for shape, purpose in ((TlsClaims, "tls"), (ChallengeClaims, "challenge")):
        monkeypatch.setattr(shape, "parse", named(shape, purpose))


def profiles_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_evidence(certificate: x509.Certificate) -> bytes:
        found: Any = certificate.extensions.get_extension_for_oid(ratls.EVIDENCE_OID).value
        return bytes(found.value)

    monkeypatch.setattr(ratls, "_require_extensions", only_evidence)


def requests_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "require_root", lambda *_, **__: None)


def answers_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for client in (session, session_async):
        monkeypatch.setattr(client, "require_root", lambda *_: None)


ATTACKS = {
    "relay": Attack(relay, "certificate_binding", keys_are_not_compared),
    "diverted challenge": Attack(diverted_challenge, "challenge_key", keys_are_not_compared),
    "diverted connection": Attack(diverted_connection, "host_data", any_software_will_do),
    "replay": Attack(replay, "challenge_nonce", nonces_are_not_compared),
    "reflection": Attack(reflection, "certificate_binding", keys_are_not_compared),
    "purpose swap": Attack(purpose_swap, "claims_purpose", purposes_are_not_compared),
    "signed leaf": Attack(signed_leaf, "certificate_extensions", profiles_are_not_compared),
    "reload": Attack(reload_to_another_model, NO_CODE, requests_are_not_compared),
}
each = pytest.mark.parametrize("name", ATTACKS)


# ---- the victim


def in_threads(scene: Scene, trust: Trust) -> None:
    with connect(scene.target, trust) as client:
        client.predict(MODEL, {"x": PAYLOAD})
        scene.meanwhile()
        client.predict(MODEL, {"x": PAYLOAD})


def in_asyncio(scene: Scene, trust: Trust) -> None:
    async def ask() -> None:
        async with await connect_async(scene.target, trust) as client:
            await client.predict(MODEL, {"x": PAYLOAD})
            scene.meanwhile()
            await client.predict(MODEL, {"x": PAYLOAD})

    asyncio.run(ask())


VICTIMS = {"threads": in_threads, "asyncio": in_asyncio}


def codes(error: SealserveError) -> set[str]:
    if isinstance(error, EvidenceError):
        return {error.code}
    assert isinstance(error, PolicyViolation), repr(error)
    return {finding.code for finding in error.findings} or {NO_CODE}


@pytest.mark.parametrize("victim", VICTIMS)
@each
def test_an_attack_is_refused(simulated_root: SimulatedRoot, name: str, victim: str) -> None:
    attack = ATTACKS[name]
    with attack.stage(simulated_root) as scene:
        with pytest.raises(SealserveError) as caught:
            VICTIMS[victim](scene, case.trust(simulated_root))
        assert codes(caught.value) == {attack.code}
        assert not scene.seen()


@each
def test_without_its_defence_it_succeeds(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    attack = ATTACKS[name]
    attack.disarm(monkeypatch)
    with attack.stage(simulated_root) as scene:
        with suppress(PolicyViolation):  # of an answer that comes too late: the data is gone
            in_threads(scene, case.trust(simulated_root))
        assert scene.seen()


# ---- the answer of another model, where the request was for the right one


@contextmanager
def answering_for_another(root: SimulatedRoot) -> Iterator[Scene]:
    """The model changes after the request was checked; the answer says of which it is."""

    def of_another(data: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.OTHER.hex()),))
        return data

    rewrites = {names.MODEL_INFER: of_another}
    with case.live(case.machine(root), rewrites=rewrites) as server:
        yield Scene(server.target, got_data(server))


@pytest.mark.parametrize("victim", VICTIMS)
def test_the_answer_of_another_model_is_refused(simulated_root: SimulatedRoot, victim: str) -> None:
    with answering_for_another(simulated_root) as scene:
        with pytest.raises(PolicyViolation) as caught:
            VICTIMS[victim](scene, case.trust(simulated_root))
        assert codes(caught.value) == {"answer_root"}


@pytest.mark.parametrize("victim", VICTIMS)
def test_without_its_defence_that_answer_is_taken(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    answers_are_not_compared(monkeypatch)
    with answering_for_another(simulated_root) as scene:
        VICTIMS[victim](scene, case.trust(simulated_root))

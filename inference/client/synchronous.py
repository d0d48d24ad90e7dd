"""The client for threads. A verified channel, made anew when the server changed or time passed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import sleep
from types import TracebackType
from typing import Protocol, TypeVar

import grpc

from sealserve.inference.client import channel
from sealserve.inference.client.attempts import Attempts
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS, Deadline, elapsed, now
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.client.inputs import Cast
from sealserve.inference.client.known_models import roots_for
from sealserve.inference.client.prediction import (
    Question,
    metadata_request,
    read_metadata,
    require_root,
    root_metadata,
)
from sealserve.inference.client.served import (
    Probe,
    Served,
    Told,
    root_of,
    survey,
    unknown_model,
)
from sealserve.inference.client.status import another_root, no_evidence, nobody_answered
from sealserve.inference.client.uses import Process, Uses
from sealserve.inference.client.verification import Verification, Verified
from sealserve.inference.wire import names
from sealserve.inference.wire.address import parse_address
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.inference.wire.tensor import Array
from sealserve.policy import Trust, Verdict

_Result = TypeVar("_Result")
_ModelKey = tuple[str, str, bytes]  # name, version asked for, root


def connect(target: str, trust: Trust, *, timeout_seconds: float = 10.0) -> Client:
    """Verify a server; returns a client of it, or raises.

    target: `HOST` or `HOST:PORT`. Raises EvidenceError (not genuine), PolicyViolation (genuine, not
    acceptable), UnavailableError, ConfigError (an address that is none). No byte of data leaves
    before this has returned.
    """
    host, port = parse_address(target, default_port=names.DEFAULT_PORT)
    session = _open(host, port, trust, Deadline(timeout_seconds))
    return Client(host, port, trust, session)


def check(target: str, trust: Trust, *, timeout_seconds: float = 10.0) -> Verdict:
    """Verify a server and say what was found; raises what `connect` raises."""
    with connect(target, trust, timeout_seconds=timeout_seconds) as client:
        return client.verdict


@dataclass(frozen=True)
class Session:
    """A channel to a server that was verified over it. asked_at: when its nonce was made."""

    channel: grpc.Channel
    verified: Verified
    asked_at: float
    metadata: dict[_ModelKey, ModelMetadata] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)

    @property
    def is_old(self) -> bool:
        """Whether the server has to prove itself again before more data goes to it."""
        return elapsed() - self.asked_at > MAX_EVIDENCE_AGE_SECONDS

    def call(self, path: str, request: bytes, root: bytes, deadline: Deadline) -> bytes:
        """One call about the model with this root; grpc.RpcError if it fails."""
        method = self.channel.unary_unary(path)
        answer, call = method.with_call(
            request, timeout=deadline.left(), metadata=root_metadata(root)
        )
        require_root(call.trailing_metadata(), root)
        return bytes(answer)


class Client:
    """A server that was verified. Safe for use from several threads; not across `fork`.

    Made by `connect`. Evidence older than an hour is renewed before the next prediction, and so is
    the whole verification when the server cannot be reached under the keys it proved. A server that
    asks for patience gets it once, within the deadline. In a forked child every method but `close`
    is a RuntimeError.
    """

    def __init__(self, host: str, port: int, trust: Trust, session: Session) -> None:
        self._host = host
        self._port = port
        self._trust = trust
        self._session: Session | None = session
        self._process = Process()
        self._lock = threading.Lock()  # of _session, held for a moment
        self._verifying = threading.Lock()  # held by the one thread that verifies

    @property
    def verdict(self) -> Verdict:
        """What the last verification found."""
        return self._current().verified.verdict

    def models(self) -> dict[str, tuple[str, ...]]:
        """The models that the trust file accepts and this server serves: roots (hex) by name.

        The names are the trust file's: evidence names roots alone. `served` asks for the server's.
        """
        accepted = self._current().verified.accepted(self._trust)
        return {name: tuple(root.hex() for root in roots) for name, roots in accepted.items()}

    def served(self, *, timeout_seconds: float = 10.0) -> Served:
        """Ask the server under which names and versions it has these models, and what they take.

        Raises what `predict` raises; a model the server does not have is no error here.
        """
        deadline = Deadline(timeout_seconds)

        def ask(session: Session) -> Served:
            steps = survey(self._trust, session.verified)
            step = next(steps)
            while not isinstance(step, Served):
                step = steps.send(_told(session, step, deadline))
            return step

        return self._ask(ask, "what the server has", deadline)

    def metadata(
        self, model: str, *, version: str = "", timeout_seconds: float = 10.0
    ) -> ModelMetadata:
        """Inputs and outputs of a model. Raises what `predict` raises."""
        deadline = Deadline(timeout_seconds)

        def ask(session: Session, root: bytes) -> ModelMetadata:
            return _metadata(session, model, version, root, deadline)

        return self._ask(self._on_root(model, ask), f"metadata of {model}", deadline)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: str = "",
        outputs: Sequence[str] | None = None,
        timeout_seconds: float = 30.0,
        cast: Cast = "safe",
    ) -> dict[str, Array]:
        """Predict with a model that the trust file accepts; returns its outputs by name.

        inputs: an array or nested lists for each input. Lists take the model's type; arrays are
        cast only where nothing is lost, or with cast="same_kind" within their kind.
        outputs: names wanted; None is all. Raises InputError for what does not fit the model,
        PolicyViolation for a model that is not accepted or not served under an accepted root,
        IntegrityError for an answer that does not fit, UnavailableError, ConfigError if the server
        wants a caller's token; and what `connect` raises when it has to be verified again.
        """
        deadline = Deadline(timeout_seconds)

        def ask(session: Session, root: bytes) -> dict[str, Array]:
            found = _metadata(session, model, version, root, deadline)
            question = Question.of(found, inputs, version=version, outputs=outputs, cast=cast)
            try:
                answer = session.call(names.MODEL_INFER, question.request, root, deadline)
            except grpc.RpcError as error:
                question.require_taken(error)
                raise
            return question.answer(answer)

        return self._ask(self._on_root(model, ask), f"prediction by {model}", deadline)

    def recheck(self, *, timeout_seconds: float = 10.0) -> Verdict:
        """Verify the server anew, with a new nonce; raises what `connect` raises.

        After a failure the client stays as it was, and the next call verifies again.
        """
        return self._renew(self._current(), Deadline(timeout_seconds)).verified.verdict

    def close(self) -> None:
        """Close the channel; calls under way end, and calls after it raise ValueError."""
        if not self._process.is_this():
            return  # it is the parent's, and a `with` in a child ends too
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, ask: Callable[[Session], _Result], what: str, deadline: Deadline) -> _Result:
        """Ask, and ask again where that may help: `Attempts` says when."""
        attempts = Attempts(what, deadline)
        gone: Session | None = None
        while True:
            with self._lease(gone, deadline) as session:
                try:
                    return ask(session)
                except grpc.RpcError as error:
                    again = attempts.after(error)
            gone = session if again.verify else None
            sleep(again.wait_seconds)

    @contextmanager
    def _lease(self, gone: Session | None, deadline: Deadline) -> Iterator[Session]:
        """The current session, which is not `gone` and not old; nobody closes it meanwhile."""
        session = self._current()
        while session is gone or session.is_old or not session.uses.begin():
            session = self._renew(session, deadline)
        try:
            yield session
        finally:
            if session.uses.end():
                session.channel.close()

    def _on_root(
        self, model: str, ask: Callable[[Session, bytes], _Result]
    ) -> Callable[[Session], _Result]:
        """Ask for each root that would do; the server says which of them this name means."""

        def on_root(session: Session) -> _Result:
            *others, last = roots_for(self._trust, session.verified, model)
            for root in others:
                try:
                    return ask(session, root)
                except grpc.RpcError as error:
                    if not another_root(error):
                        raise
            return ask(session, last)

        return on_root

    def _renew(self, used: Session, deadline: Deadline) -> Session:
        """The session that follows `used`, which another thread may have made already."""
        if not self._verifying.acquire(timeout=deadline.left()):
            raise deadline.passed()
        try:
            session = self._current()
            if session is used:
                session = _open(self._host, self._port, self._trust, deadline)
                self._replace(used, session)
            return session
        finally:
            self._verifying.release()

    def _replace(self, used: Session, fresh: Session) -> None:
        with self._lock:
            closed = self._session is None
            if not closed:
                self._session = fresh
        retired = fresh if closed else used
        if retired.uses.retire():
            retired.channel.close()
        self._current()

    def _current(self) -> Session:
        self._process.require()
        session = self._session
        if session is None:
            raise ValueError("this client is closed")
        return session


def _open(host: str, port: int, trust: Trust, deadline: Deadline) -> Session:
    """Verify whoever is there; after a handshake that failed, once more from the beginning."""
    try:
        return _attest(host, port, trust, deadline)
    except grpc.RpcError as error:
        if not nobody_answered(error):
            raise no_evidence(error) from error
    try:
        return _attest(host, port, trust, deadline)
    except grpc.RpcError as error:
        raise no_evidence(error) from error


def _attest(host: str, port: int, trust: Trust, deadline: Deadline) -> Session:
    """The whole verification; grpc.RpcError if the challenge was not answered."""
    verification = Verification(trust)
    answer, asked_at = challenged(verification, host, port, deadline)
    verified = verification.accept(answer, now())
    pinned = channel.pinned(host, port, channel.ANSWER_BYTES, *verified.certificates)
    return Session(pinned, verified, asked_at)


class Challenger(Protocol):
    """Steps 1 and 2 of a verification, whoever takes them."""

    def read_certificate(self, der: bytes, now: datetime) -> None: ...
    def challenge(self) -> bytes: ...


def challenged(steps: Challenger, host: str, port: int, deadline: Deadline) -> tuple[bytes, float]:
    """Steps 1 and 2: the answer to the challenge, and when that was made."""
    certificate = fetch_certificate(host, port, deadline)
    steps.read_certificate(certificate, now())
    with channel.pinned(host, port, channel.EVIDENCE_BYTES, certificate) as opened:
        asked_at = elapsed()
        ask = opened.unary_unary(names.GET_EVIDENCE)
        return ask(steps.challenge(), timeout=deadline.left()), asked_at


def _metadata(
    session: Session, model: str, version: str, root: bytes, deadline: Deadline
) -> ModelMetadata:
    key = (model, version, root)
    if key not in session.metadata:
        request = metadata_request(model, version)
        answer = session.call(names.MODEL_METADATA, request, root, deadline)
        session.metadata[key] = read_metadata(answer, model)
    return session.metadata[key]


def _told(session: Session, probe: Probe, deadline: Deadline) -> Told | None:
    """What the server has under this name and version, if anything."""
    model, version, root = probe
    try:
        return root, _metadata(session, model, version, root, deadline)
    except grpc.RpcError as error:
        if unknown_model(error):
            return None
        other = root_of(error, session.verified)
    return other, _metadata(session, model, version, other, deadline)

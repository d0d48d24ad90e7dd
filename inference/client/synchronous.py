"""The client for threads. Verified channels, made anew when a server changed or time passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import grpc

from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.inputs import Cast
from sealserve.inference.client.known_models import ANYBODY, accepted
from sealserve.inference.client.pool import Pool
from sealserve.inference.client.prediction import Question
from sealserve.inference.client.roster import Replica
from sealserve.inference.client.served import Served, survey
from sealserve.inference.client.session import Session
from sealserve.inference.client.targets import Target
from sealserve.inference.client.terms import Terms
from sealserve.inference.wire import names
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.inference.wire.tensor import Array
from sealserve.policy import Trust, Verdict


def connect(
    target: Target,
    trust: Trust,
    *,
    timeout_seconds: float = 10.0,
    connections: int = 1,
    token: str | None = None,
    certificate: Certificate | None = None,
) -> Client:
    """Verify a server, or several replicas of one; returns a client of them, or raises.

    target: `HOST` or `HOST:PORT`; several with commas between them, or a sequence; with
    `dns:///NAME:PORT` each address of that name is a replica. Each is challenged on a channel of
    its own and takes part only if it met every expectation.
    connections: to each replica; one connection is one of a server's workers.
    token: a caller's, for servers that ask for one; sent to nobody who was not verified.
    certificate: a client's, for servers that ask for one in the handshake.
    Raises EvidenceError (not genuine), PolicyViolation (genuine, not acceptable), UnavailableError
    if no replica could be verified; ConfigError (an address or a token that is none, a server that
    wants a client's certificate and is given none). No byte of data leaves before this has
    returned.
    """
    pool = Pool(target, Terms(trust, connections, token, certificate))
    try:
        pool.open(Deadline(timeout_seconds))
    except BaseException:
        pool.close()
        raise
    return Client(pool)


def check(
    target: Target,
    trust: Trust,
    *,
    timeout_seconds: float = 10.0,
    certificate: Certificate | None = None,
) -> Verdict:
    """Verify a server and say what was found; raises what `connect` raises."""
    with connect(target, trust, timeout_seconds=timeout_seconds, certificate=certificate) as client:
        return client.verdict


class Client:
    """A server that was verified, or its replicas. For several threads; not across `fork`.

    Made by `connect`. A call goes to the attested replica with the fewest calls of ours. Evidence
    older than an hour is renewed before the next prediction, and so is the whole verification when
    a replica cannot be reached under the keys it proved; another one is asked meanwhile. A server
    that asks for patience gets it once, within the deadline, where there is no other. In a forked
    child every method but `close` is a RuntimeError.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def verdict(self) -> Verdict:
        """What the last verification that succeeded found."""
        return self._pool.roster.latest.verdict

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every replica in order: its verdict, or the reason why it is left out."""
        return self._pool.replicas

    def models(self) -> dict[str, tuple[str, ...]]:
        """The models that the trust file accepts and a replica serves: roots (hex) by name.

        The names are the trust file's: evidence names roots alone. `served` asks for the server's.
        """
        return accepted(self._pool.terms.trust, self._pool.roster.attested)

    def served(self, *, timeout_seconds: float = 10.0) -> Served:
        """Ask a server under which names and versions it has these models, and what they take.

        Raises what `predict` raises; a model the server does not have is no error here.
        """
        deadline = Deadline(timeout_seconds)

        def ask(session: Session) -> Served:
            steps = survey(self._pool.terms.trust, session.verified)
            step = next(steps)
            while not isinstance(step, Served):
                step = steps.send(session.told(step, deadline))
            return step

        return self._pool.ask(ask, "what the server has", deadline, ANYBODY)

    def metadata(
        self, model: str, *, version: str = "", timeout_seconds: float = 10.0
    ) -> ModelMetadata:
        """Inputs and outputs of a model. Raises what `predict` raises."""
        deadline = Deadline(timeout_seconds)

        def ask(session: Session, root: bytes) -> ModelMetadata:
            return session.about(model, version, root, deadline)

        return self._pool.on_root(model, ask, f"metadata of {model}", deadline)

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
            found = session.about(model, version, root, deadline)
            question = Question.of(found, inputs, version=version, outputs=outputs, cast=cast)
            try:
                answer = session.call(names.MODEL_INFER, question.request, root, deadline)
            except grpc.RpcError as error:
                question.require_taken(error)
                raise
            return question.answer(answer)

        return self._pool.on_root(model, ask, f"prediction by {model}", deadline)

    def recheck(self, *, timeout_seconds: float = 10.0) -> Verdict:
        """Verify every replica anew, with new nonces; raises what `connect` raises.

        Names are looked up again. If no replica passes, the client stays as it was.
        """
        self._pool.recheck(Deadline(timeout_seconds))
        return self.verdict

    def close(self) -> None:
        """Close the channels; calls under way end, and calls after it raise ValueError."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

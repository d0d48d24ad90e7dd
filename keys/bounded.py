"""HTTP for the Azure SDK with an end: in bytes, in seconds, and in how long it may be put off."""

from __future__ import annotations

import io
from contextvars import ContextVar
from typing import Any

import requests
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from sealserve.attestation.deadline import Deadline
from sealserve.keys.unreachable import Peer
from sealserve.native.errors import ReleaseError, UnavailableError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0  # a vault answers in about a second; an HSM may take some
MAX_ANSWER_BYTES = 256 * 1024  # a release answer with x5c has 15 KiB
LONGEST_PAUSE_SECONDS = 8.0
_PIECE_BYTES = 16 * 1024


def transport(
    peer: Peer, authority_path: str | None, *, answer_seconds: float
) -> RequestsTransport:
    """For one vault. authority_path: PEM of the only CA; None is the public ones.

    Neither proxies nor CA bundles of the environment count: nobody measured it.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.mount("https://", _Bounded(peer, answer_seconds))
    return RequestsTransport(
        session=session,
        connection_verify=authority_path or True,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=answer_seconds,
    )


class Patience(RetryPolicy[Any, Any]):
    """The SDK's retries, except that nobody can put us to sleep with a long `Retry-After`."""

    def is_retry(self, settings: Any, response: Any) -> bool:
        """Whether to ask again; a wish for a longer pause than ours is told to the caller."""
        if (self.get_retry_after(response) or 0) > LONGEST_PAUSE_SECONDS:
            return False
        return bool(super().is_retry(settings, response))


_DEADLINE: ContextVar[Deadline] = ContextVar("deadline of the exchange under way")


class _Connection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        if self.sock is not None:
            _DEADLINE.get().watch(self.sock)
        return super().getresponse()


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Bounded(HTTPAdapter):
    def __init__(self, peer: Peer, seconds: float) -> None:
        super().__init__(max_retries=0)
        self._peer = peer
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}
        self._seconds = seconds

    def send(self, request: Any, *_: Any, **options: Any) -> requests.Response:
        """Ask, and read the whole answer within its limits."""
        with Deadline(self._seconds) as deadline:
            set_before = _DEADLINE.set(deadline)
            try:
                response = super().send(request, **{**options, "stream": True})
                response.raw = _Read(_body(response))
            except requests.ConnectionError as error:
                if deadline.passed:
                    raise self._too_late() from error
                failure = self._peer.failure(error)
                if isinstance(failure, ReleaseError):  # asking again, as the SDK would, is no use
                    raise failure from error
                raise
            finally:
                _DEADLINE.reset(set_before)
        if deadline.passed:  # headers that were cut off look whole to http.client
            raise self._too_late()
        return response

    def _too_late(self) -> UnavailableError:
        return self._peer.silent("it did not finish its answer in time")


class _Read(io.BytesIO):
    """A body that was read already, where requests expects one that is yet to come."""


def _body(response: requests.Response) -> bytes:
    body = bytearray()
    try:
        # a packed answer, which we did not ask for, stays packed: limits are on memory
        for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ReleaseError(
                    f"{response.url} answered with more than {MAX_ANSWER_BYTES} bytes"
                )
    except HTTPError as error:
        raise requests.ConnectionError(error) from error
    finally:
        response.raw.close()
    return bytes(body)

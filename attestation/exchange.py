"""One exchange over HTTP with an end: in bytes, in seconds, and at the address that was asked.

For those who fetch evidence or hand it in. Proxies and CA bundles of the environment have no say,
redirects are not followed, and nothing is unpacked, so that a limit on bytes is one on memory.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealserve.attestation.deadline import Deadline

if TYPE_CHECKING:
    import httpx

# Statuses after which the same question may be answered another time.
RETRIED = frozenset({408, 429, 500, 502, 503, 504})


class BrokenOffError(Exception):
    """No whole answer came. late: because its time was up; else the cause says why."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("no whole answer came in time" if late else "the exchange broke off")
        self.late = late


class TooLongError(Exception):
    """The answer has more bytes than this question is worth."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered. body: as it was sent. retry_after_seconds: 0 if it named no time."""

    status: int
    body: bytes
    retry_after_seconds: float


class Exchange:
    """A client that keeps no connection. tls: None is the public web's authorities."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        import httpx  # only who has somebody to ask has it installed

        self._client = httpx.Client(
            verify=tls if tls is not None else True,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # as `Deadline` wants it
            headers={"User-Agent": "sealserve", "Accept-Encoding": "identity"},
        )
        self._failures = (httpx.TransportError,)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, of any status. Raises BrokenOffError, or TooLongError above `limit` bytes."""
        with Deadline(seconds) as deadline:
            try:
                with self._client.stream(
                    method,
                    url,
                    content=body,
                    headers=headers,
                    timeout=seconds,
                    extensions={"trace": deadline.trace},
                ) as response:
                    return Answer(
                        response.status_code,
                        _body(response, limit),
                        _seconds(response.headers.get("Retry-After", "")),
                    )
            except self._failures as error:
                raise BrokenOffError(late=deadline.passed) from error


def words(error: BaseException) -> str:
    """Why an exchange did not come about, in our words: libraries wrap the reason in their own."""
    causes = list(causes_of(error))
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ssl.SSLError):
            why = (cause.reason or "UNKNOWN").replace("_", " ").lower()
            return f"no TLS there ({why})"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, TimeoutError):
            return "nothing came in time"
    return f"the exchange broke off ({type(causes[-1]).__name__})"


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _body(response: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > limit:
            raise TooLongError(f"more than {limit} bytes")
    return bytes(body)


def _seconds(retry_after: str) -> float:
    """Of a `Retry-After` in seconds; a date counts as none."""
    return float(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else 0.0

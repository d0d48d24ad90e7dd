"""The operator's pages: does it live, is it ready, what did it count. Nothing of any request.

    /livez    200 while a process is there that could answer calls
    /readyz   200 while a call would be answered; otherwise 503 with one of a few reasons
    /metrics  the table (metrics.py)

Anybody who reaches the port can read them, so they say what anybody may know. There is nothing to
send: a request with a body is refused unread.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sealserve.inference.server.metrics import exposition
from sealserve.inference.server.table import State, Table

_WORDS: Final = {404: "no such page", 405: "a page is read with GET or HEAD"}
Page = Callable[[str], Response]


class NotReady(enum.StrEnum):
    """Why no call would be answered now."""

    DRAINING = "the server is being stopped"
    STARTING = "models are being opened"
    NOBODY = "no process serves"


def why_not_ready(table: Table) -> NotReady | None:
    """None when it is ready: a process serves that only does so with every model loaded."""
    whole, workers = table.whole(), table.states()
    if whole in (State.DRAINING, State.ENDED):
        return NotReady.DRAINING
    if State.SERVING in workers:
        return None
    if State.STARTING in (whole, *workers):
        return NotReady.STARTING
    return NotReady.DRAINING if State.DRAINING in workers else NotReady.NOBODY


def lives(table: Table) -> bool:
    """Whether a process is there that answers calls, or will."""
    return any(state not in (State.UNUSED, State.ENDED) for state in table.states())


def build(table: Table) -> Starlette:
    """The ASGI application."""
    pages: dict[str, Page] = {
        "/livez": lambda _: _said("lives", 200) if lives(table) else _said(NotReady.NOBODY, 503),
        "/readyz": lambda _: _readiness(table),
        "/metrics": lambda accept: _metrics(table, accept),
    }
    app = Starlette(
        routes=[Route(path, _endpoint(page), methods=["GET"]) for path, page in pages.items()],
        exception_handlers={HTTPException: _refusal},
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(page: Page) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        headers = request.headers
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            return _said("a page is read without sending anything", 413, close=True)
        return page(headers.get("accept", ""))

    return endpoint


def _readiness(table: Table) -> Response:
    reason = why_not_ready(table)
    return _said("ready", 200) if reason is None else _said(f"not ready: {reason}", 503)


def _metrics(table: Table, accept: str) -> Response:
    page, kind = exposition(table, accept)
    return Response(page, headers={"content-type": kind, "cache-control": "no-store"})


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # A refusal before the body was read leaves the connection in the middle of a request.
    response = _said(_WORDS[error.status_code], error.status_code, close=True)
    response.headers.update(error.headers or {})
    return response


def _said(words: str, status: int, *, close: bool = False) -> Response:
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    if close:
        headers["connection"] = "close"
    return Response(f"{words}\n", status, headers)

"""The routes of Microsoft's sidecar: {"error": text} for whatever is not answered.

Programs of this machine may ask, its browsers may not: a page of elsewhere could otherwise have
keys released by a name that resolves to the loopback, or by a form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sealserve.keys.body import Body
from sealserve.keys.incoming import read, unforeseen
from sealserve.keys.refused import Refused, forbidden
from sealserve.keys.sidecar.events import Event
from sealserve.keys.sidecar.service import Sidecar

MAX_BODY_BYTES = 64 * 1024  # 16 KiB of runtime data in base64, or an access token of as much
MAX_AT_ONCE = 8  # each may hold a connection to a vault and a key
WAIT_SECONDS = 30.0  # for one of those to end
_MAX_REASON = 500
_HINT = "keys/sidecar/README.md says what differs from Microsoft's sidecar"
Ask = Callable[[Body], Mapping[str, object]]
Endpoint = Callable[[Request], Awaitable[Response]]


def build(sidecar: Sidecar, hosts: frozenset[str]) -> Starlette:
    """The ASGI application. hosts: how requests may call us in their Host header."""
    answered = _Answered(sidecar, hosts)
    routes = [
        Route("/status", answered.endpoint(lambda _: sidecar.status()), methods=["GET"]),
        *(
            Route(path, answered.endpoint(ask), methods=["POST"])
            for path, ask in {
                "/attest/raw": sidecar.raw,
                "/attest/combined": sidecar.combined,
                "/attest/maa": sidecar.maa,
                "/key/release": sidecar.release,
            }.items()
        ),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})
    app.router.redirect_slashes = False
    return app


def names_of(host: str, port: int) -> frozenset[str]:
    """How a request may call a listener of the loopback. host: an IP address, no brackets."""
    own = f"[{host}]" if ":" in host else host
    names = {"localhost", "127.0.0.1", "[::1]", own}
    # a client leaves out the port of its scheme
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


class _Answered:
    """Turns whatever happens to a request into one JSON answer."""

    def __init__(self, sidecar: Sidecar, hosts: frozenset[str]) -> None:
        self._log = sidecar.log
        self._hosts = hosts
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    def endpoint(self, ask: Ask) -> Endpoint:
        """Check who asks and how, read the body, ask in a thread."""

        async def endpoint(request: Request) -> Response:
            try:
                self._require_no_browser(request)
                body = await self._body(request)
                return JSONResponse(await self._asked(ask, body))
            except Refused as refused:
                self._log(
                    Event.REFUSED,
                    what=request.url.path,
                    status=refused.status,
                    reason=refused.message[:_MAX_REASON],
                )
                return _error(refused.status, refused.message)
            except Exception as error:  # the last line of defence: its text may quote a key
                self._log(Event.FAILED, what=request.url.path, error=unforeseen(error))
                return _error(500, "the sidecar failed; its log says where")

        return endpoint

    def _require_no_browser(self, request: Request) -> None:
        host = ", ".join(request.headers.getlist("host"))
        if host.lower() not in self._hosts:
            ours = " or ".join(sorted(self._hosts))
            raise forbidden(f"Host {ascii(host)[1:81]} is not this sidecar; ask {ours}")
        for header in ("origin", "sec-fetch-site"):
            if header in request.headers:
                raise forbidden(f"a request with the header {header} comes from a browser")

    async def _body(self, request: Request) -> Body:
        if request.method != "POST":
            return Body({}, "the request")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(
                415, "UnsupportedMediaType", "the request needs Content-Type: application/json"
            )
        return Body.parse(await read(request, MAX_BODY_BYTES))

    async def _asked(self, ask: Ask, body: Body) -> Mapping[str, object]:
        try:
            await asyncio.wait_for(self._places.acquire(), WAIT_SECONDS)
        except TimeoutError:
            raise Refused(
                503, "Busy", f"{MAX_AT_ONCE} requests are under way and none of them ends"
            ) from None
        try:
            return await run_in_threadpool(ask, body)
        finally:
            self._places.release()


async def _no_such_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return _error(error.status_code, "the sidecar has no such operation", headers)


def _error(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    # a refusal before the body was read leaves the connection in the middle of a request
    return JSONResponse(
        {"error": f"{why}\n{_HINT}"}, status, {**(headers or {}), "Connection": "close"}
    )

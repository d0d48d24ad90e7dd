"""From HTTP to one question and one JSON answer, whatever happens in between."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sealserve.keys.body import MAX_BODY_BYTES, Body
from sealserve.keys.incoming import read, unforeseen
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.trustd.events import Event, log
from sealserve.native.errors import SealserveError, UnavailableError

_API_VERSION = re.compile(r"[0-9]+(?:[.-][0-9]+)*(?:-preview(?:\.[0-9]+)?)?")
_MAX_REASON = 500
Answer = dict[str, Any]
Ask = Callable[[Request, Body], Answer | None]
Endpoint = Callable[[Request], Awaitable[Response]]


def route(path: str, media_type: str = "application/json", /, **asks: Ask) -> Route:
    """One path; `asks` by method. HEAD asks what GET does."""
    return Route(path, _answered(asks, media_type), methods=list(asks))


def _answered(asks: Mapping[str, Ask], media_type: str) -> Endpoint:
    """Read the body, ask in a thread, and turn whatever happens into one JSON answer."""

    async def endpoint(request: Request) -> Response:
        ask = asks["GET" if request.method == "HEAD" else request.method]
        try:
            body = await _body(request)
            answer = await run_in_threadpool(ask, request, body)
            if answer is None:
                return Response(status_code=204)
            return JSONResponse(answer, media_type=media_type)
        except Refused as refused:
            return _refusal(request, refused)
        except UnavailableError as error:
            log(Event.FAILED, what=request.url.path[:200], error=error.message)
            return _error(503, "ServiceUnavailable", "the service cannot use its database", {})
        except SealserveError as error:
            log(Event.FAILED, what=request.url.path[:200], error=error.message)
            return _error(500, "InternalError", "the service cannot read its own records", {})
        except Exception as error:  # the last line of defence: its text may quote a key
            log(Event.FAILED, what=request.url.path[:200], error=unforeseen(error))
            return _error(500, "InternalError", "the service failed; its log says where", {})

    return endpoint


async def _body(request: Request) -> Body:
    """The JSON body, or an empty one: the SDK's first request has none, to see the challenge."""
    data = b"" if request.method == "GET" else await read(request, MAX_BODY_BYTES)
    return Body.parse(data) if data else Body({}, "the request")


def bearer(request: Request) -> str:
    """The bearer token that came along, "" without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def api_version(request: Request) -> str:
    """The version of the protocol that was asked for. Raises Refused."""
    version = request.query_params.get("api-version", "")
    if len(version) > 32 or not _API_VERSION.fullmatch(version):
        raise bad_parameter("the query parameter api-version is missing or not a version")
    return version


def _refusal(request: Request, refused: Refused) -> Response:
    # The first request of every SDK is a 401 and says nothing. Only its owner gets to hear that a
    # key is not there, and `publish` looks before it makes one.
    looked = refused.status == 404 and request.method in ("GET", "HEAD")
    if refused.status != 401 and not looked:
        log(
            Event.REFUSED,
            what=request.url.path[:200],
            status=refused.status,
            reason=refused.message[:_MAX_REASON],
        )
    return _error(refused.status, refused.code, refused.message, refused.headers)


async def no_such_route(_: Request, error: Exception) -> Response:
    """What the router says where it knows no such path or method."""
    assert isinstance(error, HTTPException)
    code = "MethodNotAllowed" if error.status_code == 405 else "NotFound"
    told = "this service has no such operation"
    return _error(error.status_code, code, told, dict(error.headers or {}))


def _error(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    # a refusal before the body was read leaves the connection in the middle of a request
    headers = {**headers, "Connection": "close"} if status in (408, 413) else headers
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)

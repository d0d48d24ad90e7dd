"""One call of a local program, passed on as bytes to a replica that is attested, and back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import ANYBODY, having
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.prediction import require_roots_among
from sealserve.inference.client.session_async import AsyncSession
from sealserve.inference.proxy.events import Event, log
from sealserve.inference.proxy.failures import (
    CallFailedError,
    Status,
    our_status,
    passed_on,
    server_status,
)
from sealserve.inference.proxy.head import ABOUT_A_MODEL, ABOUT_NONE, model_of
from sealserve.inference.wire import names

# For a caller who set no deadline; servers give up after a minute if they are not told otherwise.
_PATIENCE_SECONDS: Final = 120.0
_LEAST_SECONDS: Final = 0.001
_OLD: Final[Status] = (
    grpc.StatusCode.UNAVAILABLE,
    "the server's evidence is too old for more on this stream: open another one",
    (),
)


class Forwarding(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The calls of the protocol, without the two that change a server; all others are refused."""

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        """Handlers without serializers: a message stays the bytes it is."""
        method: str = details.method
        if method == names.MODEL_STREAM_INFER:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        if method in ABOUT_A_MODEL | ABOUT_NONE:
            return grpc.unary_unary_rpc_method_handler(partial(self._unary, method))
        return None

    async def _unary(self, method: str, data: bytes, context: Any) -> bytes:
        try:
            return await self._passed(method, data, context)
        except Exception as error:  # every failure becomes a status
            status = _status(method, error)
        await context.abort(*status)
        raise AssertionError("abort raises")

    async def _passed(self, method: str, data: bytes, context: Any) -> bytes:
        """The answer of a replica; another one is asked where nobody answers."""
        deadline = Deadline(_seconds(context))
        model = model_of(data) if method in ABOUT_A_MODEL else ""

        async def ask(session: AsyncSession, root: bytes = b"") -> bytes:
            answer = await session.call(method, data, root, deadline)
            if root:
                context.set_trailing_metadata(((names.MODEL_ROOT_KEY, root.hex()),))
            return answer

        if model:
            return await self._pool.on_root(model, ask, method, deadline, CallFailedError)
        return await self._pool.ask(ask, method, deadline, ANYBODY, CallFailedError)

    async def _stream(self, _requests: Any, context: Any) -> None:
        try:
            status = await self._streamed(context)
        except Exception as error:  # every failure becomes a status
            status = _status(names.MODEL_STREAM_INFER, error)
        if status is not None:
            await context.abort(*status)

    async def _streamed(self, context: Any) -> Status | None:
        """One stream from its first message to its end; what was sent is never sent again."""
        first = await context.read()
        if first is grpc.aio.EOF:
            return None
        wanted = having(self._pool.terms.trust, model_of(first))
        async with self._pool.leased(wanted, (), Deadline(_seconds(context))) as (seat, session):
            stream = session.stream(names.MODEL_STREAM_INFER, context.time_remaining())
            sending = asyncio.create_task(_send(first, context, stream, session))
            del first
            try:
                with suppress(grpc.RpcError):  # its status is read next
                    while (answer := await stream.read()) is not grpc.aio.EOF:
                        await context.write(answer)
                status = await _end(stream, session, context)
                too_old = sending.done() and not sending.cancelled() and sending.result()
            finally:
                sending.cancel()
                stream.cancel()
            if status is not None and _is_gone(status):
                await self._pool.leave(seat, session)
        return status or (_OLD if too_old else None)


async def _send(first: bytes, context: Any, stream: Any, session: AsyncSession) -> bool:
    """Pass on what comes, each when the one before was taken. Whether the evidence got too old."""
    message = first
    with suppress(grpc.RpcError, asyncio.InvalidStateError):  # the stream's own end tells why
        while message is not grpc.aio.EOF and not session.is_old:
            await stream.write(message)
            message = await context.read()
        await stream.done_writing()
    return message is not grpc.aio.EOF and session.is_old


async def _end(stream: Any, session: AsyncSession, context: Any) -> Status | None:
    """How the server ended it; None is well."""
    code = await stream.code()
    trailing = list(await stream.trailing_metadata() or ())
    if code is not grpc.StatusCode.OK:
        return server_status(code, await stream.details(), trailing)
    require_roots_among(trailing, session.roots)
    context.set_trailing_metadata(passed_on(trailing))
    return None


def _is_gone(status: Status) -> bool:
    """Whether nobody answers under what was proven: UNAVAILABLE, and no word on when it is not."""
    code, _, trailing = status
    told = any(key == names.RETRY_PUSHBACK_KEY for key, _ in trailing)
    return code is grpc.StatusCode.UNAVAILABLE and not told


def _seconds(context: Any) -> float:
    """How long the caller waits."""
    left = context.time_remaining()
    return _PATIENCE_SECONDS if left is None else min(max(left, _LEAST_SECONDS), _PATIENCE_SECONDS)


def _status(method: str, error: Exception) -> Status:
    status = our_status(error)
    if status is None:
        log(Event.CALL_FAILED, method=method, error=type(error).__name__)
        return grpc.StatusCode.INTERNAL, "the proxy failed on this call", ()
    return status

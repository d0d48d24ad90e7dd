"""What every call meets first, before its message is read: the limits of its peer, and who it is.

It stands before all services, health and reflection included. Handlers behind it find the place of
their call in `peers.PLACE` and say there what their messages take.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, cast

import grpc

from sealserve.inference.server.callers import admit
from sealserve.inference.server.calls import Count, require_small, status_of
from sealserve.inference.server.config import Callers
from sealserve.inference.server.peers import PLACE, Peers, Place
from sealserve.inference.server.table import METHODS, Slot
from sealserve.inference.transport.server import Server
from sealserve.inference.wire import names
from sealserve.native.errors import InputError

# Of our services; what others there are (health, reflection) is open too.
_OPEN: Final = frozenset({names.GET_EVIDENCE, names.SERVER_LIVE, names.SERVER_READY})
_OURS: Final = (f"/{names.INFERENCE_SERVICE}/", f"/{names.ATTESTATION_SERVICE}/")
_Method = Callable[[Any, Any], Any]


class Door:
    """Handlers are added here instead of to the server, which gets them guarded."""

    def __init__(
        self,
        server: Server,
        peers: Peers,
        callers: Callers,
        slot: Slot,
        *,
        message_bytes: int,
    ) -> None:
        """slot: counts what is refused."""
        self._server = server
        self._peers = peers
        self._callers = callers
        self._slot = slot
        self._message_bytes = message_bytes

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Guarded(self, each) for each in handlers))

    def add_registered_method_handlers(self, _service: str, _handlers: Any) -> None:
        """Not added: a shorter way to the same handlers, which would lead past the door."""

    def guard(self, path: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The same handler behind the door, where the one message of a call is awaited as well."""
        every: Any = handler
        takes, gives = (
            "stream" if streams else "unary"
            for streams in (every.request_streaming, every.response_streaming)
        )
        method = getattr(every, f"{takes}_{gives}")
        guarded = self._guarded(path, method, one=not every.request_streaming)
        kind = _KINDS[gives]
        return kind(guarded, every.request_deserializer, every.response_serializer)

    def _guarded(self, path: str, method: _Method, *, one: bool) -> _Method:
        async def call(requests: Any, context: Any) -> Any:
            PLACE.set(await self._enter(path, context))
            request = await self._only_message(path, context) if one else requests
            return await method(request, context)

        async def generate(requests: Any, context: Any) -> AsyncIterator[Any]:
            await self._enter(path, context)
            request = await self._only_message(path, context) if one else requests
            async for each in method(request, context):
                yield each

        # The transport looks at what a handler is, too.
        return generate if inspect.isasyncgenfunction(method) else call

    async def _enter(self, path: str, context: Any) -> Place:
        """The call's place; a call that gets none is told why, and ends."""
        ours = path.startswith(_OURS)
        try:
            # The length of other services' messages is not told.
            place = self._peers.enter(context.peer(), self._message_bytes if ours else 0)
            if ours and path not in _OPEN and self._callers.tokens:
                self._require_caller(place, context)
            # Not when the handler is done: an answer that nobody reads still takes a place.
            context.add_done_callback(lambda _context: place.leave())
            return place
        except Exception as error:
            status = status_of(path.rpartition("/")[2], error, context)
        self._count(path.rpartition("/")[2], status[0].value[0])
        await context.abort(*status)
        raise AssertionError("abort raises")

    async def _only_message(self, path: str, context: Any) -> Any:
        """Of a service that is not ours: a `Watch` keeps it as long as its connection lives."""
        request = await context.only_message()
        try:
            require_small(request.ByteSize())
        except InputError as error:
            status = status_of(path.rpartition("/")[2], error, context)
        else:
            return request
        del request
        await context.abort(*status)
        raise AssertionError("abort raises")

    def _require_caller(self, place: Place, context: Any) -> None:
        try:
            admit(self._callers, context.invocation_metadata() or ())
        except BaseException:
            place.leave()
            raise

    def _count(self, method: str, outcome: int) -> None:
        if method in METHODS:
            count = Count(self._slot, method)
            count.leave(count.enter(), outcome)


class _Guarded(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, door: Door, handlers: grpc.GenericRpcHandler) -> None:
        self._door = door
        self._handlers = handlers
        self._guarded: dict[str, grpc.RpcMethodHandler] = {}  # as many as there are methods

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        path = cast(str, details.method)
        found = self._guarded.get(path)
        if found is None:
            handler = self._handlers.service(details)
            if handler is None:
                return None
            found = self._guarded[path] = self._door.guard(path, handler)
        return found


_KINDS: Final[dict[str, Callable[..., grpc.RpcMethodHandler]]] = {
    "unary": grpc.stream_unary_rpc_method_handler,
    "stream": grpc.stream_stream_rpc_method_handler,
}

"""How a handler is run, whichever of gRPC's four kinds it is."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from sealserve.inference.transport.call import Call

Codec = Callable[[Any], Any]


def _as_it_is(message: Any) -> Any:
    return message


@dataclass(frozen=True, slots=True)
class Method:
    """A `grpc.RpcMethodHandler`, looked at once. generates: its answers are yielded."""

    function: Callable[[Any, Any], Any]
    takes_many: bool
    gives_many: bool
    decode: Codec
    encode: Codec
    generates: bool

    @classmethod
    def of(cls, handler: grpc.RpcMethodHandler) -> Method:
        every: Any = handler
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (every.request_streaming, every.response_streaming)
        )
        function = getattr(every, kind)
        return cls(
            function,
            bool(every.request_streaming),
            bool(every.response_streaming),
            every.request_deserializer or _as_it_is,
            every.response_serializer or _as_it_is,
            inspect.isasyncgenfunction(function),
        )

    async def answer(self, call: Call) -> None:
        """All of a call, but its status."""
        request = call if self.takes_many else await call.only_message()
        if self.generates:
            async for each in self.function(request, call):
                await call.write(each)
            return
        answer: Awaitable[Any] = self.function(request, call)
        message = await answer
        if not self.gives_many:
            call.put(message)

"""The calls of the protocol. Handlers get and give bytes; what they raise becomes a status here.

A caller learns the class of a failure and both sides of a mismatch in what it sent itself. What
nobody foresaw is INTERNAL without a word more, and the log gets its type, never its text.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from sealserve.inference.server.admission import Admission, BusyError
from sealserve.inference.server.challenge import ChallengeWindow, peer_of
from sealserve.inference.server.config import Limits
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.registry import (
    Registry,
    RootMismatchError,
    ServedSession,
    UnknownModelError,
    require_root,
)
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.inference.wire.infer import IncomingRequest, InferResponse, encode_response
from sealserve.native.errors import InputError, SealserveError, UnavailableError

_VERSION: Final = importlib.metadata.version("sealserve")
# A message travels as an HTTP/2 header, up to 12 bytes a character, of which clients take 8 KiB;
# the names it quotes are the caller's own and may be long.
_MAX_WORDS: Final = 500
# Of every call but a prediction: names, a version, a nonce.
_MAX_SMALL_BYTES: Final = 64 * 1024
Handler = Callable[[bytes, Any], Awaitable[bytes]]

# First match counts. What is not here is INTERNAL.
_STATUS: Final = (
    (UnknownModelError, grpc.StatusCode.NOT_FOUND),
    (RootMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
)


class InferenceService:
    """Both services of a server, over its models."""

    def __init__(
        self,
        registry: Registry,
        challenges: ChallengeWindow,
        admission: Admission,
        *,
        limits: Limits,
        require_root: bool,
    ) -> None:
        self._registry = registry
        self._challenges = challenges
        self._admission = admission
        self._limits = limits
        self._require_root = require_root
        self.ready = True

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """To be added to a `grpc.aio` server. They take no serializers: see wire/message.py."""
        methods: Mapping[str, Handler] = {
            names.SERVER_LIVE: self._server_live,
            names.SERVER_READY: self._server_ready,
            names.SERVER_METADATA: self._server_metadata,
            names.MODEL_READY: self._model_ready,
            names.MODEL_METADATA: self._model_metadata,
            names.MODEL_INFER: self._model_infer,
            names.GET_EVIDENCE: self._get_evidence,
        }
        by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for path, handler in methods.items():
            _, service, method = path.split("/")
            # As a stream, though it is one message: gRPC then leaves the waiting for it to us.
            by_service.setdefault(service, {})[method] = grpc.stream_unary_rpc_method_handler(
                _with_status(method, handler, self._limits.request_seconds)
            )
        return tuple(
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in by_service.items()
        )

    async def _server_live(self, data: bytes, _context: Any) -> bytes:
        _parse(pb.ServerLiveRequest(), data)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def _server_ready(self, data: bytes, _context: Any) -> bytes:
        _parse(pb.ServerReadyRequest(), data)
        return pb.ServerReadyResponse(ready=self.ready).SerializeToString()

    async def _server_metadata(self, data: bytes, _context: Any) -> bytes:
        _parse(pb.ServerMetadataRequest(), data)
        return pb.ServerMetadataResponse(name="sealserve", version=_VERSION).SerializeToString()

    async def _model_ready(self, data: bytes, context: Any) -> bytes:
        request = pb.ModelReadyRequest()
        _parse(request, data)
        try:
            self._find(request.name, request.version, context)
        except UnknownModelError:
            return pb.ModelReadyResponse(ready=False).SerializeToString()
        return pb.ModelReadyResponse(ready=self.ready).SerializeToString()

    async def _model_metadata(self, data: bytes, context: Any) -> bytes:
        request = pb.ModelMetadataRequest()
        _parse(request, data)
        model = self._find(request.name, request.version, context)
        return self._registry.metadata(model).encode().SerializeToString()

    async def _model_infer(self, data: bytes, context: Any) -> bytes:
        incoming = IncomingRequest(data)
        model = self._find(incoming.model, incoming.version, context)
        # Only now: the root is the right one. Whatever takes longer for more contents is done in
        # a thread, once there is room for it.
        incoming.check_against(model.session.inputs, model.session.outputs)
        return await self._admission.run(lambda: _predict(model, incoming))

    async def _get_evidence(self, data: bytes, context: Any) -> bytes:
        request = GetEvidenceRequest()
        _parse(request, data)
        if len(request.nonce) != names.NONCE_BYTES:
            raise InputError(
                f"the nonce has {len(request.nonce)} bytes; {names.NONCE_BYTES} are needed"
            )
        answer = await self._challenges.ask(request.nonce, peer_of(context.peer()))
        return GetEvidenceResponse(
            evidence=answer.evidence, next_certificate=answer.next_certificate
        ).SerializeToString()

    def _find(self, name: str, version: str, context: Any) -> ServedSession:
        """The model meant, if the caller verified its root; the answer repeats that root."""
        model = self._registry.find(name, version)
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, model.root.hex()),))
        named = [v for k, v in context.invocation_metadata() or () if k == names.MODEL_ROOT_KEY]
        require_root(model, named, required=self._require_root)
        return model


def _predict(model: ServedSession, incoming: IncomingRequest) -> bytes:
    request = incoming.decode()
    outputs = model.session.run(request)
    return encode_response(InferResponse(model.name, model.version, outputs, request.id))


def _with_status(
    method: str, handler: Handler, seconds: float
) -> Callable[[Any, Any], Awaitable[bytes]]:
    """seconds: longest a call may take, from its headers to its answer."""

    async def handle(_messages: Any, context: Any) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await handler(await _read(context), context)
        except Exception as error:  # every failure becomes a status, and none is quoted
            status = _status(method, error, context)
        # Outside of `except`: gRPC keeps what `abort` raises, in a cycle, and what that was raised
        # from would stay with it, with every frame that has the message.
        await context.abort(*status)
        raise AssertionError("abort raises")

    return handle


async def _read(context: Any) -> bytes:
    """The one message of a call."""
    message = await context.read()
    if message is grpc.aio.EOF:
        raise InputError("the call ended before its message came")
    data: bytes = message
    return data


def _status(method: str, error: Exception, context: Any) -> tuple[Any, str, tuple[Any, ...]]:
    """What `abort` takes: code, words, trailing metadata."""
    trailing = context.trailing_metadata() or ()
    for kind, code in _STATUS:
        if isinstance(error, kind):
            return code, _words(error), (*trailing, *_pushback(error))
    log(Event.REQUEST_FAILED, method=method, error=type(error).__name__)
    return grpc.StatusCode.INTERNAL, "the server failed on this request", trailing


def _words(error: Exception) -> str:
    if not isinstance(error, SealserveError):
        return "the request took too long"
    return error.message if len(error.message) <= _MAX_WORDS else f"{error.message[:_MAX_WORDS]}…"


def _pushback(error: Exception) -> tuple[tuple[str, str], ...]:
    seconds = getattr(error, "retry_after_seconds", 0.0)
    return ((names.RETRY_PUSHBACK_KEY, str(int(seconds * 1000))),) if seconds else ()


def _parse(message: Message, data: bytes) -> None:
    if len(data) > _MAX_SMALL_BYTES:
        raise InputError(f"the message has {len(data)} bytes; {_MAX_SMALL_BYTES} are enough here")
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InputError("the message is not a protobuf message of this call") from error

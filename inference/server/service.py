"""The calls of the protocol: handlers that get and give bytes, and raise what `calls.py` tells."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Final

import grpc

from sealserve.inference.server.admission import Admission
from sealserve.inference.server.calls import ROW, Handler, parse, with_status
from sealserve.inference.server.challenge import ChallengeWindow, peer_of
from sealserve.inference.server.config import Limits
from sealserve.inference.server.registry import (
    Registry,
    ServedSession,
    UnknownModelError,
    require_root,
)
from sealserve.inference.server.table import Slot
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.inference.wire.infer import IncomingRequest, InferResponse, encode_response
from sealserve.native.errors import InputError

_VERSION: Final = importlib.metadata.version("sealserve")


class InferenceService:
    """Both services of a server, over its models."""

    def __init__(
        self,
        registry: Registry,
        challenges: ChallengeWindow,
        admission: Admission,
        slot: Slot,
        *,
        limits: Limits,
        require_root: bool,
    ) -> None:
        self._registry = registry
        self._challenges = challenges
        self._admission = admission
        self._slot = slot
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
                with_status(method, handler, self._limits.request_seconds, self._slot)
            )
        return tuple(
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in by_service.items()
        )

    async def _server_live(self, data: bytes, _context: Any) -> bytes:
        parse(pb.ServerLiveRequest(), data)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def _server_ready(self, data: bytes, _context: Any) -> bytes:
        parse(pb.ServerReadyRequest(), data)
        return pb.ServerReadyResponse(ready=self.ready).SerializeToString()

    async def _server_metadata(self, data: bytes, _context: Any) -> bytes:
        parse(pb.ServerMetadataRequest(), data)
        return pb.ServerMetadataResponse(name="sealserve", version=_VERSION).SerializeToString()

    async def _model_ready(self, data: bytes, context: Any) -> bytes:
        request = pb.ModelReadyRequest()
        parse(request, data)
        try:
            self._find(request.name, request.version, context)
        except UnknownModelError:
            return pb.ModelReadyResponse(ready=False).SerializeToString()
        return pb.ModelReadyResponse(ready=self.ready).SerializeToString()

    async def _model_metadata(self, data: bytes, context: Any) -> bytes:
        request = pb.ModelMetadataRequest()
        parse(request, data)
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
        parse(request, data)
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
        ROW.set(self._slot.row_of(model.root))
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, model.root.hex()),))
        named = [v for k, v in context.invocation_metadata() or () if k == names.MODEL_ROOT_KEY]
        require_root(model, named, required=self._require_root)
        return model


def _predict(model: ServedSession, incoming: IncomingRequest) -> bytes:
    request = incoming.decode()
    outputs = model.session.run(request)
    return encode_response(InferResponse(model.name, model.version, outputs, request.id))

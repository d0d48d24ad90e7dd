"""The calls of the protocol: handlers that get and give bytes, and raise what `calls.py` tells."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter_ns
from typing import Any, Final

import grpc

from sealserve.inference.server.calls import ROW, Handler, parse, with_status
from sealserve.inference.server.challenge import ChallengeWindow, peer_of
from sealserve.inference.server.config import Limits
from sealserve.inference.server.model_config import encode_config
from sealserve.inference.server.predictions import Prediction, Predictions
from sealserve.inference.server.registry import (
    Registry,
    ServedSession,
    UnknownModelError,
    require_root,
    require_root_among,
)
from sealserve.inference.server.repository import (
    READY,
    UNAVAILABLE,
    Entry,
    encode_index,
    refuse_control,
)
from sealserve.inference.server.statistics import Connections, Counters, encode_statistics
from sealserve.inference.server.streaming import Streams
from sealserve.inference.server.table import Slot, Timing
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.inference.wire.infer import (
    IncomingRequest,
    InferResponse,
    encode_response,
    encode_stream_response,
)
from sealserve.native.errors import InputError

_VERSION: Final = importlib.metadata.version("sealserve")
# By Triton's names. The repository has an index here, and no more.
_EXTENSIONS: Final = ("model_configuration", "model_repository", "statistics")
_Encode = Callable[[InferResponse], bytes]


class InferenceService:
    """Both services of a server, over its models."""

    def __init__(
        self,
        registry: Registry,
        challenges: ChallengeWindow,
        predictions: Predictions,
        slot: Slot,
        *,
        limits: Limits,
        require_root: bool,
    ) -> None:
        self._registry = registry
        self._challenges = challenges
        self._predictions = predictions
        self._slot = slot
        self._limits = limits
        self._require_root = require_root
        # What streams read has room to wait in, so that a stream is slowed down and not refused.
        self._streams = Streams(seconds=limits.request_seconds, requests=limits.waiting, slot=slot)
        self._connections = Connections()
        self.ready = True

    def drain(self) -> None:
        """Not ready any more; streams end once what they sent is answered."""
        self.ready = False
        self._streams.drain()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """To be added to the transport. They take no serializers: see wire/message.py."""
        methods: Mapping[str, Handler] = {
            names.SERVER_LIVE: self._server_live,
            names.SERVER_READY: self._server_ready,
            names.SERVER_METADATA: self._server_metadata,
            names.MODEL_READY: self._model_ready,
            names.MODEL_METADATA: self._model_metadata,
            names.MODEL_INFER: self._model_infer,
            names.MODEL_CONFIG: self._model_config,
            names.MODEL_STATISTICS: self._model_statistics,
            names.REPOSITORY_INDEX: self._repository_index,
            names.REPOSITORY_MODEL_LOAD: refuse_control,
            names.REPOSITORY_MODEL_UNLOAD: refuse_control,
            names.GET_EVIDENCE: self._get_evidence,
        }
        by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for path, handler in methods.items():
            _, service, method = path.split("/")
            # As a stream, though it is one message: the waiting for it is left to us then.
            by_service.setdefault(service, {})[method] = grpc.stream_unary_rpc_method_handler(
                with_status(method, handler, self._limits.request_seconds, self._slot)
            )
        _, service, method = names.MODEL_STREAM_INFER.split("/")
        by_service[service][method] = grpc.stream_stream_rpc_method_handler(self._model_stream)
        return tuple(
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in by_service.items()
        )

    async def _server_live(self, data: memoryview, _context: Any) -> bytes:
        parse(pb.ServerLiveRequest(), data)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def _server_ready(self, data: memoryview, _context: Any) -> bytes:
        parse(pb.ServerReadyRequest(), data)
        return pb.ServerReadyResponse(ready=self.ready).SerializeToString()

    async def _server_metadata(self, data: memoryview, _context: Any) -> bytes:
        parse(pb.ServerMetadataRequest(), data)
        return pb.ServerMetadataResponse(
            name="sealserve", version=_VERSION, extensions=_EXTENSIONS
        ).SerializeToString()

    async def _model_ready(self, data: memoryview, context: Any) -> bytes:
        request = pb.ModelReadyRequest()
        parse(request, data)
        try:
            self._find(request.name, request.version, context)
        except UnknownModelError:
            return pb.ModelReadyResponse(ready=False).SerializeToString()
        return pb.ModelReadyResponse(ready=self.ready).SerializeToString()

    async def _model_metadata(self, data: memoryview, context: Any) -> bytes:
        request = pb.ModelMetadataRequest()
        parse(request, data)
        model = self._find(request.name, request.version, context)
        return self._registry.metadata(model).encode().SerializeToString()

    async def _model_config(self, data: memoryview, context: Any) -> bytes:
        request = pb.ModelConfigRequest()
        parse(request, data)
        model = self._find(request.name, request.version, context)
        options = model.options
        return encode_config(
            self._registry.metadata(model),
            max_batch_size=options.batch_rows if model.shares_runs else 0,
            delay_seconds=options.batch_delay_ms / 1000,
        ).SerializeToString()

    async def _model_statistics(self, data: memoryview, context: Any) -> bytes:
        request = pb.ModelStatisticsRequest()
        parse(request, data)
        if request.name:
            self._find(request.name, request.version, context)
        counted = self._connections.of(context.connection)
        return encode_statistics(
            request,
            ((m.name, m.version, counted.get(m.root, Counters())) for m in self._registry),
        ).SerializeToString()

    async def _repository_index(self, data: memoryview, _context: Any) -> bytes:
        request = pb.RepositoryIndexRequest()
        parse(request, data)
        return encode_index(request, self._entries()).SerializeToString()

    def _entries(self) -> Iterator[Entry]:
        state, reason = (READY, "") if self.ready else (UNAVAILABLE, "the server is being stopped")
        for model in self._registry:
            yield Entry(model.name, model.version, state, reason)

    async def _model_infer(self, data: memoryview, context: Any) -> bytes:
        incoming = IncomingRequest(data)
        model = self._find(incoming.model, incoming.version, context)
        return await self._predict(model, incoming, context, encode_response)

    async def _model_stream(self, _messages: Any, context: Any) -> None:
        named = frozenset(_roots(context))
        verified: set[bytes] = set()

        async def predict(incoming: IncomingRequest) -> bytes:
            model = self._registry.find(incoming.model, incoming.version)
            ROW.set(self._slot.row_of(model.root))  # each request runs in a task of its own
            if model.root not in verified:
                _repeat_root(context, model)
                require_root_among(model, named, required=self._require_root)
                verified.add(model.root)
            return await self._predict(model, incoming, context, encode_stream_response)

        await self._streams.serve(context, predict)

    async def _predict(
        self, model: ServedSession, incoming: IncomingRequest, context: Any, encode: _Encode
    ) -> bytes:
        """The answer to a request for this model, counted for the connection it came on."""
        asked = perf_counter_ns()
        counters = self._connections.counters(context.connection, model.root)
        try:
            self._predictions.require_room(model, incoming)
            # Only now: the root is the right one. Whatever takes longer for more contents is done
            # in a thread, once there is room for it.
            incoming.check_against(model.session.inputs, model.session.outputs)
            # The caller's own patience, where it told of any; 0 is none told.
            told = incoming.timeout_seconds
            left = context.time_remaining()
            prediction = Prediction(incoming, encode, asked)
            seconds = min(
                self._limits.request_seconds,
                self._limits.request_seconds if left is None else left,
                told or self._limits.request_seconds,
            )
            work = self._predictions.run(model, prediction, seconds=seconds)
            answer, times = await (asyncio.wait_for(work, told) if told else work)
            most = self._limits.message_bytes
            if len(answer) > most:  # it would take memory until its caller has read it
                raise InputError(f"the answer has more than {most} bytes, which are the most")
        except BaseException:  # whoever went away is counted too
            counters.failure(perf_counter_ns() - asked)
            raise
        # Its own rows: how many others' there were in the same run is not its caller's business.
        counters.success(times, rows=incoming.shapes[0][2][0] if model.shares_runs else 1)
        row = ROW.get()
        self._slot.took(row, Timing.WAITED, times.began - times.asked)
        self._slot.took(row, Timing.RAN, times.encoded - times.began)
        return answer

    async def _get_evidence(self, data: memoryview, context: Any) -> bytes:
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
        _repeat_root(context, model)
        require_root(model, _roots(context), required=self._require_root)
        return model


def _roots(context: Any) -> list[str]:
    """Every root that a caller names."""
    return [v for k, v in context.invocation_metadata() or () if k == names.MODEL_ROOT_KEY]


def _repeat_root(context: Any, model: ServedSession) -> None:
    """Tell in the answer whose it is; a stream tells of every model it used."""
    told = tuple(context.trailing_metadata() or ())
    root = (names.MODEL_ROOT_KEY, model.root.hex())
    if root not in told:
        context.set_trailing_metadata((*told, root))

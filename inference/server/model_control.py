"""Loading and unloading, on the operator's Unix socket and nowhere else.

A request names one of the models of the command line and brings nothing else. Triton's requests may
bring a model's files and its configuration; such a request is always refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import grpc

from sealserve.inference.server.calls import Handler, parse, with_status
from sealserve.inference.server.commands import KnownModel, Refusal, RefusedCommandError
from sealserve.inference.server.registry import NotDoneError, UnknownModelError
from sealserve.inference.server.repository import (
    UNAVAILABLE,
    Entry,
    encode_index,
    require_no_repository,
)
from sealserve.inference.server.statistics import Counters, encode_statistics
from sealserve.inference.server.table import Slot
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.native.errors import InputError

_DEPENDENTS: Final = "unload_dependents"  # of an ensemble, which none of ours is
# What is no matter of waiting; the other refusals are, and stay UNAVAILABLE.
_REFUSALS: Final = {
    Refusal.UNKNOWN_MODEL: UnknownModelError,
    Refusal.LAST_MODEL: NotDoneError,
    Refusal.NOT_OPENED: NotDoneError,
}
Totals = Callable[[], Iterable[tuple[str, str, Counters]]]


class ModelControl(Protocol):
    """Who does what the operator's socket asks for: `commands.Commander`. Its methods block."""

    def load(self, model: str) -> None: ...
    def unload(self, model: str) -> None: ...
    def models(self) -> Iterable[KnownModel]: ...


def control_handlers(
    control: ModelControl, totals: Totals, slot: Slot, *, seconds: float
) -> grpc.GenericRpcHandler:
    """The calls of the operator's socket. Never to be added to a server that others reach.

    totals: name, version and counters of each model, over all connections and processes. slot:
    counts these calls. seconds: longest that one may take, loading included.
    """

    async def index(data: memoryview, _context: Any) -> bytes:
        request = pb.RepositoryIndexRequest()
        parse(request, data)
        known = await asyncio.to_thread(control.models)
        return encode_index(request, map(_entry, known)).SerializeToString()

    async def load(data: memoryview, _context: Any) -> bytes:
        request = pb.RepositoryModelLoadRequest()
        parse(request, data)
        require_no_repository(request.repository_name)
        _no_parameters(request.parameters)
        await _do(control.load, request.model_name)
        return pb.RepositoryModelLoadResponse().SerializeToString()

    async def unload(data: memoryview, _context: Any) -> bytes:
        request = pb.RepositoryModelUnloadRequest()
        parse(request, data)
        require_no_repository(request.repository_name)
        _no_parameters(request.parameters, but=_DEPENDENTS)
        await _do(control.unload, request.model_name)
        return pb.RepositoryModelUnloadResponse().SerializeToString()

    async def statistics(data: memoryview, _context: Any) -> bytes:
        request = pb.ModelStatisticsRequest()
        parse(request, data)
        return encode_statistics(request, totals()).SerializeToString()

    methods: Mapping[str, Handler] = {
        names.REPOSITORY_INDEX: index,
        names.REPOSITORY_MODEL_LOAD: load,
        names.REPOSITORY_MODEL_UNLOAD: unload,
        names.MODEL_STATISTICS: statistics,
    }
    handlers = {}
    for path, handler in methods.items():
        method = path.rpartition("/")[2]
        handlers[method] = grpc.stream_unary_rpc_method_handler(
            with_status(method, handler, seconds, slot)
        )
    return grpc.method_handlers_generic_handler(names.INFERENCE_SERVICE, handlers)


def _entry(model: KnownModel) -> Entry:
    if model.loaded:
        return Entry(model.name, model.version)
    return Entry(model.name, model.version, UNAVAILABLE, "not loaded")


async def _do(command: Callable[[str], None], name: str) -> None:
    if not name:
        raise InputError("the request names no model")
    try:
        await asyncio.to_thread(command, name)
    except RefusedCommandError as refused:
        kind = _REFUSALS.get(refused.refusal)
        if kind is None:
            raise
        raise kind(refused.message) from refused


def _no_parameters(parameters: Iterable[str], *, but: str = "") -> None:
    others = sorted(set(parameters) - {but})
    if others:
        raise InputError(
            f"parameter {others[0][:64]!r} is refused: the command line alone says which files "
            "with which roots are served"
        )

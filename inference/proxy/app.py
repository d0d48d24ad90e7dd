"""One proxy from its configuration to its last answer.

The order is the promise: a replica is verified, and only then anything listens. Replicas are looked
after all the time, and the health service says whether one of them is attested. SIGTERM and SIGINT
stop new calls and give those under way a limited time.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sealserve.inference.client.clock import Deadline, elapsed
from sealserve.inference.client.known_models import accepted
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.roster import Replica
from sealserve.inference.client.targets import Target
from sealserve.inference.client.terms import Terms
from sealserve.inference.proxy.events import Event, log
from sealserve.inference.proxy.forward import Forwarding
from sealserve.inference.proxy.place import Place, taken
from sealserve.inference.wire.names import INFERENCE_SERVICE
from sealserve.native.errors import EvidenceError

_LOOK_SECONDS: Final = 1.0  # between two looks at the replicas
_LOOK_UP_SECONDS: Final = 30.0  # between two looks at what names mean
_SIGN_OF_LIFE_SECONDS: Final = 5.0
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_PRIVATE: Final = 0o177  # umask of a socket that is its user's alone


@dataclass(frozen=True, slots=True)
class Limits:
    """What a proxy spends on its callers: at worst 2 x calls x message_bytes, 2 GiB by default."""

    message_bytes: int = 16 * 2**20  # one request; what servers take by default
    calls: int = 64  # at the same time, streams included; more are refused
    drain_seconds: float = 10.0  # for calls under way when the proxy is told to stop


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line tells. place: with the port that is used. attested: of how many."""

    place: str
    attested: int
    replicas: int
    models: tuple[str, ...]
    platform: str

    def line(self) -> str:
        """The one line a proxy prints on stdout."""
        return (
            f"ready: proxy on {self.place} for {self.attested} of {self.replicas} replicas;"
            f" models {', '.join(self.models)}; platform {self.platform}"
        )


def run(
    target: Target,
    terms: Terms,
    place: Place,
    announce: Callable[[Ready], None],
    *,
    timeout_seconds: float,
    limits: Limits,
) -> None:
    """Proxy until a signal says stop. timeout_seconds: for the first verification.

    announce: called once, when the proxy answers. Raises what `connect` raises, and
    UnavailableError for a place that is taken.
    """
    asyncio.run(_until_signalled(target, terms, place, announce, timeout_seconds, limits))


async def _until_signalled(
    target: Target,
    terms: Terms,
    place: Place,
    announce: Callable[[Ready], None],
    timeout_seconds: float,
    limits: Limits,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    proxy = Proxy(await AsyncPool.of(target, terms), place, limits)
    try:
        announce(await proxy.start(Deadline(timeout_seconds)))
        await stop.wait()
    finally:
        await proxy.stop()


class Proxy:
    """A listener in front of a pool."""

    def __init__(self, pool: AsyncPool, place: Place, limits: Limits) -> None:
        self._pool = pool
        self._place = place
        self._limits = limits
        self._told: dict[str, Replica] = {}
        self._looking: asyncio.Task[None] | None = None
        self._health = health.aio.HealthServicer()
        self._grpc = grpc.aio.server(options=_options(limits), maximum_concurrent_rpcs=limits.calls)

    async def start(self, deadline: Deadline) -> Ready:
        """Verify, then listen."""
        self._place.require_free()
        await self._pool.open(deadline)
        self._grpc.add_generic_rpc_handlers((Forwarding(self._pool),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        port = self._listen()
        await self._tell()
        await self._grpc.start()
        self._looking = asyncio.create_task(self._look_for_ever())
        return self._ready(self._place.text(port))

    async def stop(self) -> None:
        """No new calls; those under way get the configured time; then everything ends."""
        log(Event.DRAINING, seconds=self._limits.drain_seconds)
        if self._looking is not None:
            self._looking.cancel()
        await self._health.enter_graceful_shutdown()
        await self._grpc.stop(self._limits.drain_seconds)
        await self._pool.close()
        log(Event.STOPPED)

    def _ready(self, place: str) -> Ready:
        replicas = self._pool.replicas
        attested = sum(1 for replica in replicas if replica.verdict)
        if self._place.anywhere:
            log(Event.LISTENS_ANYWHERE, place=place)
        log(Event.READY, place=place, attested=attested, replicas=len(replicas))
        return Ready(
            place=place,
            attested=attested,
            replicas=len(replicas),
            models=tuple(accepted(self._pool.terms.trust, self._pool.roster.attested)),
            platform=self._pool.roster.latest.verdict.platform,
        )

    def _listen(self) -> int:
        before = os.umask(_PRIVATE)  # nobody else runs yet; gRPC makes the socket in this call
        try:
            return int(self._grpc.add_insecure_port(self._place.text()))
        except RuntimeError as error:
            raise taken(self._place) from error
        finally:
            os.umask(before)

    async def _look_for_ever(self) -> None:
        looked_up = elapsed()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if elapsed() - looked_up > _LOOK_UP_SECONDS:
                looked_up = elapsed()
                await _survived(self._pool.look_up())
            await _survived(self._pool.probe(_SIGN_OF_LIFE_SECONDS))
            await _survived(self._tell())

    async def _tell(self) -> None:
        """Health of what is attested now, and a line in the log for each replica that changed."""
        replicas = self._pool.replicas
        for replica in replicas:
            before = self._told.get(replica.target)
            if before is None or bool(before.verdict) != bool(replica.verdict):
                _log_change(replica)
        self._told = {replica.target: replica for replica in replicas}
        status = _SERVING if any(replica.verdict for replica in replicas) else _NOT_SERVING
        for service in ("", INFERENCE_SERVICE):
            await self._health.set(service, status)


async def _survived(look: Awaitable[None]) -> None:
    """Whatever goes wrong: the next look may be a better one."""
    try:
        await look
    except Exception as error:
        log(Event.LOOKING_FAILED, error=type(error).__name__)


def _log_change(replica: Replica) -> None:
    if replica.verdict is not None:
        platform = replica.verdict.platform
        log(Event.REPLICA_ATTESTED, target=replica.target, platform=platform)
        return
    reason = replica.reason
    why = reason.code if isinstance(reason, EvidenceError) else type(reason).__name__
    log(Event.REPLICA_LEFT_OUT, target=replica.target, why="gone" if reason is None else why)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # a port in use is an error, not something to share
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),  # what an attested server answered is passed on
        ("grpc.http2.bdp_probe", 0),  # no more is taken than is read
        ("grpc.max_concurrent_streams", 2 * limits.calls),
    ]

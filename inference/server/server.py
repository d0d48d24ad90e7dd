"""What one process serves once its models are open: a listener and its services.

Nothing listens before `start`, and `stop` lets calls under way end.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server import descriptors
from sealserve.inference.server.challenge import Answerer, ChallengeWindow, peer_of
from sealserve.inference.server.config import Limits, ServerConfig
from sealserve.inference.server.door import Door
from sealserve.inference.server.handed import Identity
from sealserve.inference.server.opening import Opened
from sealserve.inference.server.peers import Peers
from sealserve.inference.server.port import HeldPort, port_taken
from sealserve.inference.server.predictions import Predictions
from sealserve.inference.server.service import InferenceService
from sealserve.inference.server.table import Slot, State
from sealserve.inference.transport import server as transport
from sealserve.inference.transport.acceptor import NOBODY, Rivals
from sealserve.inference.transport.server import TransportLimits
from sealserve.inference.transport.tls import TlsContext
from sealserve.inference.wire.names import ATTESTATION_SERVICE, INFERENCE_SERVICE

_METADATA_BYTES: Final = 16 * 1024  # ours is one root; the rest is HTTP's own


class Server:
    """A server whose models are loaded; `start` is what makes it listen."""

    def __init__(
        self,
        config: ServerConfig,
        source: EvidenceSource,
        identity: Identity,
        opened: Opened,
        slot: Slot,
        *,
        port: HeldPort | None = None,
        rivals: Rivals = NOBODY,
    ) -> None:
        """slot: what this process counts in. port: None where the configuration's is yet to be had.

        rivals: who else takes connections there.
        """
        self._config = config
        self._port = port
        self._rivals = rivals
        self._identity = identity
        self._registry = opened.registry
        self._slot = slot
        self._evidence_thread = ThreadPoolExecutor(1, thread_name_prefix="sealserve-evidence")
        self._answerer = Answerer(
            source,
            identity,
            config=config.sha256(),
            roots=[model.root for model in opened.registry],
        )

    async def start(self) -> int:
        """Listen; returns the port. UnavailableError if it was taken in the meantime."""
        limits = self._config.limits
        descriptors.allow(limits.connections)
        self._predictions = Predictions(limits)
        self._service = InferenceService(
            self._registry,
            ChallengeWindow(self._answerer.answer, self._evidence_thread),
            self._predictions,
            self._slot,
            limits=limits,
            require_root=self._config.require_root,
        )
        self._health = health.aio.HealthServicer()
        self._transport = transport.Server(_transport_limits(limits), peer_of, self._rivals)
        self._add_services()
        port = self._listen()
        for service in ("", INFERENCE_SERVICE, ATTESTATION_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._slot.serves([model.root for model in self._registry])
        self._slot.state(State.SERVING)
        return port

    def _add_services(self) -> None:
        limits = self._config.limits
        peers = Peers(calls=limits.peer_calls, size=max(limits.peer_bytes, limits.message_bytes))
        callers = self._config.callers
        door: Any = Door(
            self._transport, peers, callers, self._slot, message_bytes=limits.message_bytes
        )
        door.add_generic_rpc_handlers(self._service.handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, door)
        described = (
            INFERENCE_SERVICE, ATTESTATION_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME
        )  # fmt: skip
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(described), door
        )

    async def stop(self) -> bool:
        """No new calls; those under way get the configured time; then everything ends.

        False if a prediction outlived that time: its thread cannot be stopped, only left behind.
        """
        self._slot.state(State.DRAINING)
        self._service.drain()
        await self._health.enter_graceful_shutdown()
        await self._transport.stop(self._config.limits.drain_seconds)
        ended = self._predictions.close()
        await asyncio.to_thread(self._evidence_thread.shutdown)
        self._slot.state(State.ENDED)
        return ended

    def _listen(self) -> int:
        config = self._config
        held = self._port or HeldPort(config.listen_host, config.listen_port)
        tls = TlsContext(
            lambda: self._identity.key_pem,
            lambda: self._identity.certificate_pem,
            config.callers.client_ca,
        )
        try:
            self._transport.listen(held.listener, tls)
        except OSError as error:  # who was bound there as well was first to listen
            raise port_taken(config.listen_host, held.port) from error
        return held.port


def _transport_limits(limits: Limits) -> TransportLimits:
    return TransportLimits(
        message_bytes=limits.message_bytes,
        metadata_bytes=_METADATA_BYTES,
        connections=limits.connections,
        peer_connections=limits.peer_connections,
        calls=limits.calls,
        # Beyond `calls` a call is refused with words, and beyond this its stream is reset.
        streams=2 * limits.calls,
        seconds=limits.connection_seconds,
        grace=limits.request_seconds,
        patience=limits.request_seconds,
    )

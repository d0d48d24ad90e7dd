"""What one process serves once its models are open: a listener and its services.

Nothing listens before `start`, and `stop` lets calls under way end.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server import descriptors
from sealserve.inference.server.challenge import Answerer, ChallengeWindow
from sealserve.inference.server.config import Limits, ServerConfig
from sealserve.inference.server.door import Door
from sealserve.inference.server.identity import Identity
from sealserve.inference.server.opening import Opened
from sealserve.inference.server.peers import Peers
from sealserve.inference.server.port import port_taken
from sealserve.inference.server.predictions import Predictions
from sealserve.inference.server.service import InferenceService
from sealserve.inference.server.table import Slot, State
from sealserve.inference.wire.address import format_address
from sealserve.inference.wire.names import ATTESTATION_SERVICE, INFERENCE_SERVICE

_LOOKAHEAD_BYTES: Final = 2**20


class Server:
    """A server whose models are loaded; `start` is what makes it listen.

    held_port: a port that other processes of ours listen on as well; 0 where it is ours alone.
    """

    def __init__(
        self,
        config: ServerConfig,
        source: EvidenceSource,
        identity: Identity,
        opened: Opened,
        slot: Slot,
        *,
        held_port: int = 0,
    ) -> None:
        """slot: what this process counts in."""
        self._config = config
        self._held_port = held_port
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
        self._grpc = grpc.aio.server(
            options=_options(limits, shared=bool(self._held_port)),
            maximum_concurrent_rpcs=limits.calls,
        )
        self._add_services()
        port = self._listen()
        await self._grpc.start()
        for service in ("", INFERENCE_SERVICE, ATTESTATION_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._slot.serves([model.root for model in self._registry])
        self._slot.state(State.SERVING)
        return port

    def _add_services(self) -> None:
        limits = self._config.limits
        peers = Peers(calls=limits.peer_calls, size=max(limits.peer_bytes, limits.message_bytes))
        callers = self._config.callers
        door: Any = Door(self._grpc, peers, callers, self._slot, message_bytes=limits.message_bytes)
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
        await self._grpc.stop(self._config.limits.drain_seconds)
        ended = self._predictions.close()
        await asyncio.to_thread(self._evidence_thread.shutdown)
        self._slot.state(State.ENDED)
        return ended

    def _listen(self) -> int:
        port = self._held_port or self._config.listen_port
        address = format_address(self._config.listen_host, port)
        try:
            return int(self._grpc.add_secure_port(address, self._credentials()))
        except RuntimeError as error:
            raise port_taken(self._config.listen_host, port) from error

    def _credentials(self) -> grpc.ServerCredentials:
        served = b""
        authority = self._config.callers.client_ca.encode()

        def current() -> grpc.ServerCertificateConfiguration | None:
            """What a handshake uses; None where nothing changed. gRPC asks before each one."""
            nonlocal served
            pem = self._identity.certificate_pem
            if pem == served:
                return None
            served = pem
            return grpc.ssl_server_certificate_configuration(
                [(self._identity.key_pem, pem)], root_certificates=authority or None
            )

        first = current()
        return grpc.dynamic_ssl_server_credentials(
            first, current, require_client_authentication=bool(authority)
        )


def _options(limits: Limits, *, shared: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(shared)),  # a port in use is an error, unless we are in it
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        # Else gRPC would take more and more of what nobody has read, the faster a sender is; a
        # message that is being read is taken at full length either way.
        ("grpc.http2.bdp_probe", 0),
        # Beyond the one message that is being read: gRPC's own 64 KiB make a picture of 600 KB wait
        # for leave nine times. It comes once for each call, so `calls` times this at worst.
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        ("grpc.max_metadata_size", 16 * 1024),  # ours is one root; the rest is HTTP's own
        ("grpc.max_allowed_incoming_connections", limits.connections),
        # Of one connection. Beyond `calls` a call is refused with words, and beyond this its stream
        # is reset; gRPC counts streams for a while after they ended, and its client does not wait.
        ("grpc.max_concurrent_streams", 2 * limits.calls),
        ("grpc.max_connection_age_ms", int(limits.connection_seconds * 1000)),
        # Calls under way when it comes to an end; what takes longer is no prediction.
        ("grpc.max_connection_age_grace_ms", int(limits.request_seconds * 1000)),
    ]

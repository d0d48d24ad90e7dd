"""What a channel to a verified server is: pinned to its two certificates, and to nothing else."""

from __future__ import annotations

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sealserve.attestation.evidence import MAX_EVIDENCE_BYTES
from sealserve.attestation.ratls import MAX_CERTIFICATE_BYTES
from sealserve.inference.client.certificate import Certificate
from sealserve.inference.wire.names import SERVER_NAME

# An answer's length. Before the verdict: evidence, a certificate, and their tags and lengths.
EVIDENCE_BYTES = MAX_EVIDENCE_BYTES + MAX_CERTIFICATE_BYTES + 64
ANSWER_BYTES = 256 * 2**20  # after it: more than servers send unless told to


def credentials(*certificates: bytes, own: Certificate | None = None) -> grpc.ChannelCredentials:
    """Only these certificates (DER) are believed; no authority of the system is.

    own: what is shown to a server that asks for a client's.
    """
    believed = b"".join(_pem(der) for der in certificates)
    if own is None:
        return grpc.ssl_channel_credentials(believed)
    return grpc.ssl_channel_credentials(believed, own.key, own.chain)


def options(answer_bytes: int) -> list[tuple[str, int | str]]:
    """Ours alone: no proxy, no shared connection, no retry that we did not decide on.

    answer_bytes: the longest answer that is read; gRPC counts it before and after decompression.
    """
    return [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_send_message_length", -1),  # the server says what it takes
        ("grpc.max_receive_message_length", answer_bytes),
    ]


def pinned(
    host: str, port: int, answer_bytes: int, *certificates: bytes, own: Certificate | None = None
) -> grpc.Channel:
    """A channel to whoever holds the key of one of these certificates (DER). own: the client's."""
    return grpc.secure_channel(
        target(host, port), credentials(*certificates, own=own), options(answer_bytes)
    )


def target(host: str, port: int) -> str:
    """An address no resolver plugin reads anything into."""
    return f"ipv6:[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)

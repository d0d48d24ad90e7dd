"""Gets the certificate a server shows, with a handshake that is believed in nothing else."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

from sealserve.inference.client.clock import Deadline
from sealserve.inference.wire.address import format_address
from sealserve.native.errors import UnavailableError

# OpenSSL's name for an alert that says nothing else (RFC 8446, section 6.2).
_CERTIFICATE_REQUIRED: Final = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def fetch_certificate(host: str, port: int, deadline: Deadline) -> bytes:
    """The leaf certificate (DER) of a TLS 1.3 handshake that is then closed.

    No application byte is sent and nothing is verified: what comes back is somebody's claim.
    Raises UnavailableError if there is no such handshake in that time.
    """
    address = format_address(host, port)
    try:
        try:
            certificate = _shown(host, port, deadline)
        except ConnectionResetError:
            # A process that ends takes its connections along; another one may be there.
            certificate = _shown(host, port, deadline)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"no TLS 1.3 handshake with {address}: {_reason(error)}",
            hint="is the server ready, and is this its address?",
        ) from error
    if not certificate:
        raise UnavailableError(f"{address} shows no certificate")
    return certificate


def wants_certificate(host: str, port: int, deadline: Deadline) -> bool:
    """Whether this server ends a connection because the client shows no certificate.

    With TLS 1.3 a client is done with its handshake before it is told (RFC 8446, section 4.4.2.4),
    so one byte is waited for: of an alert, or of what every HTTP/2 server says first. False if
    nobody says so in that time.
    """
    try:
        with _connect(host, port, deadline) as encrypted:
            encrypted.settimeout(deadline.left())
            encrypted.do_handshake()
            encrypted.recv(1)
    except ssl.SSLError as error:
        return error.reason == _CERTIFICATE_REQUIRED
    except (OSError, ValueError, UnavailableError):
        return False
    return False


def _shown(host: str, port: int, deadline: Deadline) -> bytes | None:
    with _connect(host, port, deadline) as encrypted:
        encrypted.settimeout(deadline.left())  # for the whole handshake, however it trickles in
        encrypted.do_handshake()
        return encrypted.getpeercert(binary_form=True)


def _connect(host: str, port: int, deadline: Deadline) -> ssl.SSLSocket:
    """To the first address that answers, like `socket.create_connection`, whose time is for each.

    Here it is for all of them, and none takes the share of those after it.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError("this name has no address")
    for position, (family, kind, protocol, _, address) in enumerate(found):
        share = deadline.left() / (len(found) - position)
        try:
            return _connected(_new_socket(family, kind, protocol), address, share)
        except OSError as error:
            failure = error
    raise failure


def _new_socket(family: int, kind: int, protocol: int) -> ssl.SSLSocket:
    """Not connected: Python's ssl module forgets a socket that was reset before it is wrapped."""
    plain = socket.socket(family, kind, protocol)
    return _context().wrap_socket(plain, do_handshake_on_connect=False)


def _connected(encrypted: ssl.SSLSocket, address: Any, seconds: float) -> ssl.SSLSocket:
    try:
        encrypted.settimeout(seconds)
        encrypted.connect(address)
    except BaseException:
        encrypted.close()
        raise
    return encrypted


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the evidence inside is verified next, not a chain
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols(["h2"])  # gRPC servers refuse others
    return context


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (isinstance(error, OSError) and error.strerror) or str(error)

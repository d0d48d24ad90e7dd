"""An encrypted connection for gRPC by hand; who the other side is does not matter here."""

from __future__ import annotations

import socket
import ssl


def encrypted(address: tuple[str, int], seconds: float, source_port: int = 0) -> ssl.SSLSocket:
    """Connected, its handshake done, each step within this time.

    source_port: of the caller's side; 0 is any that is free.
    Wrapped before it is connected: Python's ssl module forgets a socket that was reset before it is
    wrapped, and a later test fails of it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    wrapped = context.wrap_socket(socket.socket(family))
    try:
        wrapped.settimeout(seconds)
        if source_port:
            wrapped.bind(("", source_port))
        wrapped.connect(address)
    except BaseException:
        wrapped.close()
        raise
    return wrapped

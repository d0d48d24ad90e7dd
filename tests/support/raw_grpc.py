"""One gRPC call over HTTP/2, frame by frame: what a library does not send.

RFC 9113, sections 3.4, 4.1 and 6; headers are literals without an index (RFC 7541, section 6.2.2).
"""

from __future__ import annotations

import socket
import struct

from support.h2_socket import encrypted

SECONDS = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _GO_AWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
_STREAM = 1


class RawCall:
    """A call whose messages are whatever bytes a test wants, on a connection of its own.

    source_port: of the caller's side; 0 is any that is free. received: bytes of its answer.
    """

    def __init__(self, port: int, path: str, *, source_port: int = 0) -> None:
        self._socket = encrypted(("127.0.0.1", port), SECONDS, source_port)
        self.received = b""
        headers = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": "sealserve.internal",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
        self._socket.sendall(
            _PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
        )

    def send(self, data: bytes, *, end: bool = False) -> None:
        self._socket.sendall(_frame(_DATA, _END_STREAM if end else 0, _STREAM, data))

    def ended(self) -> bool:
        """Wait for the server to end the call; False if it goes away instead."""
        while True:
            head = self._read(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            payload = self._read(length)
            if kind == _DATA:
                self.received += payload
            if kind == _GO_AWAY:
                return False
            if stream == _STREAM and (kind == _RESET or (kind == _HEADERS and flags & _END_STREAM)):
                return True

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close it so that its port can be used again at once."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            assert more, "the server closed the connection"
            data += more
        return data


def announced(size: int) -> bytes:
    """What stands before a message of so many bytes (gRPC's PROTOCOL-HTTP2.md)."""
    return b"\0" + size.to_bytes(4, "big")


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload

"""HTTP/2 by hand, for callers that no gRPC library would make: slow, silent, half, hurried.

Only what such a caller needs of RFC 9113 and RFC 7541: headers are written as literals, and what
comes back is told apart by its frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import TracebackType

from sealserve.inference.wire.address import parse_address
from support.h2_socket import encrypted

SECONDS = 30.0
DATA, HEADERS, RESET, SETTINGS, WINDOW_UPDATE = 0, 1, 3, 4, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4  # RFC 9113, section 6.5.2
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CANCEL = 8  # section 7


class Caller:
    """One connection. window: how many bytes of each answer it takes before it reads them."""

    def __init__(self, target: str, *, window: int = 65_535) -> None:
        self._socket = encrypted(parse_address(target, default_port=0), SECONDS)
        self._reader = self._socket.makefile("rb")
        self._stream = -1
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self._socket.sendall(_PREFACE + _frame(SETTINGS, 0, 0, settings))

    def begin(self, path: str, timeout: str = "") -> int:
        """The headers of a call; its stream. timeout: as gRPC writes one, `1n` is a nanosecond."""
        self._stream += 2
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": "sealserve.internal",
            "te": "trailers",
            "content-type": "application/grpc",
            **({"grpc-timeout": timeout} if timeout else {}),
        }
        block = b"".join(_literal(name, value) for name, value in fields.items())
        self._socket.sendall(_frame(HEADERS, END_HEADERS, self._stream, block))
        return self._stream

    def send(self, stream: int, message: bytes, *, announced: int | None = None) -> None:
        """A message of the call. announced: its length if that is not the truth; no end then."""
        size = len(message) if announced is None else announced
        flags = END_STREAM if announced is None else 0
        data = b"\0" + struct.pack(">I", size) + message
        self._socket.sendall(_frame(DATA, flags, stream, data))

    def cancel(self, stream: int) -> None:
        self._socket.sendall(_frame(RESET, 0, stream, struct.pack(">I", _CANCEL)))

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Kind, stream and content of each frame that comes, until the other side hangs up."""
        while head := self._reader.read(9):
            size = int.from_bytes(head[:3], "big")
            content = self._reader.read(size)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags & ACK:
                self._socket.sendall(_frame(SETTINGS, ACK, 0, b""))
            yield kind, stream, content

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


def _literal(name: str, value: str) -> bytes:
    """A field without indexing and with a name of its own (RFC 7541, section 6.2.2)."""
    parts = (name.encode(), value.encode())
    return b"\0" + b"".join(bytes([len(part)]) + part for part in parts)

"""TLS 1.3 of one connection, without its socket, and what all of them share.

The private key is handed to OpenSSL through a file without a name that is only memory, because
Python's ssl module takes keys from files alone; it is overwritten before it is closed.
"""

from __future__ import annotations

import mmap
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PROTOCOL: Final = "h2"  # the only one of gRPC [RFC 9113 section 3.2]
_PLAIN_BYTES: Final = 256 * 1024
# OpenSSL gives a record at a time, 16 KiB. They are put here one behind the other, to be looked at
# together: one connection's after the other's, because there is one event loop.
_PLAIN: Final = memoryview(bytearray(_PLAIN_BYTES))


class TlsError(Exception):
    """A handshake or a record that is not as it has to be; the connection is over.

    alert: what the other side is told, if anything.
    """

    def __init__(self, reason: str, alert: bytes = b"") -> None:
        super().__init__(reason)
        self.alert = alert


class TlsContext:
    """What new connections show: the identity of the moment they come.

    certificate: in PEM, asked for before each handshake. key: its private key in PEM, asked for
    once for each certificate and not kept. client_ca: whose clients alone may connect, in PEM; "":
    anybody.
    """

    def __init__(
        self, key: Callable[[], bytes], certificate: Callable[[], bytes], client_ca: str = ""
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._client_ca = client_ca
        self._shown: bytes | None = None
        self._context = _new_context(client_ca)

    def new(self) -> Tls:
        """Of one connection that is beginning."""
        certificate = self._certificate()
        if certificate != self._shown:
            context = _new_context(self._client_ca)
            with _only_in_memory(b"\n".join((self._key(), certificate))) as path:
                context.load_cert_chain(path)
            self._context, self._shown = context, certificate
        return Tls(self._context)


class Tls:
    """A connection's: what came is opened, what goes is sealed; `outgoing` has the rest to send."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._came = ssl.MemoryBIO()
        self._goes = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=True)
        self.ready = False
        self.ended = False
        self._broken: ssl.SSLError | None = None

    def open(self, data: Buffer) -> Iterator[memoryview]:
        """What was said in these bytes, in pieces; each is there until the next is asked for.

        Raises TlsError, behind the pieces that were fine.
        """
        self._came.write(data)
        if not self.ready and not self._shake_hands():
            return
        while self._broken is None and (size := self._read()):
            yield _PLAIN[:size]
        if self._broken is not None:
            raise TlsError(self._broken.reason, self.outgoing()) from self._broken

    def _read(self) -> int:
        """How many bytes of `_PLAIN` are what was said next."""
        size = 0
        try:
            while size < _PLAIN_BYTES and (self._came.pending or self._tls.pending()):
                more = cast(int, self._tls.read(_PLAIN_BYTES, _PLAIN[size:]))
                if not more:  # the other side says that nothing more comes
                    self.ended = True
                    break
                size += more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._broken = error
        return size

    def seal(self, data: bytes) -> bytes:
        """The records with these bytes, and whatever else has to go."""
        self._tls.write(data)
        return self._goes.read()

    def outgoing(self) -> bytes:
        """What the protocol itself has to say."""
        return self._goes.read() if self._goes.pending else b""

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(error.reason, self.outgoing()) from error
        if self._tls.selected_alpn_protocol() != _PROTOCOL:
            raise TlsError("the client does not speak HTTP/2")
        self.ready = True
        return True


def _new_context(client_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # every connection is a handshake of its own
    context.set_alpn_protocols([_PROTOCOL])
    if client_ca:
        context.load_verify_locations(cadata=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def _only_in_memory(secret: bytes) -> Iterator[str]:
    """The path of a file with these bytes, which nobody else can open and no disk sees."""
    file = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, len(secret))
        with mmap.mmap(file, len(secret)) as memory:
            memory[:] = secret
            try:
                yield f"/proc/self/fd/{file}"
            finally:
                memory[:] = bytes(len(secret))
    finally:
        os.close(file)

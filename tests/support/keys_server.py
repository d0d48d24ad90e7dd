"""A local HTTP(S) server that answers as told, well or badly, and writes down each request."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from support.keys_tls import Ca, Issued


@dataclass(frozen=True)
class Request:
    """What a client sent. headers: names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer with a length."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, status: int = 200, **headers: str) -> Reply:
        """A JSON answer."""
        return cls(status, json.dumps(value).encode(), headers)


@dataclass(frozen=True)
class Raw:
    """Bytes as they go over the wire, one after the other; then the connection ends."""

    pieces: Iterable[bytes]


Answer = Callable[[Request], Reply | Raw]


class LocalServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1 in threads until it is closed; a context manager.

    connections: how often somebody connected, with or without saying anything.
    """

    daemon_threads = False
    block_on_close = True

    def __init__(self, answer: Answer, issued: Issued | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.connections = 0
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._context = issued.server_context() if issued else None
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def host(self) -> str:
        """As `keyid.vault_host` spells it."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{self.host}"

    def silence(self) -> Raw:
        """An answer that never begins."""
        return self.dribble(())

    def dribble(self, pieces: Iterable[bytes]) -> Raw:
        """These bytes one by one, and then nothing, until the server is closed."""

        def slowly() -> Iterator[bytes]:
            for piece in pieces:
                for byte in piece:
                    if self.stopping.wait(0.01):
                        return
                    yield bytes([byte])
            self.stopping.wait()

        return Raw(slowly())

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        self.connections += 1
        plain.settimeout(10)
        if self._context is None:
            self._open.add(plain)
            return plain, address
        encrypted = self._context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        self._open.add(encrypted)
        return encrypted, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves, or whose handshake fails, is what these tests are about."""

    def __enter__(self) -> LocalServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for each in list(self._open):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.server_close()


def serve(answer: Answer, ca: Ca, *names: str) -> LocalServer:
    """A server with a certificate of this CA for 127.0.0.1, or for other names."""
    return LocalServer(answer, ca.issue(*(names or ("127.0.0.1",))))


def serve_plainly(answer: Answer) -> LocalServer:
    """A server without TLS, as the metadata service of a host is."""
    return LocalServer(answer, None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits for a delayed acknowledgement
    server: LocalServer

    def handle_any(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, query, headers, self.rfile.read(size))
        self.server.requests.append(request)
        try:
            self._send(self.server.answer(request))
        except (OSError, ssl.SSLError):  # the client had enough
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def _send(self, reply: Reply | Raw) -> None:
        if isinstance(reply, Raw):
            for piece in reply.pieces:
                self.wfile.write(piece)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are written down by the server."""

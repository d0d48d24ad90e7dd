"""The operator's process as it is: pages on its port, a socket on its path, and its end."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sealserve.inference.server.control_path import MAX_PATH_BYTES, require_free
from sealserve.native.errors import ConfigError, UnavailableError
from support.ready_process import SECONDS

DESK = """
import sys
from sealserve.inference.server import front_desk
from sealserve.inference.server.status_address import bound
from sealserve.inference.server.table import FIRST_WORKER, State, Table

table = Table(["ab" * 32], workers=1)
table.slot(FIRST_WORKER).state(State.SERVING)
listener = bound("127.0.0.1", 0) if sys.argv[1] == "pages" else None
front_desk.run(table, front_desk.Desk(listener, sys.argv[2]), lambda: print("ready", flush=True))
"""


class Running:
    """The process and what it logged so far."""

    def __init__(self, process: subprocess.Popen[str], events: list[dict[str, Any]]) -> None:
        self.process = process
        self.events = events

    def event(self, name: str) -> dict[str, Any]:
        (found,) = [event for event in self.events if event["event"] == name]
        return found

    def ask(self, path: str = "/livez", method: str = "GET") -> httpx.Response:
        port = self.event("status_listening")["port"]
        return httpx.request(method, f"http://127.0.0.1:{port}{path}", trust_env=False)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def desk(folder: Path, *, pages: bool = True, control: str = "") -> Iterator[Running]:
    command = [sys.executable, "-P", "-c", DESK, "pages" if pages else "", control]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, **pipes) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert process.stdout.readline() == "ready\n"
            expected = bool(control) + pages
            yield Running(process, [json.loads(process.stderr.readline()) for _ in range(expected)])
        finally:
            process.kill()


def health(path: str) -> int:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return int(answer.status)


# ---- pages


def test_the_pages_are_served_and_say_nothing_of_their_server(tmp_path: Path) -> None:
    with desk(tmp_path) as running:
        for path, words in {"/livez": "lives\n", "/readyz": "ready\n"}.items():
            answer = running.ask(path)
            assert (answer.status_code, answer.text) == (200, words)
            assert answer.headers.keys() == {
                "date", "content-type", "content-length", "cache-control",
            }  # fmt: skip
        assert "sealserve_workers" in running.ask("/metrics").text
        head = running.ask("/metrics", "HEAD")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 1000
        assert running.stop() == 0


def test_a_request_has_an_end(tmp_path: Path) -> None:
    """One whose headers never end is refused, and the next one is answered."""
    with desk(tmp_path) as running:
        address = ("127.0.0.1", running.event("status_listening")["port"])
        with (
            socket.create_connection(address, SECONDS) as endless,
            endless.makefile("rb") as answered,
        ):
            endless.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"secret" * 20_000)
            answer = answered.readline()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"secret" not in answer
        assert running.ask().status_code == 200


# ---- the socket


def test_the_socket_is_for_its_owner_and_gone_afterwards(tmp_path: Path) -> None:
    with desk(tmp_path, pages=False, control="control.sock") as running:
        path = tmp_path / "control.sock"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert health(str(path)) == health_pb2.HealthCheckResponse.SERVING
        assert running.event("control_listening")["path"] == "control.sock"
        assert running.stop() == 0
        assert not path.exists()


def test_both_are_served_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "a name%20with odd: characters"
    with desk(tmp_path, control=str(path)) as running:
        assert health(f"{path}".replace("%", "%25")) == health_pb2.HealthCheckResponse.SERVING
        assert running.ask().status_code == 200
        assert running.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with desk(tmp_path, pages=False, control=str(path)) as running:
        running.process.kill()
        running.process.wait(SECONDS)
    assert path.exists()
    with desk(tmp_path, pages=False, control=str(path)):
        assert health(str(path)) == health_pb2.HealthCheckResponse.SERVING


def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(UnavailableError, match="listens") as refused:
            require_free(str(path))
    assert refused.value.hint


def file(path: Path) -> None:
    path.write_text("")


def folder(path: Path) -> None:
    path.mkdir()


def link_to_a_socket(path: Path) -> None:
    """The socket is one that nobody listens on, but not where the path says."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path.with_name("left")))
    path.symlink_to(path.with_name("left"))


@pytest.mark.parametrize("there", [file, folder, link_to_a_socket])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, there) -> None:
    path = tmp_path / "control.sock"
    there(path)
    before = path.lstat()
    with pytest.raises(ConfigError, match="no socket"):
        require_free(str(path))
    assert path.lstat() == before


def test_a_socket_of_somebody_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    require_free(str(path))
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    with pytest.raises(ConfigError, match="another user's"):
        require_free(str(path))


@pytest.mark.parametrize("path", ["", "x" * (MAX_PATH_BYTES + 1), "é" * 54])
def test_a_path_has_the_length_that_the_kernel_allows(path: str) -> None:
    with pytest.raises(ConfigError, match="bytes"):
        require_free(path)


def test_a_path_of_the_longest_length_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * (MAX_PATH_BYTES - len(str(tmp_path)) - 1)))
    with desk(tmp_path, pages=False, control=path):
        assert Path(path).is_socket()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        require_free(str(tmp_path / "absent" / "control.sock"))

"""`sealserve skr`: what its command line and environment make of it, and how it begins and ends."""

from __future__ import annotations

import ast
import json
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from sealserve.attestation.simulated import SOCKET_VARIABLE, Machine, SimulatedRoot
from sealserve.cli.main import run
from sealserve.keys.sidecar import key_provider_pb2 as pb
from support.attestation_simulated import HOST_DATA
from support.keys_foreign_client import ForeignClient, b64
from support.keys_trustd import LocalTrustd
from support.ports import free_port
from support.ready_process import SECONDS, ReadyProcess, started
from support.server_process import SEALSERVE, answering, clean_environment


class Desk:
    """A folder, a machine, and a trust service to name."""

    def __init__(self, folder: Path, machine: Machine, trustd: LocalTrustd) -> None:
        self.folder = folder
        self.machine = machine
        self.vault = f"trustd:{trustd.connection.address}"
        self.digest = trustd.connection.authority().sha256
        self.port = free_port()

    @property
    def trustd(self) -> tuple[str, ...]:
        return ("--vault", self.vault, "--vault-ca-sha256", self.digest)

    def run(self, *options: str, machine: bool = True, **environment: str) -> tuple[int, str]:
        """To its end, which comes at once; status and words."""
        with self._environment(machine, environment) as (given, keep):
            ran = subprocess.run(
                [*SEALSERVE, "skr", *options], cwd=self.folder, env=given, pass_fds=keep,
                capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stderr

    @contextmanager
    def running(self, *options: str, **environment: str) -> Iterator[ReadyProcess]:
        log = self.folder / "skr.err"
        with (
            self._environment(True, environment) as (given, keep),
            started(
                ReadyProcess, [*SEALSERVE, "skr", *options], self.folder, log, env=given,
                pass_fds=keep,
            ) as process,
        ):  # fmt: skip
            assert process.ready.startswith("ready: "), process.err
            yield process

    @contextmanager
    def _environment(
        self, machine: bool, more: dict[str, str]
    ) -> Iterator[tuple[dict[str, str], Sequence[int]]]:
        if not machine:
            yield clean_environment(**more), ()
            return
        with answering(self.machine) as descriptor:
            given = clean_environment(**{SOCKET_VARIABLE: str(descriptor)}, **more)
            yield given, (descriptor,)


@pytest.fixture
def desk(tmp_path: Path, simulated_root: SimulatedRoot, trustd: LocalTrustd) -> Desk:
    return Desk(tmp_path, Machine(simulated_root, HOST_DATA), trustd)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skr", "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example: sealserve skr --vault trustd:" in text
    assert "by Microsoft's protocol" in " ".join(text.split())


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, str], int, str]] = {
    "an address of everybody": (("--host", "0.0.0.0"), {}, 8, "no address of the loopback"),
    "an address of the network": (("--host", "192.0.2.1"), {}, 8, "no address of the loopback"),
    "an IPv6 address of everybody": (("--host", "::"), {}, 8, "no address of the loopback"),
    "a name": (("--host", "localhost"), {}, 8, "no address of the loopback"),
    "a port that is none": (("--port", "0"), {}, 2, "--port"),
    "a vault without its digest": (("--vault", "trustd:127.0.0.1:1"), {}, 8, "--vault-ca-sha256"),
    "Azure, from a simulated machine": (
        ("--vault", "v.example", "--attestation-service", "https://a.example"),
        {},
        8,
        "a simulated machine gets no token from Azure",
    ),
    "another authority": (("--vault", "TRUSTD", "--vault-ca-sha256", "0" * 64), {}, 7, "CA"),
    "nobody there": (
        ("--vault", "trustd:127.0.0.1:1", "--vault-ca-sha256", "0" * 64),
        {},
        10,
        "does not answer",
    ),
    "a key that is a path": (("--key", "a/b"), {}, 8, "--key: 'a/b' is not NAME"),
    "other code from the environment": ((), {"LD_PRELOAD": ""}, 8, "LD_PRELOAD"),
    "a proxy from the environment": ((), {"https_proxy": "x"}, 8, "https_proxy"),
    "a vault from the environment": (
        (),
        {"SkrSideCarArgs": b64(b'{"akv":{"endpoint":"evil.example"}}')},
        8,
        "environment, key SkrSideCarArgs: has a member 'akv'",
    ),
    "a certificate cache from the environment": (
        (),
        {"SkrSideCarArgs": b64(b'{"certcache":{"endpoint":"evil.example"}}')},
        8,
        "the environment chooses no host",
    ),
    "gRPC from the environment": ((), {"ServerType": "grpc"}, 8, "--key-provider PORT"),
    "a log in no folder": ((), {"LogFile": "/nowhere/skr.log"}, 8, "LogFile: cannot be written"),
    "a log that is a device": ((), {"LogFile": "/dev/null"}, 8, "not a regular file"),
}


@pytest.mark.parametrize(
    ("options", "environment", "status", "words"), REFUSED.values(), ids=REFUSED
)
def test_it_does_not_start(
    options: tuple[str, ...], environment: dict[str, str], status: int, words: str, desk: Desk
) -> None:
    options = tuple(desk.vault if each == "TRUSTD" else each for each in options)
    if "--port" not in options:
        options = (*options, "--port", str(desk.port))
    ended, said = desk.run(*options, **environment)
    assert (ended, words in said) == (status, True), said


def test_no_platform(desk: Desk) -> None:
    """Theirs would answer, with a report that it makes up."""
    status, said = desk.run("--port", str(desk.port), machine=False)
    assert status == 8
    assert "no trusted execution environment found" in said


def test_a_platform_that_does_not_answer(desk: Desk) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.shutdown(socket.SHUT_RDWR)
        ran = subprocess.run(
            [*SEALSERVE, "skr", "--port", str(desk.port)],
            env=clean_environment(**{SOCKET_VARIABLE: str(theirs.fileno())}),
            pass_fds=(theirs.fileno(),), capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (10, "")


def test_ports_in_use(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", desk.port)):
        for options in (("--port",), ("--port", str(free_port()), "--key-provider")):
            status, said = desk.run(*options, str(desk.port))
            assert status == 10
            assert f"cannot listen on 127.0.0.1:{desk.port}" in said
            assert "is another sidecar running there already?" in said


def test_the_port_of_the_environment(desk: Desk) -> None:
    with desk.running(Port=str(desk.port)) as process:
        assert process.ready.startswith(f"ready: sidecar http://127.0.0.1:{desk.port}; ")
        assert "vaults none; keys none" in process.ready
        assert ForeignClient(f"127.0.0.1:{desk.port}").get("/status").status == 200
        assert process.stop() == (0, "")


def test_the_command_line_has_the_last_word_about_the_port(desk: Desk) -> None:
    with desk.running("--port", str(desk.port), Port="1") as process:
        assert f"http://127.0.0.1:{desk.port};" in process.ready


def test_ipv6(desk: Desk) -> None:
    with desk.running("--host", "::1", "--port", str(desk.port)) as process:
        assert f"http://[::1]:{desk.port};" in process.ready
        assert ForeignClient(f"[::1]:{desk.port}").get("/status").status == 200


def test_nobody_but_the_loopback_can_connect(desk: Desk) -> None:
    with desk.running("--port", str(desk.port)) as process:
        tables = [Path(f"/proc/{process.process.pid}/net/{name}") for name in ("tcp", "tcp6")]
        lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    port = f":{desk.port:04X}"
    assert {
        local for _, local, _, state, *_ in lines if state == "0A" and local.endswith(port)
    } == {f"0100007F{port}"}


def test_the_key_provider_beside_it(desk: Desk) -> None:
    port = free_port()
    options = ("--port", str(desk.port), "--key-provider", str(port))
    with desk.running(*options, ServerType="grpc") as process:
        assert f", key provider 127.0.0.1:{port}; " in process.ready
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            hello = channel.unary_unary("/key_provider.KeyProviderService/SayHello")
            answer = hello(pb.HelloRequest(name="x").SerializeToString(), timeout=SECONDS)
        assert pb.HelloReply.FromString(answer).message == "Hello x"
        assert process.stop() == (0, "")


def test_without_being_asked_there_is_none(desk: Desk) -> None:
    with desk.running("--port", str(desk.port)) as process:
        fds = Path(f"/proc/{process.process.pid}/net/tcp").read_text()
        assert "key provider" not in process.ready
        assert f":{50000:04X} " not in fds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_success_when_it_is_told_to_stop(number: int, desk: Desk) -> None:
    with desk.running(*desk.trustd, "--port", str(desk.port)) as process:
        assert process.stop(number) == (0, "")
        assert process.err == ""


def test_its_log_goes_where_the_environment_says(desk: Desk) -> None:
    """At the level it says; a file that is there is added to."""
    log = desk.folder / "skr.log"
    log.write_text("before\n")
    client = ForeignClient(f"127.0.0.1:{desk.port}")
    body = {"runtime_data": b64(b"x")}
    with desk.running("--port", str(desk.port), LogFile=str(log), LogLevel="info") as process:
        assert client.post("/attest/raw", body).status == 200
        assert client.post("/attest/raw", {}).status == 400
        assert process.stop()[0] == 0
        assert process.err == ""
    before, *lines = log.read_text().splitlines()
    assert before == "before"
    assert [json.loads(line)["event"] for line in lines] == ["attested", "refused"]


def test_a_new_log_is_for_us_alone_and_quiet_by_default(desk: Desk) -> None:
    log = desk.folder / "skr.log"
    client = ForeignClient(f"127.0.0.1:{desk.port}")
    with desk.running("--port", str(desk.port), LogFile=str(log)) as process:
        assert client.post("/attest/raw", {"runtime_data": b64(b"x")}).status == 200
        assert process.stop()[0] == 0
    assert log.read_text() == ""
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_is_not_written_through_a_link(desk: Desk) -> None:
    target = desk.folder / "target"
    target.write_text("")
    (desk.folder / "skr.log").symlink_to(target)
    status, said = desk.run("--port", str(desk.port), LogFile=str(desk.folder / "skr.log"))
    assert (status, "LogFile" in said) == (8, True)
    assert target.read_text() == ""


def test_the_process_is_hardened_and_its_environment_cut() -> None:
    """Before anything is read; it ends at the first thing that is wrong with the command line."""
    code = """
import ctypes, os, resource
from sealserve.cli.main import run

status = run(["skr", "--host", "0.0.0.0"])
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
print((status, dumpable, resource.getrlimit(resource.RLIMIT_CORE), sorted(os.environ)))
"""
    ran = subprocess.run(
        [SEALSERVE[0], "-I", "-c", code], capture_output=True, text=True, timeout=SECONDS,
        env=clean_environment(SkrSideCarArgs="", SECRET="x", AZURE_CLIENT_ID="y"),
    )  # fmt: skip
    status, dumpable, core, left = ast.literal_eval(ran.stdout)
    assert (status, dumpable, core) == (8, 0, (0, 0))
    assert not {*left} & {"SkrSideCarArgs", "SECRET", "AZURE_CLIENT_ID"}
    assert {"PATH", "HOME"} <= {*left}

"""Nothing that a library or the interpreter says reaches the log as it was said."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.identity import TlsIdentity
from support.attestation_simulated import machine_of
from support.ready_process import SECONDS

SECRET = "31337.515625"  # a tensor's value, in what an exception says
BEFORE = f"""
import asyncio, gc, logging, os, sys, threading, warnings
from sealserve.inference.server import silence
silence.install()
secret = "{SECRET}"

class Broken:
    def __del__(self):
        raise ValueError(secret)

async def forgotten():
    async def failing():
        raise ValueError(secret)
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    del task
    gc.collect()

def fail():
    raise ValueError(secret)
"""
SAID = {
    "an exception that nobody caught": ("fail()", "main", "ValueError"),
    "one in a thread": ("threading.Thread(target=fail).start()", "thread", "ValueError"),
    "one that cannot be raised": ("Broken()", "unraisable", "ValueError"),
    "one in a task that nobody asked": ("asyncio.run(forgotten())", "asyncio", "ValueError"),
    "a callback of the loop": (
        "loop = asyncio.new_event_loop(); loop.call_soon(fail); loop.call_soon(loop.stop);"
        "loop.run_forever(); loop.close()",
        "asyncio",
        "ValueError",
    ),
    "a warning": ("warnings.warn(secret)", "warnings", "UserWarning"),
    "an error of gRPC's": (
        "logging.getLogger('grpc._server').error('failed on %s', secret)",
        "grpc",
        "none",
    ),
    "an exception of uvicorn's": (
        "try: fail()\nexcept ValueError: logging.getLogger('uvicorn.error').exception(secret)",
        "uvicorn",
        "ValueError",
    ),
    "a logger that nobody knows": (
        "logging.getLogger(secret).critical(secret)",
        "logging",
        "none",
    ),
    "a coroutine that nobody awaited": ("forgotten()", "warnings", "RuntimeWarning"),
}


def ran(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-W", "always", "-c", BEFORE + code, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def events(err: str) -> list[dict[str, str]]:
    """The lines of the log; nothing else may stand there."""
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize(("code", "where", "error"), SAID.values(), ids=SAID)
def test_what_was_said_becomes_an_event(code: str, where: str, error: str) -> None:
    left = ran(code)
    assert left.stdout == ""
    assert SECRET not in left.stderr
    (told,) = events(left.stderr)
    assert (told["event"], told["where"], told["error"]) == ("unforeseen", where, error)


def test_a_message_that_cannot_be_formatted_is_not_printed() -> None:
    left = ran("logging.getLogger('grpc').error('%d', secret)")
    assert (left.returncode, SECRET in left.stderr) == (0, False)
    assert len(events(left.stderr)) == 1


def test_a_flood_is_one_fact() -> None:
    left = ran("for _ in range(1000): logging.getLogger('grpc').error(secret)")
    assert len(events(left.stderr)) == 1


def test_ordinary_words_of_libraries_are_none() -> None:
    assert ran("logging.getLogger('grpc').info(secret)").stderr == ""


def test_a_fault_handler_that_somebody_enabled_is_off() -> None:
    code = "import faulthandler\nprint(faulthandler.is_enabled())"
    command = [sys.executable, "-P", "-X", "faulthandler", "-c", BEFORE + code]
    left = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert left.stdout == "False\n", left.stderr


@pytest.mark.parametrize("descriptor", [1, 2])
def test_only_the_log_reaches_standard_error(descriptor: int) -> None:
    """Whoever writes past Python: a C library, a child, what ends a process."""
    left = ran(
        "silence.only_the_log()\n"
        f"os.write({descriptor}, secret.encode()); print(secret); print(secret, file=sys.stderr)\n"
        f"os.system('echo {SECRET} >&{descriptor}')\n"
        "from sealserve.inference.server.events import Event, log\n"
        "log(Event.STOPPED)"
    )
    assert (left.returncode, left.stdout) == (0, "")
    assert [event["event"] for event in events(left.stderr)] == ["stopped"]


def test_a_library_that_ends_the_process_says_nothing() -> None:
    """As C++ does with an exception that nobody caught: in words of the exception's own."""
    left = ran(
        "silence.only_the_log()\n"
        "import ctypes, numpy\n"
        "ctypes.CDLL(None).perror(secret.encode())\n"
        "ctypes.CDLL(None).fflush(None)\n"
        "os.abort()"
    )
    assert left.returncode < 0
    assert (left.stdout, left.stderr) == ("", "")


HANDSHAKE = """
import socket, grpc
async def served():
    server = grpc.aio.server()
    pair = (sys.argv[1].encode(), sys.argv[2].encode())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"no handshake" * 100)
        await asyncio.to_thread(plain.recv, 100)
    await server.stop(None)
asyncio.run(served())
"""


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "as a control"])
def test_grpc_says_nothing_of_who_called(simulated_root: SimulatedRoot, silent: bool) -> None:
    """Its core writes to standard error, here that and how a handshake failed."""
    identity = TlsIdentity(machine_of(simulated_root))
    pair = (identity.key_pem.decode(), identity.certificate_pem.decode())
    left = ran(("" if silent else "del os.environ['GRPC_VERBOSITY']\n") + HANDSHAKE, *pair)
    assert left.returncode == 0
    assert ("handshake" in left.stderr.lower()) is not silent

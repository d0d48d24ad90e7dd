"""What a process really does, by its system calls: importing does nothing, serving writes nothing.

Nothing here believes our own code: strace lists every call, and whatever is not known to be memory
counts as a disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect
from sealserve.keys import new_identity
from support import client_case as case
from support.client_server import MODEL
from support.models_onnx import batch, classifier, predict
from support.models_sealed import seal_model
from support.server_process import SECONDS, clean_environment, serving
from support.system_calls import Call, calls_in, child_of, on_disk, strace, written

# The interpreter's cache of bytecode is not ours; everything else a process writes is.
PYTHON = (sys.executable, "-I", "-B")
SOCKETS = {"socket", "socketpair", "connect", "bind", "listen", "sendto", "sendmsg"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder to run programs in."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def trace_of(program: str, home: Path, keep: Sequence[int] = ()) -> list[Call]:
    """Every call of a Python program. keep: descriptors it gets."""
    trace = home.with_name("calls.trace")
    ran = subprocess.run(
        [*strace(trace), *PYTHON, "-c", program],
        cwd=home,
        env=clean_environment(HOME=str(home)),
        pass_fds=keep,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    return calls_in(trace)


# ---- importing

# Whoever asks a vault imports these, and with them urllib3, which tries for IPv6 as it loads.
ASKING_A_VAULT = [
    *("bounded", "opener", "owner", "place", "vault"),
    *(
        f"sidecar.{name}"
        for name in ("allowed", "app", "packets", "provider", "server", "service", "wrapping")
    ),
]
IMPORT_THOSE = f"import {', '.join(f'sealserve.keys.{name}' for name in ASKING_A_VAULT)}"
EVERY_OTHER_MODULE = f"""
import importlib, pkgutil, sealserve
others = ["sealserve.__main__", *(f"sealserve.keys.{{name}}" for name in {ASKING_A_VAULT})]
for module in pkgutil.walk_packages(sealserve.__path__, "sealserve."):
    if module.name not in others:
        importlib.import_module(module.name)
"""
EVERY_NAME = """
import sealserve  # whose names load on first use
for name in sealserve.__all__:
    getattr(sealserve, name)
"""
IMPORTS = {"every other module": EVERY_OTHER_MODULE, "every name": EVERY_NAME}


@pytest.mark.parametrize("program", IMPORTS.values(), ids=IMPORTS)
def test_importing_opens_no_socket_and_writes_no_file(program: str, home: Path) -> None:
    calls = trace_of(program, home)
    opened = {path for call in calls if call.name == "openat" for path in call.paths()}
    assert any("/sealserve/" in path for path in opened)  # it was our package, and it was seen
    assert not [call for call in calls if call.name in SOCKETS]
    assert on_disk(written(calls)) == set()
    assert not list(home.iterdir())


def test_what_asks_a_vault_tries_for_ipv6_at_home_and_goes_nowhere(home: Path) -> None:
    """In one process: urllib3 tries once, and what else a module did would be seen beside it."""
    calls = trace_of(
        f"import {', '.join(f'sealserve.keys.{name}' for name in ASKING_A_VAULT)}", home
    )
    sockets = [call for call in calls if call.name in SOCKETS]
    assert [call.name for call in sockets] == ["socket", "bind"]
    assert '"::1"' in sockets[1].arguments
    assert on_disk(written(calls)) == set()


# ---- serving

MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Served:
    """A server from start to end: what it was given, what it did, and what it answered."""

    calls: list[Call]
    log: Path
    sealed: Path
    plain: bytes
    answer: bytes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Served:
    """A server that opens a model, answers a client that verified it, and is told to stop."""
    folder = tmp_path_factory.mktemp("traced") / "desk"
    folder.mkdir()
    plain = classifier()
    keys = [new_identity(folder / "owner.key").recipient]
    sealed = seal_model(plain, folder / "net.sealed", keys=keys, name=MODEL)
    trust = case.trust(simulated_root, (case.ROOT.hex(), sealed.root.hex()))
    trace = folder.with_name("serve.trace")
    with serving(
        folder,
        ("net.sealed", "--root", sealed.root.hex(), "--identity", "owner.key", "--listen",
         "127.0.0.1:0"),
        case.machine(simulated_root),
        prefix=strace(trace),
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
    ) as server:  # fmt: skip
        assert "weights in private-tmpfs" in server.ready
        with connect(server.target, trust) as client:
            answer = client.predict(MODEL, batch())["y"].tobytes()
        os.kill(child_of(server.process.pid), signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
    return Served(
        calls_in(trace), server.log, folder / "net.sealed", plain.SerializeToString(), answer
    )


def test_the_traced_server_answers_what_the_plain_model_does(served: Served) -> None:
    """So what was traced is a server at work."""
    (plain,) = predict(served.plain, batch())
    assert served.answer == plain.tobytes()


def test_the_trace_sees_the_weights_where_they_are_written(served: Served) -> None:
    """And so would see them anywhere else."""
    found = written(served.calls, MEMORY)
    for name in ("00000", "small"):
        assert {"openat", "ftruncate", "pwrite64"} <= found[f"memory:{MEMORY}/0/weights/{name}"]
    opened = [call for call in served.calls if call.name == "openat"]
    assert any(served.sealed.name in path for call in opened for path in call.paths())


def test_a_server_writes_nothing_to_a_disk_but_its_log(served: Served) -> None:
    assert on_disk(written(served.calls, MEMORY)) == {str(served.log)}
    lines = served.log.read_text().splitlines()
    assert [line for line in lines if not line.startswith(("{", "warning: "))] == []


def test_without_its_private_mount_the_weights_would_count_as_on_a_disk(served: Served) -> None:
    assert f"{MEMORY}/0/weights/00000" in on_disk(written(served.calls))


def test_a_server_listens_once_and_after_the_weights_can_no_longer_be_opened(
    served: Served,
) -> None:
    names = [call.name for call in served.calls]
    last_byte = max(n for n, name in enumerate(names) if name == "pwrite64")
    assert last_byte < names.index("umount2") < names.index("listen")
    assert names.count("listen") == 1


# ---- the trace itself

WAYS = {
    "open": ("open('new', 'w')", {"new"}),
    "append": ("open('old', 'a')", {"old"}),
    "read and write": ("open('old', 'r+b')", {"old"}),
    "an open that fails": ("os.open('no/new', os.O_CREAT)", {"no/new"}),
    "a file without a name": ("os.open('.', os.O_TMPFILE | os.O_RDWR)", {"."}),
    "below a folder": ("os.open('new', os.O_CREAT, dir_fd=os.open('.', 0))", {"new"}),
    "in a child": ("os.fork() and os.wait() or open('new', 'w')", {"new"}),
    "in a thread": ("threading.Thread(target=open, args=('new', 'w')).start()", {"new"}),
    "rename": ("os.rename('old', 'new')", {"old", "new"}),
    "link": ("os.link('old', 'new')", {"old", "new"}),
    "symlink": ("os.symlink('old', 'new')", {"old", "new"}),
    "folder": ("os.mkdir('new')", {"new"}),
    "pipe": ("os.mkfifo('new')", {"new"}),
    "truncate": ("os.truncate('old', 1)", {"old"}),
    "unlink": ("os.unlink('old')", {"old"}),
    "mode": ("os.chmod('old', 0o600)", {"old"}),
    "times": ("os.utime('old')", {"old"}),
    "attribute": ("os.setxattr('old', 'user.a', b'')", {"old"}),
    "write": ("os.write(fd, b'x')", {"kept"}),
    "pwrite": ("os.pwrite(fd, b'x', 0)", {"kept"}),
    "writev": ("os.writev(fd, [b'x'])", {"kept"}),
    "ftruncate": ("os.ftruncate(fd, 9)", {"kept"}),
    "sendfile": ("os.sendfile(fd, fd, 0, 1)", {"kept"}),
    "a shared mapping": ("mmap.mmap(fd, 1)", {"kept"}),
    "copy_file_range": ("os.copy_file_range(fd, fd, 1, 0, 4)", {"something by copy_file_range"}),
}
PROGRAM = """
import mmap, os, threading
from contextlib import suppress
fd = {fd}
with suppress(OSError):
    {statement}
"""


@pytest.mark.parametrize(("statement", "paths"), WAYS.values(), ids=WAYS)
def test_every_way_to_a_disk_is_seen(statement: str, paths: set[str], home: Path) -> None:
    (home / "old").write_text("old")
    with (home / "kept").open("w+b") as kept:
        kept.write(b"kept")
        kept.flush()
        fd = kept.fileno()
        calls = trace_of(PROGRAM.format(fd=fd, statement=statement), home, (fd,))
    found = {os.path.relpath(path, home) if path.startswith("/") else path
             for path in on_disk(written(calls))}  # fmt: skip
    assert found == paths


def test_what_only_reads_is_not_called_writing(home: Path) -> None:
    (home / "old").write_text("old")
    program = "import mmap, os; mmap.mmap(os.open('old', os.O_RDONLY), 0, prot=mmap.PROT_READ)"
    assert on_disk(written(trace_of(program, home))) == set()


def test_sockets_are_seen(home: Path) -> None:
    calls = trace_of("import socket; socket.socket().close()", home)
    assert [call.name for call in calls if call.name in SOCKETS] == ["socket"]

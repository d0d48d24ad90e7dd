"""A hardened process, seen from inside and outside: each time a fresh one, as it is for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARDEN = """
import json, os, resource, sys
from pathlib import Path
{before}
from sealserve.inference.server.hardening import harden
hardened = harden().mount(1 << 20)
mount = hardened.mount
told = {{
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "mount": mount and [mount.directory, mount.options, mount.never_swapped],
    "why": hardened.why_no_mount,
    "loaded": sorted({{name.split(".")[0] for name in sys.modules}}),
}}
{after}
print(json.dumps(told), flush=True)
"""
MOUNTS = '[line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]'
PTRACED = """
import ctypes
libc = ctypes.CDLL(None)
told["dumpable"] = libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
"""

# Imported while the files can still be read. Who changes user owns its /proc again after an exec;
# the flag does the same here.
UNPRIVILEGED = """
import ctypes, sealserve.inference.server.hardening
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
"""


def hardened(before: str = "", after: str = "") -> dict[str, Any]:
    """What a process tells that ran `before`, hardened itself, and ran `after`."""
    program = HARDEN.format(before=before, after=after)
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_there_are_no_core_files_and_none_can_be_allowed_again() -> None:
    assert hardened()["core"] == [0, 0]


def test_others_of_the_same_user_cannot_trace_it() -> None:
    assert hardened(after=PTRACED)["dumpable"] == 0


def test_a_child_that_calls_exec_is_dumpable_again() -> None:
    """Which is why every child hardens itself: exec resets the flag (prctl(2))."""
    program = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    after = (
        "import subprocess\n"
        f"told['child'] = int(subprocess.check_output([sys.executable, '-c', {program!r}]))"
    )
    assert hardened(after=after)["child"] == 1


def test_there_is_a_private_tmpfs() -> None:
    told = hardened(after=f"told['mounts'] = {MOUNTS}")
    directory, options, never_swapped = told["mount"]
    assert directory == "/dev/shm"
    assert never_swapped == ("noswap" in options)
    (*_, last) = [line for line in told["mounts"] if line[1] == directory]
    assert (last[0], last[2]) == ("sealserve", "tmpfs")
    assert {"nosuid", "nodev", "noexec", "mode=700"} <= set(last[3].split(","))


def test_nobody_outside_sees_what_is_in_it() -> None:
    name = f"sealserve-test-{os.getpid()}"
    after = f"Path('/dev/shm/{name}').write_text('inside')"
    assert hardened(after=after)["mount"]
    assert not Path("/dev/shm", name).exists()
    assert "sealserve /dev/shm" not in Path("/proc/self/mounts").read_text()


def test_it_holds_what_was_asked_for_and_not_much_more() -> None:
    after = "s = os.statvfs('/dev/shm')\ntold['size'] = s.f_blocks * s.f_frsize"
    assert 1 << 20 <= hardened(after=after)["size"] <= 1 << 25


def test_detaching_shows_what_was_there_before() -> None:
    after = (
        "Path('/dev/shm/sealserve-test-file').write_text('x')\n"
        "mount.detach()\n"
        "told['left'] = Path('/dev/shm/sealserve-test-file').exists()"
    )
    assert hardened(after=after)["left"] is False


def test_with_a_second_thread_there_is_no_mount_but_the_rest() -> None:
    """`unshare` moves one thread only; weights would be in a place that the others do not see."""
    before = "import threading; threading.Thread(target=input, daemon=True).start()"
    program = HARDEN.format(before=before, after=PTRACED)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        told = json.loads(process.stdout.readline())
        process.stdin.close()
    assert told["mount"] is None
    assert "several threads" in told["why"]
    assert told["core"] == [0, 0]
    assert told["dumpable"] == 0


def test_without_privilege_a_user_namespace_serves_or_the_kernel_says_why() -> None:
    told = hardened(UNPRIVILEGED, PTRACED + "told['user'] = os.geteuid()")
    assert told["user"] != 0
    assert bool(told["mount"]) != bool(told["why"])
    assert told["core"] == [0, 0]
    assert told["dumpable"] == 0


@pytest.mark.parametrize("module", ["numpy", "grpc", "onnxruntime", "cryptography", "click"])
def test_nothing_heavy_is_loaded_before(module: str) -> None:
    assert module not in hardened()["loaded"]


def test_the_verb_hardens_before_anything_that_starts_threads() -> None:
    """When `harden` returns, `serve` has imported nothing that starts a thread."""
    code = """
import sys
from sealserve.cli.main import run
from sealserve.inference.server import hardening
def stop():
    print(*sorted({name.split('.')[0] for name in sys.modules}))
    raise SystemExit(0)
hardening.harden = stop
run(["serve", sys.executable, "--root", "00" * 32, "--identity", "owner.key"])
"""
    environment = {"PATH": os.environ["PATH"], "HOME": "/"}
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environment, capture_output=True, text=True
    )
    loaded = set(ran.stdout.split())
    assert "sealserve" in loaded, ran.stderr
    assert not loaded & {"numpy", "grpc", "onnxruntime", "cryptography", "azure"}

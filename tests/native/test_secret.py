"""Secret memory: what it holds, where it lies, and that nothing is left of it."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sealserve.native.secret import SecretBuffer

SECRET = b"not for logs"


def pages_at(address: int) -> str:
    """The flags of the mapping that holds this address (proc(5), smaps)."""
    for block in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", block)
        if found and int(found[1], 16) <= address < int(found[2], 16):
            flags = re.search(r"VmFlags: (.*)", block)
            assert flags
            return flags[1]
    raise AssertionError("not mapped")


def address_of(secret: SecretBuffer) -> int:
    numpy = pytest.importorskip("numpy")
    return int(numpy.frombuffer(secret, dtype="u1").ctypes.data)


@pytest.mark.parametrize("size", [0, 1, 32, 4095, 4096, 4097, 100_000])
def test_begins_as_zeros_and_takes_what_is_written(size: int) -> None:
    secret = SecretBuffer(size)
    assert len(secret) == size
    assert bytes(secret) == bytes(size)
    text = os.urandom(size)
    memoryview(secret)[:] = text
    assert bytes(secret) == text
    assert bytes(SecretBuffer.from_bytes(text)) == text


def test_from_bytes_is_a_copy() -> None:
    original = bytearray(SECRET)
    secret = SecretBuffer.from_bytes(original)
    original[:] = bytes(len(original))
    assert bytes(secret) == SECRET


@pytest.mark.parametrize("other", [SECRET, bytearray(SECRET), SecretBuffer.from_bytes(SECRET)])
def test_equals_the_same_bytes(other: bytes) -> None:
    assert SecretBuffer.from_bytes(SECRET).equals(other) is True


@pytest.mark.parametrize(
    "other", [b"", SECRET[:-1], SECRET + b"\0", b"N" + SECRET[1:], SECRET[::-1]]
)
def test_equals_nothing_else(other: bytes) -> None:
    assert SecretBuffer.from_bytes(SECRET).equals(other) is False


def test_empty_equals_empty() -> None:
    assert SecretBuffer(0).equals(b"")


def test_wiping_zeroes_what_views_see_and_hands_out_no_new_one() -> None:
    secret = SecretBuffer.from_bytes(SECRET)
    view = memoryview(secret)
    secret.wipe()
    secret.wipe()
    assert secret.wiped
    assert bytes(view) == bytes(len(SECRET))
    with pytest.raises(ValueError, match="wiped"):
        memoryview(secret)
    with pytest.raises(ValueError, match="wiped"):
        secret.equals(SECRET)
    view[:] = bytes(len(view))  # still valid memory
    view.release()
    assert len(secret) == len(SECRET)


def test_a_context_manager_wipes() -> None:
    with SecretBuffer.from_bytes(SECRET) as secret:
        view = memoryview(secret)
        assert bytes(view) == SECRET
    assert not any(view)


def test_a_context_manager_wipes_when_the_block_fails() -> None:
    secret = SecretBuffer.from_bytes(SECRET)
    with pytest.raises(KeyError), secret:
        raise KeyError
    assert secret.wiped


def test_pages_of_its_own_outside_core_dumps() -> None:
    secret = SecretBuffer(5000)
    address = address_of(secret)
    assert address % 4096 == 0
    flags = pages_at(address).split()
    assert "dd" in flags  # MADV_DONTDUMP
    assert ("lo" in flags) == secret.locked


def test_without_the_right_to_lock_it_says_so() -> None:
    """RLIMIT_MEMLOCK 0 binds only who lacks CAP_IPC_LOCK, so the child gives up being root."""
    code = (
        "import os, resource\n"
        "from sealserve.native.secret import SecretBuffer\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "os.getuid() or os.setuid(65534)\n"
        "secret = SecretBuffer.from_bytes(b'x')\n"
        "print(secret.locked, bytes(secret))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "b'x'"]


def test_a_forked_child_inherits_it() -> None:
    secret = SecretBuffer.from_bytes(SECRET)
    child = os.fork()
    if child == 0:
        os._exit(0 if bytes(secret) == SECRET else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_shows_its_size_only() -> None:
    secret = SecretBuffer.from_bytes(SECRET)
    assert repr(secret) == str(secret) == "SecretBuffer(12 bytes)"


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_is_never_pickled_or_copied(leak: object) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        leak(SecretBuffer(1))  # type: ignore[operator]


def test_impossible_sizes() -> None:
    with pytest.raises(ValueError, match="negative"):
        SecretBuffer(-1)
    with pytest.raises(MemoryError):
        SecretBuffer(sys.maxsize)
    with pytest.raises(OverflowError):
        SecretBuffer(1 << 64)
    with pytest.raises(TypeError):
        SecretBuffer("32")  # type: ignore[arg-type]


def test_dropping_it_gives_the_pages_back() -> None:
    secret = SecretBuffer.from_bytes(bytes(1 << 20))
    address = address_of(secret)
    del secret
    with pytest.raises(AssertionError, match="not mapped"):
        pages_at(address)

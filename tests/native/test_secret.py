"""Secret memory: what it holds, where it lies, and that nothing is left of it."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from sealserve.native.cobblestone import Message
from sealserve.native.secret import SecretBuffer
from support.unlocked import limited

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
    assert "dc" in flags  # MADV_DONTFORK
    assert ("lo" in flags) == secret.locked


def test_inherited_pages_are_kept_out_of_core_dumps_alone() -> None:
    secret = SecretBuffer(5000, inherited=True)
    assert (secret.inherited, SecretBuffer(1).inherited) == (True, False)
    flags = pages_at(address_of(secret)).split()
    assert "dd" in flags
    assert "dc" not in flags
    assert ("lo" in flags) == secret.locked


# ---- when the kernel locks no memory

LOCK_FOUR = """
from sealserve.native.secret import SecretBuffer
secrets = [SecretBuffer.from_bytes(b"x") for _ in range(4)]
print([secret.locked for secret in secrets], [bytes(secret) for secret in secrets])
"""


def under_limit(limit_bytes: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        limited(limit_bytes, *options, "-c", LOCK_FOUR),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("locked", [0, 1, 3])
def test_without_the_right_to_lock_it_goes_on_and_says_so_once(locked: int) -> None:
    ran = under_limit(locked * 4096)
    states = [number < locked for number in range(4)]
    assert ran.stdout == f"{states} {[b'x'] * 4}\n", ran.stderr
    (said,) = re.findall(r"\w+Warning: .*", ran.stderr)
    assert said.startswith("UnlockedMemoryWarning: keys and opened models may be swapped")
    assert f"the limit for locked memory is {locked * 4096} bytes; raise it (ulimit -l)" in said


def test_with_the_right_to_lock_nothing_is_said() -> None:
    ran = under_limit(4 * 4096)
    assert (ran.stdout, ran.stderr) == (f"{[True] * 4} {[b'x'] * 4}\n", "")


def test_whoever_takes_the_warning_for_an_error_gets_no_buffer() -> None:
    ran = under_limit(0, "-W", "error")
    assert ran.returncode == 1
    assert "UnlockedMemoryWarning: keys and opened models may be swapped" in ran.stderr


# ---- in a forked child


def in_a_child(work: Callable[[], object]) -> None:
    """It returns there without an exception, and without a signal that ends the process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_does_not_have_it() -> None:
    secret = SecretBuffer.from_bytes(SECRET)

    def ask() -> None:
        for question in (lambda: memoryview(secret), lambda: secret.equals(SECRET)):
            with pytest.raises(RuntimeError, match=f"this one, {os.getpid()}, was forked from it"):
                question()
        with pytest.raises(RuntimeError, match="stayed in the process that made it"):
            SecretBuffer.from_bytes(SECRET).equals(secret)
        assert (len(secret), repr(secret)) == (len(SECRET), f"SecretBuffer({len(SECRET)} bytes)")

    in_a_child(ask)
    assert bytes(secret) == SECRET


def test_a_view_from_before_the_fork_finds_zeros_in_the_child() -> None:
    """Also in a child of that child, and where it writes, its parent sees nothing of it."""
    secret = SecretBuffer.from_bytes(SECRET)
    view = memoryview(secret)

    def look() -> None:
        assert bytes(view) == bytes(len(SECRET))
        view[:3] = b"new"
        in_a_child(lambda: view[:1] == b"n" or os.abort())

    in_a_child(look)
    assert bytes(view) == SECRET


def test_a_child_wipes_and_drops_what_it_does_not_have() -> None:
    secrets = [SecretBuffer.from_bytes(SECRET) for _ in range(3)]
    view, addresses = memoryview(secrets[2]), [address_of(secret) for secret in secrets]

    def drop() -> None:
        with secrets[0]:
            pass
        secrets[2].wipe()
        with pytest.raises(ValueError, match="wiped"):
            memoryview(secrets[2])
        secrets.clear()
        assert bytes(view) == bytes(len(SECRET))
        view.release()
        for address in addresses:  # what lies there may be somebody else's by now
            assert pages_at(address)
        in_a_child(lambda: SecretBuffer.from_bytes(SECRET).wipe())

    in_a_child(drop)
    assert [bytes(secret) for secret in secrets] == [SECRET] * 3


def test_a_child_has_secrets_of_its_own_and_leaves_its_parent_s_alone() -> None:
    before = SecretBuffer.from_bytes(SECRET)
    del before  # no longer in the list that a fork walks

    def work() -> None:
        own = SecretBuffer.from_bytes(SECRET)
        assert bytes(own) == SECRET
        assert "dc" in pages_at(address_of(own)).split()

        def ask() -> None:
            with pytest.raises(RuntimeError, match="stayed in the process"):
                memoryview(own)

        in_a_child(ask)

    in_a_child(work)


def test_a_child_has_a_copy_of_what_is_inherited() -> None:
    secret = SecretBuffer(len(SECRET), inherited=True)
    view = memoryview(secret)
    view[:] = SECRET

    def use() -> None:
        assert bytes(view) == bytes(secret) == SECRET
        secret.wipe()
        assert bytes(view) == bytes(len(SECRET))

    in_a_child(use)
    assert bytes(secret) == SECRET


def test_a_child_has_no_message_of_its_parent_s() -> None:
    message = Message.new(bytes(32), b"")

    def use() -> None:
        with pytest.raises(RuntimeError, match="stayed in the process"):
            message.seal_into(0, b"", bytearray(16), last=True)
        with pytest.raises(RuntimeError, match="stayed in the process"):
            message.open_into(0, bytes(16), bytearray(16), last=True)
        message.wipe()

    in_a_child(use)
    assert message.seal_into(0, b"", bytearray(16), last=True) == 16


# ---- leaks


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

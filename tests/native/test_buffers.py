"""Whatever takes bytes takes any contiguous buffer, and refuses what is none before it begins."""

from __future__ import annotations

import array
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

from sealserve.native.destination import Destination
from support.native_backends import NATIVE
from support.native_loading import memory_file
from support.native_sealed import CONTEXT, KEY, Sealed, sealed

CHUNK, PAGE = 16384, 4096
CASE = sealed(CHUNK + 100)
KEY_BYTES, NONCE = 32, bytes(12)


@dataclass(frozen=True)
class World:
    """Everything a call needs beside the buffer in question."""

    backend: Any
    file: int
    target: int

    @property
    def case(self) -> Sealed:
        return CASE

    def tree(self) -> Any:
        return self.backend.TrustedTree.load(CASE.tree.area, len(CASE.data), CASE.tree.root)

    def message(self) -> Any:
        return self.backend.Message.of(KEY, CASE.header, CONTEXT)

    def opening(self) -> dict[str, Any]:
        return {**CASE.layout, "tree": self.tree(), "message": self.message()}

    def load(self, buffer: Any) -> None:
        destination = Destination(5, 100, buffer=buffer)
        self.backend.load(self.file, **self.opening(), destinations=[destination])

    def read_into(self, buffer: Any) -> None:
        self.backend.Ranges(self.file, **self.opening()).read_into(5, buffer)

    def seal_unit(self, plain: Any, digests: Any) -> None:
        self.backend.seal_unit(self.target, 0, self.message(), 0, plain, digests, last=True)


@pytest.fixture
def world(backend: Any, tmp_path: Path) -> Iterator[World]:
    file = CASE.write(tmp_path / "sealed")
    with memory_file() as target:
        yield World(backend, file, target)
    os.close(file)


# By name: how many bytes, and the call that is given them.
Calls = dict[str, tuple[int, Callable[[World, Any], Any]]]
SEALED = bytes(CASE.data[PAGE : PAGE + CHUNK + 16])
READS: Calls = {
    "gcm_seal key": (32, lambda w, b: w.backend.gcm_seal(b, NONCE, b"")),
    "gcm_seal nonce": (12, lambda w, b: w.backend.gcm_seal(KEY, b, b"")),
    "gcm_seal plain": (100, lambda w, b: w.backend.gcm_seal(KEY, NONCE, b)),
    "gcm_open key": (32, lambda w, b: w.backend.gcm_open(b, NONCE, GCM_OF_NOTHING)),
    "gcm_open nonce": (12, lambda w, b: w.backend.gcm_open(bytes(32), b, GCM_OF_NOTHING)),
    "sha256_blocks salt": (32, lambda w, b: w.backend.sha256_blocks(b, b"", 64)),
    "sha256_blocks blocks": (128, lambda w, b: w.backend.sha256_blocks(bytes(32), b, 64)),
    "hmac_sha512 key": (32, lambda w, b: w.backend.hmac_sha512(b, b"")),
    "hmac_sha512 data": (100, lambda w, b: w.backend.hmac_sha512(KEY, b)),
    "Message.new key": (32, lambda w, b: w.backend.Message.new(b, b"")),
    "Message.new context": (9, lambda w, b: w.backend.Message.new(KEY, b)),
    "seal_into plain": (100, lambda w, b: w.message().seal_into(0, b, bytearray(116), last=True)),
    "TreeBuilder.update": (PAGE, lambda w, b: w.backend.TreeBuilder().update(b)),
    "digests_of": (PAGE, lambda w, b: w.backend.digests_of(b)),
    "tree_of": (64, lambda w, b: w.backend.tree_of(b)),
    "seal_unit plain": (100, lambda w, b: w.seal_unit(b, bytearray(32))),
}
GCM_OF_NOTHING = bytes.fromhex("530f8afbc74536b9a963b4f1c4cb738b")  # test case 13 of the GCM paper
# Where only the right bytes are taken: what they are.
READS_OF_THE_CASE: dict[str, tuple[bytes, Callable[[World, Any], Any]]] = {
    "gcm_open sealed": (GCM_OF_NOTHING, lambda w, b: w.backend.gcm_open(bytes(32), NONCE, b)),
    "Message.of header": (CASE.header, lambda w, b: w.backend.Message.of(KEY, b, CONTEXT)),
    "Message.of key": (KEY, lambda w, b: w.backend.Message.of(b, CASE.header, CONTEXT)),
    "Message.of context": (CONTEXT, lambda w, b: w.backend.Message.of(KEY, CASE.header, b)),
    "open_into sealed": (
        SEALED,
        lambda w, b: w.message().open_into(0, b, bytearray(CHUNK), last=False),
    ),
    "root_of area": (CASE.tree.area, lambda w, b: w.backend.root_of(b, len(CASE.data))),
    "TrustedTree.load area": (
        CASE.tree.area,
        lambda w, b: w.backend.TrustedTree.load(b, len(CASE.data), CASE.tree.root),
    ),
    "TrustedTree.load root": (
        CASE.tree.root,
        lambda w, b: w.backend.TrustedTree.load(CASE.tree.area, len(CASE.data), b),
    ),
    "TrustedTree.check": (CASE.data, lambda w, b: w.tree().check(0, b)),
}
WRITES: Calls = {
    "seal_into out": (116, lambda w, b: w.message().seal_into(0, bytes(100), b, last=True)),
    "open_into out": (CHUNK, lambda w, b: w.message().open_into(0, SEALED, b, last=False)),
    "seal_unit digests": (32, lambda w, b: w.seal_unit(bytes(100), b)),
    "load": (100, lambda w, b: w.load(b)),
    "read_into": (100, lambda w, b: w.read_into(b)),
}
BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "part of another": lambda data: memoryview(bytearray(b"x" + data + b"x"))[1:-1],
    "array": lambda data: array.array("B", data),
    "numpy": lambda data: numpy.frombuffer(bytearray(data), dtype="u1"),
}
NO_BUFFERS: dict[str, Any] = {"text": "x" * 32, "number": 32, "nothing": None, "list": [0] * 32}


def every(*tables: dict[str, Any]) -> Any:
    calls = {
        name: (bytes(given) if isinstance(given, int) else given, call)
        for table in tables
        for name, (given, call) in table.items()
    }
    return pytest.mark.parametrize(("data", "call"), calls.values(), ids=calls)


@pytest.mark.parametrize("kind", BUFFERS)
@every(READS, READS_OF_THE_CASE, WRITES)
def test_any_contiguous_buffer(
    world: World, data: bytes, call: Callable[[World, Any], Any], kind: str
) -> None:
    call(world, BUFFERS[kind](data))


@every(READS, READS_OF_THE_CASE, WRITES)
def test_one_with_gaps(world: World, data: bytes, call: Callable[[World, Any], Any]) -> None:
    spread = bytearray(2 * len(data))
    spread[::2] = data
    with pytest.raises(BufferError, match="contiguous"):
        call(world, memoryview(spread)[::2])
    assert spread[::2] == data


@every(WRITES)
def test_one_that_may_not_be_written(
    world: World, data: bytes, call: Callable[[World, Any], Any]
) -> None:
    with pytest.raises(BufferError, match="writable"):
        call(world, data)
    assert not any(data)


@pytest.mark.parametrize("other", NO_BUFFERS)
@every(READS, READS_OF_THE_CASE, WRITES)
def test_what_has_no_buffer(
    world: World, data: bytes, call: Callable[[World, Any], Any], other: str
) -> None:
    # A destination without a buffer is one, but has no target.
    no_target = other == "nothing" and call is WRITES["load"][1]
    with pytest.raises(ValueError if no_target else TypeError):
        call(world, NO_BUFFERS[other])


def test_digests_that_would_overwrite_the_text(world: World) -> None:
    memory = memoryview(bytearray(100 + 32))
    with pytest.raises(ValueError, match="overlap"):
        world.seal_unit(memory[:101], memory[100:])
    with pytest.raises(ValueError, match="overlap"):
        world.seal_unit(memory[:32], memory[:32])


def test_digests_beside_the_text() -> None:
    memory = memoryview(bytearray(100 + 32))
    with memory_file() as target:
        World(NATIVE, -1, target).seal_unit(memory[:100], memory[100:])


# ---- numbers

Numbered = dict[str, Callable[[World, Any], Any]]
NUMBERS: Numbered = {
    "sha256_blocks block_bytes": lambda w, n: w.backend.sha256_blocks(bytes(32), bytes(64), n),
    "seal_into": lambda w, n: w.message().seal_into(n, b"", bytearray(16), last=True),
    "open_into": lambda w, n: w.message().open_into(n, bytes(16), bytearray(16), last=True),
    "check": lambda w, n: w.tree().check(n, bytes(PAGE)),
    "tree_size": lambda w, n: w.backend.tree_size(n),
    "sealed_size": lambda w, n: w.backend.sealed_size(n),
    "read_into": lambda w, n: w.backend.Ranges(w.file, **w.opening()).read_into(n, bytearray(1)),
    "seal_unit fd": lambda w, n: w.backend.seal_unit(
        n, 0, w.message(), 0, b"", bytearray(32), last=True
    ),
    "seal_unit offset": lambda w, n: w.backend.seal_unit(
        w.target, n, w.message(), 0, b"", bytearray(32), last=True
    ),
    "seal_unit first_chunk": lambda w, n: w.backend.seal_unit(
        w.target, 0, w.message(), n, b"", bytearray(32), last=True
    ),
    "Ranges fd": lambda w, n: w.backend.Ranges(n, **w.opening()),
    "load fd": lambda w, n: w.backend.load(n, **w.opening(), destinations=[]),
    **{
        f"load {name}": lambda w, n, name=name: w.backend.load(
            w.file, **{**w.opening(), "destinations": [], name: n}
        )
        for name in ("payload_offset", "data_bytes", "threads")
    },
    **{
        f"destination {name}": lambda w, n, name=name: w.backend.load(
            w.file, **w.opening(), destinations=[Destination(**{**LANDING, name: n})]
        )
        for name in ("start", "size", "offset")
    },
    "destination fd": lambda w, n: w.backend.load(
        w.file, **w.opening(), destinations=[Destination(0, 1, fd=n)]
    ),
}
LANDING: dict[str, Any] = {"start": 0, "size": 1, "offset": 0, "buffer": bytearray(1)}


@pytest.mark.parametrize("number", [1 << 70, 1 << 64, (1 << 63) + 1, -(1 << 70)])
@pytest.mark.parametrize("call", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_c_does_not_have(
    world: World, call: Callable[[World, Any], Any], number: int
) -> None:
    with pytest.raises(ValueError, match=r"."):
        call(world, number)


@pytest.mark.parametrize("number", ["1", 0.5, b"1"])
@pytest.mark.parametrize("call", NUMBERS.values(), ids=NUMBERS)
def test_what_is_no_number(world: World, call: Callable[[World, Any], Any], number: object) -> None:
    with pytest.raises(TypeError):
        call(world, number)


@pytest.mark.parametrize("destinations", [5, [5], [None], [(0, 1)]])
def test_what_is_no_destination(world: World, destinations: Any) -> None:
    with pytest.raises(TypeError):
        world.backend.load(world.file, **world.opening(), destinations=destinations)

"""Models beyond 2 and 4 GiB: sealed, checked and opened with little memory.

Takes minutes and 9 GiB of disk, where pytest keeps its temporary folders.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import models_verity
from support.models_large import (
    INT32_END,
    UINT32_END,
    Ran,
    look_up,
    marks,
    run_measured,
    save_external,
    save_inline,
)
from support.models_sealed import KEY

pytestmark = pytest.mark.long

# Python, onnx and the tree's 33 MiB; the buffers are a few MiB. Nothing here grows with weights.
MAX_PEAK = 256 << 20
EXTERNAL_BYTES = UINT32_END + (64 << 20)
EXTERNAL_MARKS = marks(0, INT32_END - 32, UINT32_END - 32, EXTERNAL_BYTES - 64)
PROTOBUF_BYTES = INT32_END - 1  # the largest message there is
ENTRY = "weights/00000"


@dataclass(frozen=True)
class Case:
    """One large model. sealing: what `seal` said and took."""

    folder: Path
    sealing: Ran

    @property
    def path(self) -> Path:
        return self.folder / "net.sealed"

    @property
    def key(self) -> str:
        return f"raw:{self.folder / 'raw.key'}"

    @property
    def root(self) -> str:
        root: str = json.loads(self.sealing.out)["root"]
        return root

    @property
    def hash_offset(self) -> int:
        offset: int = json.loads(self.sealing.out)["hash_offset"]
        return offset


def seal_here(folder: Path) -> Case:
    """Seal net.onnx of this folder."""
    (folder / "raw.key").write_bytes(KEY)
    options = ["--key", f"raw:{folder}/raw.key", "--name", "net", "--version", "1", "--json"]
    return Case(
        folder, run_measured("seal", folder / "net.onnx", "-o", folder / "net.sealed", *options)
    )


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A table of more than 4 GiB beside its model."""
    folder = tmp_path_factory.mktemp("external")
    try:
        save_external(folder, EXTERNAL_BYTES, EXTERNAL_MARKS)
        yield seal_here(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where to unseal: gone as soon as the test is over."""
    yield tmp_path / "out"
    shutil.rmtree(tmp_path)


def test_sealing_takes_little_memory(external: Case) -> None:
    assert external.sealing.status == 0, external.sealing.err
    assert external.path.stat().st_size > EXTERNAL_BYTES
    assert external.sealing.peak < MAX_PEAK


def test_verifying_takes_little_memory(external: Case) -> None:
    ran = run_measured("verify", external.path, "--root", external.root)
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < MAX_PEAK


def test_veritysetup_accepts_it(external: Case) -> None:
    root = bytes.fromhex(external.root)
    assert models_verity.accepts(external.path, root, external.hash_offset)


@pytest.mark.parametrize("at", [INT32_END, UINT32_END], ids=["2 GiB", "4 GiB"])
def test_one_bit_beyond_32_bits_is_found(at: int, external: Case) -> None:
    flip(external.path, at)
    try:
        ran = run_measured("verify", external.path, "--root", external.root)
    finally:
        flip(external.path, at)
    assert ran.status == 4
    assert f"block {at // 4096} is not the one in the hash tree" in ran.err
    assert ran.peak < MAX_PEAK


def test_unsealing_takes_little_memory_and_gives_back_every_mark(external: Case, out: Path) -> None:
    ran = run_measured(
        "unseal", external.path, "-o", out, "--root", external.root, "--key", external.key
    )
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < MAX_PEAK
    assert (out / ENTRY).stat().st_size == EXTERNAL_BYTES
    assert look_up(out / "model.onnx", EXTERNAL_MARKS) == EXTERNAL_MARKS


def test_the_largest_model_with_its_weights_inside(out: Path) -> None:
    """Its graph becomes small; a byte more is refused (test_refused_sources)."""
    folder = out.parent
    marked = marks(0, 1 << 30, PROTOBUF_BYTES - 1024)
    size = save_inline(folder / "net.onnx", PROTOBUF_BYTES, marked)
    assert (folder / "net.onnx").stat().st_size == PROTOBUF_BYTES
    case = seal_here(folder)
    assert case.sealing.status == 0, case.sealing.err
    assert case.sealing.peak < MAX_PEAK
    (folder / "net.onnx").unlink()
    ran = run_measured("unseal", case.path, "-o", out, "--root", case.root, "--key", case.key)
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < MAX_PEAK
    assert (out / ENTRY).stat().st_size == size
    assert look_up(out / "model.onnx", marked) == marked


def flip(path: Path, at: int) -> None:
    """Change one bit in place."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))

"""The C layer on processors that this machine is not, run by QEMU: each takes the portable path.

An x86 of 2008 runs the very modules that are built here. For aarch64 the C sources are compiled,
with warnings as errors, and linked to a program that prints its answers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCES = ROOT / "native/src"
STRICT = ("-O3", "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SIZES = (0, 1, 15, 16, 511, 512, 513, 16384, 70001)
# Where `make long` unpacks OpenSSL for the other architecture.
LIBCRYPTO = ROOT / "build/aarch64/usr/lib/aarch64-linux-gnu"
AARCH64 = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={LIBCRYPTO}")
OLD_X86 = ("qemu-x86_64", "-cpu", "Nehalem")

pytestmark = pytest.mark.long


def compiled(compiler: str, program: Path) -> Path:
    sources = [*sorted(SOURCES.glob("*.c")), HERE / "other_processors/answers.c"]
    command = [compiler, *STRICT, f"-I{SOURCES}", *sources, "-ldl", "-o", program]
    subprocess.run(command, check=True)
    return program


def output(*command: object) -> str:
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def filled(size: int, seed: int) -> bytes:
    """As the program fills."""
    return bytes((seed + 7 * i + (i >> 8)) & 0xFF for i in range(size))


def answers(sizes: Sequence[int]) -> Iterator[str]:
    aead = AESGCM(filled(32, 1))
    for size in sizes:
        plain = filled(size, 3)
        yield f"sealed {aead.encrypt(filled(12, 2), plain, None).hex()}"
        yield f"opened {plain.hex()}"
        yield f"after a forgery {bytes(size).hex()}"
    blocks, salt = filled(40 * 128, 4), filled(32, 5)
    parts = [blocks[at : at + 128] for at in range(0, len(blocks), 128)]
    yield "digests " + "".join(hashlib.sha256(salt + part).hexdigest() for part in parts)
    yield "mac " + hmac.digest(salt, blocks, "sha512").hex()


PORTABLE = ["gcm libcrypto", "sha256 libcrypto"]


def test_aarch64(tmp_path: Path) -> None:
    program = compiled("aarch64-linux-gnu-gcc", tmp_path / "answers")
    seen = output(*AARCH64, program, *SIZES).splitlines()
    assert seen == [*PORTABLE, *answers(SIZES)]


def test_an_old_x86(tmp_path: Path) -> None:
    program = compiled("gcc", tmp_path / "answers")
    seen = output(*OLD_X86, program, *SIZES).splitlines()
    assert seen == [*PORTABLE, *answers(SIZES)]


def test_the_modules_on_an_old_x86() -> None:
    code = "from sealserve.native.crypto import kernels; print(kernels())"
    paths = os.pathsep.join(sys.path)
    seen = output(*OLD_X86, "-E", f"PYTHONPATH={paths}", sys.executable, "-c", code)
    assert seen == "{'gcm': ['libcrypto'], 'sha256': ['libcrypto']}\n"
    tests = [HERE / f"test_{name}.py" for name in ("crypto", "vectors", "cobblestone")]
    pytest_ = ["-m", "pytest", "-q", "-m", "not long", "-p", "no:xdist", "-p", "no:cacheprovider"]
    output(*OLD_X86, "-E", f"PYTHONPATH={paths}", sys.executable, *pytest_, *tests)

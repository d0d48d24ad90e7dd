"""No branch and no address of our code that sees secrets depends on key, text, tag or H.

The kernels' own source runs under valgrind's memcheck with every secret marked undefined, its
vector instructions spelled out in plain C (constant_time/immintrin.h). Taken out of it is what
computes nothing: barriers for the compiler, and the clearing of registers. What a compiler makes
of the intrinsics themselves is not seen here; each is one instruction that takes the same time for
all data (Intel, Data Operand Independent Timing Instructions).

The comparison and the portable path run as they are shipped, on the system's OpenSSL. What that
does with a secret is OpenSSL's to answer for, and its comparison of tags ends in a branch: errors
inside of it are suppressed, and ours are not. What is hashed block by block is ciphertext: public.
"""

from __future__ import annotations

import hmac
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(__file__).resolve().parent / "constant_time"
SOURCES = ROOT / "native/src"
KERNELS = ("vaes512", "vaes256")
SHIPPED = ("memory.c", "libcrypto.c")
# What needs the real instructions and computes nothing, with how often it stands there.
TAKEN_OUT = {
    re.compile(r'__asm__ volatile\((?:[^()"]|"[^"]*"|#)*\)'): {"vaes512": 2, "vaes256": 1},
    re.compile(r"^ +HOLD(?:_SUM)?\(\w+\);$", re.MULTILINE): {"vaes512": 2, "vaes256": 3},
}
INSIDE_OPENSSL = "".join(
    f"{{\n{kind}\nMemcheck:{kind}\nobj:*/libcrypto.so*\n}}\n"
    for kind in ("Cond", "Value1", "Value2", "Value4", "Value8", "Value16", "Value32")
)
LENGTHS = [0, 1, 16, 31, 128, 129, 511, 512, 513, 1024 + 77]
ERRORS = 99

pytestmark = pytest.mark.long


def as_plain_c(kernel: str) -> str:
    """Loops stay rolled: unrolled, the model takes gcc minutes."""
    text = (SOURCES / f"gcm_{kernel}.c").read_text()
    text = re.sub(r"^#pragma GCC unroll \d+\n", "", text, flags=re.MULTILINE)
    for pattern, counts in TAKEN_OUT.items():
        text, found = pattern.subn("", text)
        assert found == counts[kernel], pattern
    assert "target(" in text
    text = text.replace("__attribute__((always_inline)) ", "")
    return re.sub(r"__attribute__\(\(target\([^)]*\)\)\)", "", text)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for kernel in KERNELS:
        (folder / f"gcm_{kernel}.c").write_text(as_plain_c(kernel))
    common = (SOURCES / "gcm_x86.h").read_text()
    (folder / "gcm_x86.h").write_text(re.sub(r', target\("[^"]*"\)', "", common))
    (folder / "suppressions").write_text(INSIDE_OPENSSL)
    includes = [f"-I{path}" for path in (folder, MODEL, SOURCES)]
    build = ["gcc", "-g", "-std=gnu11", *includes]
    sources = [*sorted(folder.glob("*.c")), MODEL / "harness.c"]
    for source in SHIPPED:
        compiled = folder / f"{source}.o"
        subprocess.run([*build, "-O3", "-c", SOURCES / source, "-o", compiled], check=True)
        sources.append(compiled)
    program = folder / "harness"
    subprocess.run([*build, "-O1", *sources, "-o", program, "-ldl"], check=True)
    return program


def run(harness: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    suppressions = f"--suppressions={harness.parent / 'suppressions'}"
    watched = ["valgrind", "-q", f"--error-exitcode={ERRORS}", suppressions, harness]
    command = [*map(str, watched), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def filled(size: int, seed: int) -> bytes:
    """As the harness fills."""
    return bytes((seed + 7 * i + (i >> 8)) & 0xFF for i in range(size))


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("kernel", [*KERNELS, "libcrypto"])
def test_nothing_depends_on_a_secret(harness: Path, kernel: str, size: int) -> None:
    ran = run(harness, kernel, size)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = dict(line.split(" ") for line in ran.stdout.splitlines())
    plain = filled(size, 3)
    sealed = AESGCM(filled(32, 1)).encrypt(filled(12, 2), plain, None)
    assert told == {
        "sealed": sealed[:-16].hex(),
        "tag": sealed[-16:].hex(),
        "opened": plain.hex(),
    }


@pytest.mark.parametrize("size", [512, 1024, 2560])
def test_chunks_in_a_row_depend_on_no_secret(harness: Path, size: int) -> None:
    ran = run(harness, "row", size)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = dict(line.split(" ") for line in ran.stdout.splitlines())
    plain, base, peer = filled(3 * size, 3), int.from_bytes(filled(12, 2)), AESGCM(filled(32, 1))
    sealed = b"".join(
        peer.encrypt((base ^ 0xFFFE + i).to_bytes(12), plain[i * size :][:size], None)
        for i in range(3)
    )
    assert told == {"sealed": sealed.hex(), "opened": plain.hex()}


@pytest.mark.parametrize("size", [0, 1, 16, 31, 32, 56, 64, 4097])
def test_a_comparison_takes_no_turn(harness: Path, size: int) -> None:
    """Of tags, commitments, digests and secrets: `constant_time_equal` is the only one there is."""
    ran = run(harness, "equal", size)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("size", [1, 64, 150])
def test_deriving_a_key_takes_no_turn(harness: Path, size: int) -> None:
    ran = run(harness, "hmac", size)
    assert (ran.returncode, ran.stderr) == (0, "")
    mac = hmac.digest(filled(32, 1), filled(size, 3), "sha512")
    assert ran.stdout == f"mac {mac.hex()}\n"


@pytest.mark.parametrize("routine", [*KERNELS, "libcrypto", "equal"])
def test_a_branch_on_a_secret_would_be_found(harness: Path, routine: str) -> None:
    ran = run(harness, routine, 16, "leak")
    assert ran.returncode == ERRORS
    assert "Conditional jump or move depends on uninitialised value" in ran.stderr

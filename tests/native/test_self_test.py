"""A libcrypto that is absent, incomplete or wrong stops the import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIAR = Path(__file__).with_name("lying_libcrypto.c")
FIND_REAL = """
import sealserve.native.crypto
print(next(l.split()[-1] for l in open("/proc/self/maps") if "libcrypto.so" in l))
"""


def import_crypto(code: str = "import sealserve.native.crypto", **env: str) -> tuple[int, str]:
    path = os.pathsep.join(sys.path)
    portable = {"SEALSERVE_GCM": "libcrypto", "SEALSERVE_SHA256": "libcrypto"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **portable, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def build(folder: Path, *flags: str) -> None:
    out = folder / "libcrypto.so.3"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", out, LIAR, *flags, "-ldl"], check=True)


@pytest.fixture(scope="module")
def real() -> str:
    code, path = import_crypto(FIND_REAL)
    assert code == 0, path
    return path


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("liar")
    build(folder)
    return folder


def test_the_liar_passes_while_it_tells_the_truth(liar: Path, real: str) -> None:
    code, said = import_crypto(LD_LIBRARY_PATH=str(liar), REAL_LIBCRYPTO=real, LIE="nowhere")
    assert (code, said) == (0, "")


LIES = {
    "tag": "wrong answer from AES-256-GCM seal",
    "accept": "wrong answer from AES-256-GCM open of a wrong tag",
    "refuse": "could not seal",
    "sha256": "wrong answer from SHA-256",
    "hmac": "wrong answer from HMAC-SHA-512",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wrong_answer_is_fatal(liar: Path, real: str, lie: str) -> None:
    code, said = import_crypto(LD_LIBRARY_PATH=str(liar), REAL_LIBCRYPTO=real, LIE=lie)
    assert code == 1
    assert LIES[lie] in said


def test_a_libcrypto_without_a_function(tmp_path: Path, real: str) -> None:
    build(tmp_path, "-DWITHOUT_HMAC")
    code, said = import_crypto(LD_LIBRARY_PATH=str(tmp_path), REAL_LIBCRYPTO=real, LIE="nowhere")
    assert code == 1
    assert "ImportError" in said
    assert "libcrypto has no HMAC" in said


def test_no_libcrypto_at_all(tmp_path: Path) -> None:
    for name in ("libcrypto.so.3", "libcrypto.so.1.1"):
        (tmp_path / name).write_bytes(b"not a library")
    code, said = import_crypto(LD_LIBRARY_PATH=str(tmp_path))
    assert code == 1
    assert "neither libcrypto.so.3 nor libcrypto.so.1.1" in said
    assert "hint: it needs OpenSSL" in said


@pytest.mark.parametrize("family", ["SEALSERVE_GCM", "SEALSERVE_SHA256"])
def test_a_kernel_this_processor_does_not_have(family: str) -> None:
    code, said = import_crypto(**{family: "abacus"})
    assert code == 1
    assert "no" in said
    assert f"{family} is 'abacus'" in said

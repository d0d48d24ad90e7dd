"""The tests of this folder, once more with each kernel that is not the processor's first choice.

That is every test that reaches one; the twin's part of it does not, and answered already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealserve.native.crypto import kernels

HERE = Path(__file__).parent
VARIABLES = {"gcm": "SEALSERVE_GCM", "sha256": "SEALSERVE_SHA256"}
OTHERS = [(family, name) for family, names in kernels().items() for name in names[1:]]
NOT_AGAIN = {
    "test_every_kernel.py": "itself",
    "test_bad_luck.py": "is about the system, whatever the kernel",
    "test_constant_time.py": "builds the kernels it asks",
    "test_large.py": "chooses each kernel itself",
    "test_self_test.py": "chooses the portable kernels itself",
    "test_buffers.py": "is about arguments, whatever the kernel",
    "test_errors.py": "reaches no kernel",
    "test_secret.py": "reaches no kernel",
    "test_stubs.py": "reaches no kernel",
}
FILES = sorted(file.name for file in HERE.glob("test_*.py") if file.name not in NOT_AGAIN)
LONG = ("test_kernel_edges.py",)


def run_with(family: str, name: str, marker: str, *files: str) -> None:
    code = f"from sealserve.native.crypto import kernels; print(kernels()[{family!r}][0])"
    environment = {**os.environ, VARIABLES[family]: name, "PYTHONPATH": os.pathsep.join(sys.path)}
    chosen = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert chosen.stdout.strip() == name
    paths = [str(HERE / file) for file in files]
    selected = ["-m", marker, "-k", "not reference"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *selected, "-p", "no:xdist", *paths],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


@pytest.mark.parametrize(("family", "name"), OTHERS, ids=map("-".join, OTHERS))
def test_with(family: str, name: str) -> None:
    run_with(family, name, "not long", *FILES)


@pytest.mark.long
@pytest.mark.parametrize(("family", "name"), OTHERS, ids=map("-".join, OTHERS))
def test_longer_with(family: str, name: str) -> None:
    run_with(family, name, "long", *LONG)


def test_what_is_not_run_again_is_there() -> None:
    assert all((HERE / file).exists() for file in (*NOT_AGAIN, *LONG))


def test_the_portable_kernel_is_always_there() -> None:
    for names in kernels().values():
        assert "libcrypto" in names

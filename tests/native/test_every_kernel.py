"""The tests of this folder, once more with each kernel that is not the processor's first choice."""

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
FILES = (
    "test_build.py",
    "test_crypto.py",
    "test_vectors.py",
    "test_kernel_edges.py",
    "test_cobblestone.py",
    "test_verity.py",
    "test_load_refusals.py",
)


@pytest.mark.parametrize(("family", "name"), OTHERS, ids=map("-".join, OTHERS))
def test_with(family: str, name: str) -> None:
    code = f"from sealserve.native.crypto import kernels; print(kernels()[{family!r}][0])"
    environment = {**os.environ, VARIABLES[family]: name, "PYTHONPATH": os.pathsep.join(sys.path)}
    chosen = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert chosen.stdout.strip() == name
    files = [str(HERE / file) for file in FILES]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:xdist", *files],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_the_portable_kernel_is_always_there() -> None:
    for names in kernels().values():
        assert "libcrypto" in names

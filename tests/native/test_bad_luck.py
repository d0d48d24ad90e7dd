"""Short transfers, interrupted calls, failing files, threads and memory: under_bad_luck.py again.

Such a system is made below the native core: unlucky.c, loaded in front of the C library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_on_an_unlucky_system(tmp_path: Path) -> None:
    library = tmp_path / "unlucky.so"
    source = HERE / "unlucky.c"
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"],
        check=True,
    )
    before = os.environ.get("LD_PRELOAD", "")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(HERE / "under_bad_luck.py")],
        env={
            **os.environ,
            "LD_PRELOAD": f"{before} {library}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]

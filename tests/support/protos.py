"""What protoc makes of a .proto file, beside what is committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def require_as_generated(folder: str, name: str, scratch: Path) -> None:
    """The committed messages of `name` are what protoc makes now, by its folder's README."""
    place = f"sealserve/{folder}"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "src", f"--python_out={scratch}",
         f"--pyi_out={scratch}", f"{place}/{name}.proto"],
        cwd=ROOT, check=True,
    )  # fmt: skip
    for suffix in ("_pb2.py", "_pb2.pyi"):
        made = (scratch / place / f"{name}{suffix}").read_text()
        assert made == (ROOT / "src" / place / f"{name}{suffix}").read_text()

"""The other end of worker.py: the same structure with other kernels, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.turns import Way

BENCHMARKS = Path(__file__).resolve().parents[1]
OURS: dict[str, str] = {}
# Both families by the portable path: our structure on the system's OpenSSL.
OPENSSL = {"SEALSERVE_GCM": "libcrypto", "SEALSERVE_SHA256": "libcrypto"}


class Worker:
    """Use it in a `with` block."""

    def __init__(self, kernels: dict[str, str], *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.worker", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(BENCHMARKS), **kernels},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    def way(self, name: str, size: int, request: str, *, threads: int = 1) -> Way:
        return Way(name, size, lambda: self._ask(request), threads)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, request: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != f"{word}\n":
            raise SystemExit("a worker failed")

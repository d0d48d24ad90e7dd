"""Modules of this folder in a process of their own: with other kernels, or alone in memory."""

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


def memory_to_open(model: Path, root: bytes, key: bytes) -> int:
    """Bytes beside the plaintext, as memory.py counts them."""
    command = _command("memory", model, root.hex(), key.hex())
    ran = subprocess.run(command, cwd=BENCHMARKS, check=True, stdout=subprocess.PIPE, text=True)
    return int(ran.stdout)


class Worker:
    """The other end of worker.py. Use it in a `with` block."""

    def __init__(self, kernels: dict[str, str], *arguments: object) -> None:
        self._process = subprocess.Popen(
            _command("worker", *arguments),
            cwd=BENCHMARKS,
            env={**os.environ, **kernels},
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


def _command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"support.{module}", *map(str, arguments)]

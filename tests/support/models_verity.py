"""The kernel's own tool as a second opinion on the hash tree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_OPTIONS = (
    "--hash=sha256",
    "--data-block-size=4096",
    "--hash-block-size=4096",
    f"--salt={64 * '0'}",
    "--uuid=00000000-0000-0000-0000-000000000000",
)


def accepts(path: Path, root: bytes, hash_offset: int) -> bool:
    """Whether `veritysetup verify` finds this file's data and tree to have this root."""
    return _run("verify", path, path, root.hex(), f"--hash-offset={hash_offset}").returncode == 0


def format_tree(data: Path, tree: Path) -> tuple[bytes, bytes]:
    """Root and hash area that `veritysetup format` makes for a file of data."""
    ran = _run("format", data, tree, *_OPTIONS)
    assert ran.returncode == 0, ran.stderr
    found = re.search(r"Root hash:\s*([0-9a-f]{64})", ran.stdout)
    assert found is not None
    return bytes.fromhex(found[1]), tree.read_bytes()


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["veritysetup", *arguments], capture_output=True, text=True)

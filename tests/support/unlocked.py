"""A process that may lock no more than so much memory, whoever started it."""

from __future__ import annotations

import sys

# The limit binds only who lacks CAP_IPC_LOCK (mlock(2)); root gets it anew with every program it
# starts, unless it is out of the bounding set (capabilities(7)). Others may not change that set,
# and have nothing to lose.
_BEFORE = """
import ctypes, os, resource, sys
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def limited(limit_bytes: int, *arguments: str) -> list[str]:
    """The command that runs Python with these arguments under that limit."""
    return [sys.executable, "-c", _BEFORE, str(limit_bytes), sys.executable, *arguments]

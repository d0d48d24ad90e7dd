"""Where the operator's Unix socket may be.

A path where something stands already is refused, except for a socket of ours that nobody listens on
any more: what a server leaves that was killed. Looked at before anything else is done.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from sealserve.native.errors import ConfigError, UnavailableError

MAX_PATH_BYTES: Final = 107  # unix(7): sun_path has 108 with its end
OPTION: Final = "--model-control"


def require_free(path: str) -> None:
    """ConfigError for a path that cannot be a socket's, UnavailableError for one in use."""
    if not 0 < len(os.fsencode(path)) <= MAX_PATH_BYTES:
        raise ConfigError(
            f"a path of {len(os.fsencode(path))} bytes; 1 to {MAX_PATH_BYTES} are possible",
            key=OPTION,
            hint="the kernel's limit for sockets: choose a shorter one",
        )
    try:
        state = Path(path).lstat()
    except FileNotFoundError:
        _require_folder(path)
        return
    except OSError as error:
        raise unusable(path, str(error.strerror)) from error
    if not stat.S_ISSOCK(state.st_mode):
        raise unusable(path, "there is something that is no socket")
    if state.st_uid != os.geteuid():
        raise unusable(path, "the socket there is another user's")
    if _answers(path):
        raise UnavailableError(
            f"somebody listens on {path} already",
            hint=f"is another server running? give each a {OPTION} of its own",
        )


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) != errno.ECONNREFUSED


def _require_folder(path: str) -> None:
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unusable(path, f"there is no folder {str(folder)!r} that we may write to")


def unusable(path: str, why: str) -> ConfigError:
    """The error for a path where no socket of ours can be."""
    return ConfigError(
        why, file=path, key=OPTION, hint="give a path in a folder of the server's own user"
    )

"""Where sealed files are read from: a path, or a URL that fsspec knows."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from sealserve.native.errors import ConfigError, FormatError, UnavailableError

# Room for the largest models of today on the disk of one machine; a server's answer that goes on
# beyond is cut off.
MAX_FETCH_BYTES = 1 << 40
_BLOCK_BYTES = 1 << 20


@contextmanager
def opened(source: str | Path, *, max_bytes: int = MAX_FETCH_BYTES) -> Iterator[int]:
    """A descriptor of a regular file, to read from.

    A path is opened where it is. A URL is first copied into a file without a name, which nobody
    else can change; it is ciphertext and may lie on a disk.
    Raises ConfigError, UnavailableError; FormatError for more than `max_bytes`.
    """
    if "://" in str(source):
        with tempfile.TemporaryFile() as copy:
            _fetch(str(source), copy, max_bytes)
            yield copy.fileno()
        return
    fd = _open_local(Path(source))
    try:
        yield fd
    finally:
        os.close(fd)


def public_name(source: str | Path) -> str:
    """The source for messages: a URL without user, query and fragment, where secrets stand.

    Raises ConfigError for what looks like a URL and is none.
    """
    if "://" not in str(source):
        return str(source)
    try:
        parts = urlsplit(str(source))
    except ValueError as error:  # its text quotes the URL
        scheme = str(source).partition("://")[0]
        raise ConfigError(f"the {scheme[:40]} URL of the sealed file cannot be read") from error
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _open_local(path: Path) -> int:
    try:
        # O_NONBLOCK: a FIFO is refused below instead of waited for.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot read {path}: {reason}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is not a regular file")
    return fd


def _fetch(url: str, copy: BinaryIO, max_bytes: int) -> None:
    import fsspec  # brings the drivers of many stores; a path needs none of them

    name, left = public_name(url), max_bytes
    try:
        with fsspec.open(url, "rb") as remote:
            while block := remote.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise FormatError(f"{name} has more than {max_bytes} bytes")
                copy.write(block)
        copy.flush()
    except FormatError:
        raise
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot read {name}: no driver for it ({type(error).__name__})"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {name}") from error
    except Exception as error:  # each driver has errors of its own; their texts may quote secrets
        raise UnavailableError(f"cannot read {name}: {type(error).__name__}") from error

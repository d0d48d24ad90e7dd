"""Where sealed files are read from: a path, or a URL that fsspec knows."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from sealserve.native.errors import ConfigError, FormatError, UnavailableError

# Room for the largest models of today on the disk of one machine; a server's answer that goes on
# beyond is cut off.
MAX_FETCH_BYTES = 1 << 40
_BLOCK_BYTES = 1 << 20
_CONNECT_SECONDS = 30
_SILENCE_SECONDS = 60  # between two pieces; a large model takes as long as it takes


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
        with fsspec.open(url, "rb", **_driver_options(url)) as remote:
            while block := remote.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise FormatError(f"{name} has more than {max_bytes} bytes")
                copy.write(block)
        copy.flush()
    except FormatError:
        raise
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error.name or "that fsspec names for it"
        raise ConfigError(
            f"cannot read {name}: its driver is not installed",
            hint=f"install the package {missing}",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"cannot read {name}: no driver for it ({type(error).__name__})",
            hint="give a path, or a URL that fsspec knows: https://, s3://, gs://, abfs://",
        ) from error
    except FileNotFoundError as error:
        if why := _instead_of_missing(error):
            raise UnavailableError(f"cannot read {name}: {why}") from error
        raise ConfigError(f"there is no {name}") from error
    except Exception as error:  # each driver has errors of its own; their texts may quote secrets
        raise UnavailableError(f"cannot read {name}: {_reason(error)}") from error


def _driver_options(url: str) -> dict[str, Any]:
    """For the web, one request without ranges, which simple servers do not have."""
    if not url.lower().startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout  # what fsspec's driver takes; its default ends every download

    pauses = ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
    return {"block_size": 0, "client_kwargs": {"timeout": pauses}}


def _instead_of_missing(error: FileNotFoundError) -> str:
    """fsspec's driver of the web calls everything missing that it could not ask the size of."""
    cause: BaseException | None = error
    while isinstance(cause, FileNotFoundError):
        cause = cause.__cause__
    missing = cause is None or getattr(cause, "status", None) in (404, 410)
    return "" if missing else _reason(cause)


def _reason(error: BaseException | None) -> str:
    status, number = getattr(error, "status", None), getattr(error, "errno", None)
    if isinstance(status, int):
        return f"HTTP {status}"
    told = f" ({os.strerror(number)})" if isinstance(number, int) else ""
    return f"{type(error).__name__}{told}"

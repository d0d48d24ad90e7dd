"""Where a trust service's passphrase comes from: a file or a terminal, never an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealserve.native.errors import ConfigError

if TYPE_CHECKING:
    from sealserve.keys.trustd.folder import Folder

_OPTION = "--passphrase-file"


def folder_of(path: Path, file: Path | None) -> Folder:
    """The service's folder; its passphrase is read only if the service has one."""
    from sealserve.keys.trustd.folder import Folder

    return Folder(path, lambda: _from_file(file) if file else _asked(confirm=False))


def chosen_passphrase(file: Path | None, *, ask: bool) -> bytes | None:
    """The passphrase of a new service, None for none. Raises ConfigError."""
    if file:
        return _from_file(file)
    return _asked(confirm=True) if ask else None


def _from_file(path: Path) -> bytes:
    """The first line. Raises ConfigError for a file that others may use, or with more lines."""
    from sealserve.keys.trustd.folder import private_file
    from sealserve.keys.trustd.passphrase import MAX_BYTES

    data = private_file(path, MAX_BYTES + 1).removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in data:
        raise ConfigError("has more than one line", file=str(path), key=_OPTION)
    return data


def _asked(*, confirm: bool) -> bytes:
    if not sys.stdin.isatty():
        raise ConfigError(
            "is missing: a passphrase opens this service, and there is no terminal to ask",
            key=_OPTION,
        )
    text: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return text.encode()

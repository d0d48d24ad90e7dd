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

    return Folder(path, lambda: _known(file))


def chosen_passphrase(file: Path | None, *, ask: bool) -> bytes | None:
    """The passphrase of a new service, None for none. Raises ConfigError."""
    return new_passphrase(file, _OPTION) if file or ask else None


def new_passphrase(file: Path | None, option: str) -> bytes:
    """One that somebody chooses now. option: what names the file. Raises ConfigError."""
    return _from_file(file, option) if file else _asked("new passphrase", option, confirm=True)


def _known(file: Path | None) -> bytes:
    return _from_file(file, _OPTION) if file else _asked("passphrase", _OPTION, confirm=False)


def _from_file(path: Path, option: str) -> bytes:
    """The first line. Raises ConfigError for a file that others may use, or with more lines."""
    from sealserve.keys.trustd.folder import private_file
    from sealserve.keys.trustd.passphrase import MAX_BYTES

    data = private_file(path, MAX_BYTES + 1).removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in data:
        raise ConfigError("has more than one line", file=str(path), key=option)
    return data


def _asked(what: str, option: str, *, confirm: bool) -> bytes:
    if not sys.stdin.isatty():
        raise ConfigError(
            "is missing: a passphrase opens this service, and there is no terminal to ask",
            key=option,
        )
    text: str = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    return text.encode()

"""A caller's token comes from a file, never from an argument that others see in a process list."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files
from sealserve.native.errors import ConfigError

_MAX_BYTES = 8192
token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a caller's token, for servers that ask for one.",
)


def read_token(path: Path | None) -> str | None:
    """The token in a file, without the line end. None for no file.

    Raises ConfigError for a file that everybody may read, or that holds no text.
    """
    if path is None:
        return None
    data = files.read(path, _MAX_BYTES)
    files.require_private(path, "--token-file")
    try:
        return data.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(
            "holds no token",
            file=str(path),
            key="--token-file",
            hint="one token in ASCII, and nothing else, has to stand in it",
        ) from None

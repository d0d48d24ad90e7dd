"""`sealserve key`: make key pairs."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli.output import emit, json_option
from sealserve.keys import new_identity


@click.group("key")
def command() -> None:
    """Make key pairs."""


@command.command("new", epilog="Example: sealserve key new owner.key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def new(file: Path, as_json: bool) -> None:
    """Make an HPKE key pair: the private key in FILE, the public one in FILE.pub.

    Seal to `hpke:FILE.pub`; `--identity FILE` opens. Existing files are never replaced.
    """
    new_identity(file)
    public = file.with_name(f"{file.name}.pub")
    emit(
        {"private": str(file), "public": str(public)},
        f"private key {file}\npublic key  {public}",
        as_json=as_json,
    )

"""`sealserve verify`: check that a sealed file is the one with this root."""

from __future__ import annotations

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, progress


@click.command("verify", epilog="Example: sealserve verify net.sealed --root 9f2c…")
@click.argument("file")
@click.option("--root", required=True, metavar="HEX", help="The root, from wherever you trust.")
@json_option
def command(file: str, root: str, as_json: bool) -> None:
    """Check that FILE, a path or URL, is the model with this root, every byte of it.

    Needs no key. Any other file, also one that cannot be read as a sealed model, exits 4.
    """
    with progress("verifying") as advance:
        sealed = models.verify(file, root, progress=advance)
    emit(sealed.to_json(), f"{sealed.path} is {sealed.root.hex()}", as_json=as_json)

"""`sealserve inspect`: show what a sealed file says of itself."""

from __future__ import annotations

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, say


@click.command("inspect", epilog="Example: sealserve inspect net.sealed --json")
@click.argument("file")
@json_option
def command(file: str, as_json: bool) -> None:
    """Show what FILE, a path or URL, says of itself.

    Nothing here is proven: `sealserve verify` compares the file with a root you have already.
    """
    sealed = models.inspect(file)
    emit(sealed.to_json(), sealed.explain(), as_json=as_json)
    if not as_json:
        say("hint: these are the file's own words; `sealserve verify` compares it with a root")

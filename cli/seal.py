"""`sealserve seal`: encrypt an ONNX model into one sealed file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.cli.release import connection_option
from sealserve.keys import recipient
from sealserve.models import RawKey, Recipient

KEY_HELP = "Who may open it: azure:URL, trustd:HOST:PORT/NAME, hpke:FILE, raw:FILE; repeatable."


_NAMED = 20


def _say_others(names: Sequence[str]) -> None:
    """Nobody finds out from the sealed file, which shows nothing of what is inside."""
    for name in names[:_NAMED]:
        say(f"also sealed: {name}")
    if len(names) > _NAMED:
        say(f"also sealed: {len(names) - _NAMED} more files")


def recipients(references: Sequence[str], connection: Path | None) -> list[Recipient | RawKey]:
    """Whom the references mean; says so when one is the key itself. Raises ConfigError."""
    found: list[Recipient | RawKey] = [
        recipient(reference, connection=connection) for reference in references
    ]
    if any(isinstance(key, RawKey) for key in found):
        say("warning: a raw key is the model's key itself, for tests and tools;")
        say("         no slot is written for it, and whoever has the file opens the model")
    return found


@click.command("seal", epilog="Example: sealserve seal net.onnx -o net.sealed --key hpke:me.pub …")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--key", "keys", metavar="REF", multiple=True, required=True, help=KEY_HELP)
@click.option("--name", required=True, help="What clients call the model; public.")
@click.option("--version", required=True, help="Its version; public.")
@click.option(
    "--batch-independent",
    is_flag=True,
    help="Declare that rows of a batch do not influence each other, so that a server may join "
    "requests of different clients.",
)
@connection_option
@json_option
def command(
    model: Path,
    out: Path,
    keys: tuple[str, ...],
    name: str,
    version: str,
    batch_independent: bool,
    connection: Path | None,
    as_json: bool,
) -> None:
    """Encrypt MODEL, an ONNX file or a folder with one, into one sealed file.

    The root it prints is the model's identity: pin it, publish it, compare it. An older sealed
    model of the same name is replaced, no other file.
    """
    wanted = recipients(keys, connection)
    with progress("sealing") as advance:
        sealed = models.seal(
            model,
            out,
            keys=wanted,
            name=name,
            version=version,
            batch_independent=batch_independent,
            progress=advance,
            tell_others=_say_others,
        )
    emit(sealed.to_json(), sealed.explain(), as_json=as_json)

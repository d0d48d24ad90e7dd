"""`sealserve unseal`: decrypt a sealed file into a folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.keys import identity as load_identity
from sealserve.keys import recipient
from sealserve.models import Opener, RawKey
from sealserve.native.errors import ConfigError

identity_option = click.option(
    "--identity", type=click.Path(path_type=Path), help="HPKE private key that opens one slot."
)


def opener(identity: Path | None, reference: str | None, option: str) -> Opener:
    """Who opens: an identity, or a raw key. Raises ConfigError, usage errors."""
    if (identity is None) == (reference is None):
        raise click.UsageError(f"give --identity FILE or {option} REF, and not both")
    if identity is not None:
        return load_identity(identity)
    key = recipient(reference) if reference and reference.startswith("raw:") else None
    if not isinstance(key, RawKey):
        raise ConfigError(
            f"{reference!r} cannot open a file here; a vault releases its key to attested servers",
            key=option,
            hint="use --identity FILE, or raw:FILE",
        )
    return key


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP clean up as Ctrl-C does: until the end, half a model lies on a disk."""
    ending = (signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in ending if signal.getsignal(number) is signal.SIG_DFL]
    for number in heeded:  # one that is ignored, as by nohup, stays so
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


@click.command("unseal", epilog="Example: sealserve unseal net.sealed -o net --identity me.key")
@click.argument("file")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="New folder.")
@identity_option
@click.option("--key", "reference", metavar="REF", help="raw:FILE, the model's key itself.")
@click.option("--root", metavar="HEX", help="The root it must have.")
@json_option
def command(
    file: str,
    out: Path,
    identity: Path | None,
    reference: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Decrypt FILE, a path or URL, into a new folder for you alone.

    What comes back is the layout inside: model.onnx, its weights, manifest.json and other files.
    """
    key = opener(identity, reference, "--key")
    if root is None:
        say("no --root given: the file is checked against itself, not against what you expect")
    with progress("unsealing") as advance, _ended_like_interrupted():
        sealed = models.unseal(file, out, key, root=root, progress=advance)
    result = {**sealed.to_json(), "folder": str(out)}
    emit(result, f"{sealed.explain()}\nunsealed to  {out}", as_json=as_json)

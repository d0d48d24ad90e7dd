"""`sealserve rewrap`: give a sealed file's key to other recipients; its root stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.cli.release import connection_option
from sealserve.cli.seal import KEY_HELP, recipients
from sealserve.cli.unseal import identity_option, opener
from sealserve.keys.wrap import HpkeIdentity
from sealserve.models import Opener, SealedModel, Slot
from sealserve.native.secret import SecretBuffer


@click.command("rewrap", epilog="Example: sealserve rewrap net.sealed --key hpke:you.pub …")
@click.argument("file")
@click.option("--key", "keys", metavar="REF", multiple=True, required=True, help=KEY_HELP)
@identity_option
@click.option("--from", "reference", metavar="REF", help="raw:FILE, the model's key itself.")
@click.option("--keep", is_flag=True, help="Leave the slots of all others as they are.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="File to write; default: FILE itself."
)
@connection_option
@json_option
def command(
    file: str,
    keys: tuple[str, ...],
    identity: Path | None,
    reference: str | None,
    keep: bool,
    out: Path | None,
    connection: Path | None,
    as_json: bool,
) -> None:
    """Write FILE again so that these recipients, and nobody else, can open it.

    The model and its root stay the same. This does not revoke: who had the key has it still.
    """
    key = _Noting(opener(identity, reference, "--from"))
    wanted = recipients(keys, connection)
    with progress("rewrapping") as advance:
        sealed = models.rewrap(file, key, wanted, keep=keep, out=out, progress=advance)
    emit(sealed.to_json(), sealed.explain(), as_json=as_json)
    _say_who_lost(key, sealed, identity)
    say("rewrapping is not revoking: to lock somebody out, seal the model again")


class _Noting:
    """An opener that notes which slots the file had: a second look could be at another file."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.slots: Sequence[Slot] = ()

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        self.slots = slots
        return self.opener.unwrap(slots, root, header_sha256)


def _say_who_lost(key: _Noting, sealed: SealedModel, identity: Path | None) -> None:
    after = {(slot.kind, slot.recipient) for slot in sealed.slots}
    lost = [slot for slot in key.slots if (slot.kind, slot.recipient) not in after]
    for slot in lost:
        say(f"slot of {slot.owner} removed")
    if lost:
        say("hint: `rewrap --keep --key hpke:YOU.pub` adds somebody and removes nobody")
    ours = key.opener.recipient.id if isinstance(key.opener, HpkeIdentity) else ""
    if ours and ("hpke", ours) not in after:
        say(f"warning: {identity} itself no longer opens {sealed.path}")

"""`sealserve rewrap`: give sealed files' keys to other recipients; their roots stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from sealserve import models
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.cli.release import connection_option
from sealserve.cli.seal import KEY_HELP, recipients
from sealserve.cli.unseal import identity_option, opener
from sealserve.keys.wrap import HpkeIdentity
from sealserve.models import Opener, RawKey, Recipient, SealedModel, Slot
from sealserve.native.errors import SealserveError
from sealserve.native.secret import SecretBuffer


@click.command("rewrap", epilog="Example: sealserve rewrap net.sealed --key hpke:you.pub …")
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
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
    files: tuple[str, ...],
    keys: tuple[str, ...],
    identity: Path | None,
    reference: str | None,
    keep: bool,
    out: Path | None,
    connection: Path | None,
    as_json: bool,
) -> int:
    """Write each FILE again so that these recipients, and nobody else, can open it.

    The model and its root stay the same. This does not revoke: who had the key has it still.

    Of several files each is tried, and none is left half-written; the exit status is that of the
    first that failed.
    """
    if out is not None and len(files) > 1:
        raise click.UsageError("-o is for one FILE")
    unlock = opener(identity, reference, "--from")
    how = _How(unlock, recipients(keys, connection), keep, out, identity)
    status = _several(files, how, as_json) if len(files) > 1 else _one(files[0], how, as_json)
    say("rewrapping is not revoking: to lock somebody out, seal the model again")
    return status


@dataclass(frozen=True)
class _How:
    """What is the same for every file."""

    unlock: Opener
    wanted: Sequence[Recipient | RawKey]
    keep: bool
    out: Path | None
    identity: Path | None


def _one(file: str, how: _How, as_json: bool) -> int:
    sealed, lost = _rewrap(file, how, "rewrapping")
    emit(sealed.to_json(), sealed.explain(), as_json=as_json)
    _say_hint(lost)
    return 0


def _several(files: Sequence[str], how: _How, as_json: bool) -> int:
    """Each of them in turn; what became of it is told at once."""
    told: list[dict[str, object]] = []
    failures: list[SealserveError] = []
    anybody_lost = False
    for number, file in enumerate(files, 1):
        try:
            sealed, lost = _rewrap(file, how, f"rewrapping {number} of {len(files)}")
        except SealserveError as error:
            failures.append(error)
            told.append({"path": file, "error": error.message, "exit": error.exit_code})
            line = f"FAILED     {file}  {' '.join(error.message.split())}"
        else:
            anybody_lost = anybody_lost or lost
            told.append({**sealed.to_json(), "error": None, "exit": 0})
            line = f"rewrapped  {file}  {sealed.root.hex()}  {_slots(sealed)}"
        if not as_json:
            click.echo(line)
    summary = f"{len(files) - len(failures)} of {len(files)} files rewrapped"
    emit({"files": told, "failed": len(failures)}, summary, as_json=as_json)
    _say_hint(anybody_lost)
    return failures[0].exit_code if failures else 0


def _slots(sealed: SealedModel) -> str:
    return "1 slot" if len(sealed.slots) == 1 else f"{len(sealed.slots)} slots"


def _rewrap(file: str, how: _How, label: str) -> tuple[SealedModel, bool]:
    """The file that was written, and whether somebody lost a slot, who is named."""
    key = _Noting(how.unlock)
    with progress(label) as advance:
        sealed = models.rewrap(file, key, how.wanted, keep=how.keep, out=how.out, progress=advance)
    return sealed, _say_who_lost(key, sealed, how.identity)


class _Noting:
    """An opener that notes which slots the file had: a second look could be at another file."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.slots: Sequence[Slot] = ()

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        self.slots = slots
        return self.opener.unwrap(slots, root, header_sha256)


def _say_who_lost(key: _Noting, sealed: SealedModel, identity: Path | None) -> bool:
    after = {(slot.kind, slot.recipient) for slot in sealed.slots}
    lost = [slot for slot in key.slots if (slot.kind, slot.recipient) not in after]
    for slot in lost:
        say(f"slot of {slot.owner} removed from {sealed.path}")
    ours = key.opener.recipient.id if isinstance(key.opener, HpkeIdentity) else ""
    if ours and ("hpke", ours) not in after:
        say(f"warning: {identity} itself no longer opens {sealed.path}")
    return bool(lost)


def _say_hint(lost: bool) -> None:
    if lost:
        say("hint: `rewrap --keep --key hpke:YOU.pub` adds somebody and removes nobody")

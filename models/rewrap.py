"""Gives a sealed model's key to other recipients; the model and its root stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sealserve.models import slot_area
from sealserve.models.draft import Draft, check_place
from sealserve.models.key import unlock
from sealserve.models.reader import Progress, SealedFile, sealed_file
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import Opener, RawKey, Recipient, Slot
from sealserve.models.verify import require_replaceable
from sealserve.models.wrapping import wrap
from sealserve.native.errors import ConfigError


def rewrap(
    path: str | Path,
    opener: Opener,
    recipients: Sequence[Recipient | RawKey],
    *,
    keep: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> SealedModel:
    """Write the file again with slots for these recipients and nobody else.

    keep: what others have stays as it is. out: None replaces the file itself, in one step; what
    is there already is replaced as `seal` does.
    A RawKey gets no slot, so it is refused. Returns the facts of the file that was written.
    This does not revoke: who had the key has it still. Seal again to revoke.
    Raises FormatError, IntegrityError, ConfigError, UnavailableError, and what `opener` raises.
    """
    wanted = _recipients(recipients)
    target = _target(path, out)
    with sealed_file(path) as file:
        if out is not None:
            require_replaceable(target, file.header.name)
        tree_area = file.tree_area()
        root = file.claimed_root(tree_area)
        tree = file.trusted_tree(tree_area, root)
        kept = file.slots() if keep else ()
        slots = _beside(kept, _wrap_again(file, root, opener, wanted))
        area = slot_area.encode_area(slots)
        with Draft(target) as draft:
            for block in file.checked_blocks(tree, progress):
                draft.write(block)
            draft.write(tree_area)
            draft.write(area)
            draft.publish()
        return replace(file.describe(root, slots), path=str(target))


def _wrap_again(
    file: SealedFile, root: bytes, opener: Opener, recipients: Sequence[Recipient]
) -> tuple[Slot, ...]:
    key, message = unlock(file, root, file.slots(), opener)
    message.wipe()
    with key:
        return wrap(key, recipients, root, file.header_sha256)


def _beside(kept: Sequence[Slot], new: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """The new slots behind the kept ones; who has a new slot loses the old one."""
    owners = {(slot.kind, slot.recipient) for slot in new}
    slots = (*(slot for slot in kept if (slot.kind, slot.recipient) not in owners), *new)
    if len(slots) > slot_area.MAX_SLOTS:
        raise ConfigError(
            f"{len(slots)} slots; at most {slot_area.MAX_SLOTS}",
            key="keys",
            hint="rewrap to name again who may open it; all others lose their slot",
        )
    return slots


def _recipients(keys: Sequence[Recipient | RawKey]) -> list[Recipient]:
    wanted = [key for key in keys if not isinstance(key, RawKey)]
    if len(wanted) != len(keys) or not 1 <= len(wanted) <= slot_area.MAX_SLOTS:
        raise ConfigError(
            f"{len(wanted)} recipients and {len(keys) - len(wanted)} raw keys; wanted 1 to"
            f" {slot_area.MAX_SLOTS} recipients, and no raw key: none has a slot",
            key="keys",
        )
    return wanted


def _target(path: str | Path, out: str | Path | None) -> Path:
    if out is None and "://" in str(path):
        raise ConfigError("a file behind a URL cannot be replaced", hint="name the result with -o")
    target = Path(path if out is None else out)
    check_place(target)
    return target

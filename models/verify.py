"""What can be said of a sealed file without its key."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from sealserve.models.reader import Progress, sealed_file
from sealserve.models.sealed import SealedModel
from sealserve.native.errors import ConfigError, FormatError, IntegrityError, SealserveError
from sealserve.native.verity import DIGEST_BYTES


def inspect(path: str | Path) -> SealedModel:
    """What a file says of itself; its root is a claim, and the data are not looked at.

    Raises FormatError, IntegrityError; ConfigError, UnavailableError if it cannot be had.
    """
    with sealed_file(path) as file:
        file.last_page()
        return file.describe(file.claimed_root(file.tree_area()), file.slots())


def verify(path: str | Path, root: str | bytes, progress: Progress | None = None) -> SealedModel:
    """Check that a file is the one with this root, every byte of it.

    root: 32 bytes, or 64 hexadecimal digits (ConfigError). Raises IntegrityError for any other
    file, an unreadable one included; ConfigError, UnavailableError if it cannot be had.
    """
    wanted = read_root(root)
    try:
        with sealed_file(path) as file:
            tree = file.trusted_tree(file.tree_area(), wanted)
            slots = file.slots()
            deque(file.checked_blocks(tree, progress), maxlen=0)
            return file.describe(wanted, slots)
    except FormatError as error:
        raise IntegrityError(
            f"not the sealed model {wanted.hex()}: {error.message}", hint=error.hint
        ) from error


def require_replaceable(target: Path, name: str) -> None:
    """ConfigError if a sealed model of this name may not take the place of what is there.

    It may replace an older one of the same name, and nothing else.
    """
    if not os.path.lexists(target):
        return
    try:
        seen = inspect(target).name
    except SealserveError as error:
        why = error.message
    else:
        why = "" if seen == name else f"it holds the model {seen!r}, not {name!r}"
    if why:
        raise ConfigError(
            f"{target} exists and is not replaced: {why}",
            hint="choose another -o, or remove it yourself",
        )


def read_root(root: str | bytes) -> bytes:
    """A root as 32 bytes. Raises ConfigError."""
    if isinstance(root, str):
        try:
            root = bytes.fromhex(root) if len(root) == 2 * DIGEST_BYTES else b""
        except ValueError:
            root = b""
    if len(root) != DIGEST_BYTES:
        raise ConfigError(
            f"a root has {2 * DIGEST_BYTES} hexadecimal digits, like those `seal` prints"
        )
    return bytes(root)

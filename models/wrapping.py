"""Wraps an input key to recipients, and finds out early whether that can be done."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.models import slot_area
from sealserve.models.slots import Recipient, Slot
from sealserve.native.cobblestone import KEY_BYTES
from sealserve.native.errors import ConfigError, FormatError
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import DIGEST_BYTES


def wrap(
    key: SecretBuffer, recipients: Sequence[Recipient], root: bytes, header_sha256: bytes
) -> tuple[Slot, ...]:
    """A slot for each. Raises ConfigError for a recipient twice, and what a recipient raises."""
    slots = tuple(each.wrap(key, root, header_sha256) for each in recipients)
    try:
        slot_area.check_slots(slots)
    except FormatError as error:
        raise ConfigError(
            error.message, key="keys", hint="name each recipient once, as its vault or owner does"
        ) from error
    return slots


def rehearse(recipients: Sequence[Recipient]) -> None:
    """Wrap a key that is none: what fails then would have failed after hours of writing."""
    with SecretBuffer(KEY_BYTES) as nothing:
        wrap(nothing, recipients, bytes(DIGEST_BYTES), bytes(DIGEST_BYTES))

"""The slot area at the end of a sealed model (SPEC section 4): bytes to slots and back, no I/O."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence

import msgspec

from sealserve.models import canonical
from sealserve.models.format import check_zero, round_up
from sealserve.models.slots import Slot
from sealserve.native.errors import FormatError, IntegrityError

MAGIC = b"sealserve/slots\n"
FORMAT_VERSION = 1
# SPEC section 4: a large team, and an area that can be read without thought.
MAX_SLOTS = 64
MAX_AREA_BYTES = 256 * 1024
MAX_WRAPPED_BYTES = 4096

_PREFIX = struct.Struct("<16sII")  # magic, format version, length of the JSON
_RECIPIENTS = {
    # Key Vault REST reference, "Key identifier"; at most 512 characters, checked apart.
    "azure": re.compile(r"https://[a-z0-9.:\[\]-]+/keys/[0-9A-Za-z-]{1,127}/[0-9A-Za-z]{1,64}"),
    "hpke": re.compile(r"[0-9a-f]{32}"),
}
_MAX_RECIPIENT = 512
_ALGORITHMS = {"azure": ("RSA-OAEP-256",), "hpke": ("MLKEM768-X25519", "X25519")}


def encode_area(slots: Sequence[Slot]) -> bytes:
    """The slot area, from K to the end of the file. Raises FormatError if a reader would."""
    check_slots(slots)
    text = canonical.encode(_Area([_to_wire(slot) for slot in slots]))
    area = _PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)) + text
    _check_area_bytes(round_up(len(area)))
    return area.ljust(round_up(len(area)), b"\0")


def check_area_size(size: int) -> None:
    """Refuse an area by its size alone, before it is read. IntegrityError, FormatError."""
    if size <= 0:
        raise IntegrityError(
            f"the file is cut: {-size} bytes are missing before its key slots"
            if size
            else "the file is cut: it ends where its key slots should begin",
            hint="copy or download it again",
        )
    _check_area_bytes(size)


def decode_area(area: bytes) -> tuple[Slot, ...]:
    """Read everything from K to the end of the file. Raises FormatError, IntegrityError."""
    check_area_size(len(area))
    if len(area) < _PREFIX.size or not area.startswith(MAGIC):
        raise FormatError(f"key slots begin with {area[: len(MAGIC)]!r}, not {MAGIC!r}")
    _, version, length = _PREFIX.unpack(area[: _PREFIX.size])
    if version != FORMAT_VERSION:
        raise FormatError(f"key slots of version {version}; this program reads {FORMAT_VERSION}")
    if not 0 < length <= MAX_AREA_BYTES - _PREFIX.size:
        raise FormatError(
            f"key slots of {length} bytes; 1 to {MAX_AREA_BYTES - _PREFIX.size} are allowed"
        )
    end = _PREFIX.size + length
    if len(area) != round_up(end):
        raise IntegrityError(
            f"key slots take {round_up(end)} bytes by their length, and {len(area)} in the file",
            hint="the file was cut, or something was added behind it",
        )
    slots = tuple(
        map(_from_wire, canonical.decode(area[_PREFIX.size : end], _Area, "key slots").slots)
    )
    check_slots(slots)
    check_zero(area[end:], "key slots")
    return slots


def check_slots(slots: Sequence[Slot]) -> None:
    """Raise FormatError unless a reader accepts them together."""
    if len(slots) > MAX_SLOTS:
        raise FormatError(f"{len(slots)} key slots; at most {MAX_SLOTS} are allowed")
    for slot in slots:
        _check_slot(slot)
    if len({(slot.kind, slot.recipient, slot.algorithm) for slot in slots}) != len(slots):
        raise FormatError("two key slots for one recipient")


class _WireSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    algorithm: str
    kind: str
    recipient: str
    wrapped: str


class _Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slots: list[_WireSlot]


def _to_wire(slot: Slot) -> _WireSlot:
    text = base64.urlsafe_b64encode(slot.wrapped).rstrip(b"=").decode()
    return _WireSlot(slot.algorithm, slot.kind, slot.recipient, text)


def _from_wire(wire: _WireSlot) -> Slot:
    try:
        padded = wire.wrapped.encode() + b"=" * (-len(wire.wrapped) % 4)
        wrapped = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise FormatError("key slot: wrapped is not base64url") from error
    slot = Slot(wire.kind, wire.recipient, wire.algorithm, wrapped)
    if _to_wire(slot) != wire:  # loose bits in the last digit, or padding
        raise FormatError("key slot: wrapped is not the one base64url text of its bytes")
    return slot


def _check_slot(slot: Slot) -> None:
    pattern = _RECIPIENTS.get(slot.kind)
    if pattern is None:
        raise FormatError(f"key slot of kind {slot.kind[:40]!r}; wanted {', '.join(_RECIPIENTS)}")
    if slot.algorithm not in _ALGORITHMS[slot.kind]:
        wanted = ", ".join(_ALGORITHMS[slot.kind])
        raise FormatError(f"{slot.kind} slot with {slot.algorithm[:40]!r}; wanted {wanted}")
    if len(slot.recipient) > _MAX_RECIPIENT or not pattern.fullmatch(slot.recipient):
        raise FormatError(f"{slot.kind} slot for {slot.recipient[:80]!r}; wanted {pattern.pattern}")
    if not 1 <= len(slot.wrapped) <= MAX_WRAPPED_BYTES:
        raise FormatError(
            f"key slot wraps {len(slot.wrapped)} bytes; 1 to {MAX_WRAPPED_BYTES} are allowed"
        )


def _check_area_bytes(size: int) -> None:
    if size > MAX_AREA_BYTES:
        raise FormatError(
            f"key slots take {size} bytes; at most {MAX_AREA_BYTES} are allowed",
            hint="something may have been added behind the file",
        )

"""Canonical JSON with one reading: parsed into a known shape, encoded again, compared.

RFC 8785 restricted to ASCII strings, integers, booleans, arrays and objects (SPEC section 1).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sealserve.native.errors import FormatError

Shape = TypeVar("Shape", bound=msgspec.Struct)
_MAX_SHOWN = 200


def encode(value: msgspec.Struct) -> bytes:
    """The one text of this value."""
    return msgspec.json.encode(value, order="sorted")


def decode(text: bytes, shape: type[Shape], what: str) -> Shape:
    """Parse `text` as `shape`. what: whose text it is, for the message. Raises FormatError."""
    try:
        value = msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{what} cannot be read: {_shown(error)}") from error
    # Catches a member twice, another spelling of a number, white space, needless escapes.
    if encode(value) != text:
        raise FormatError(f"{what} is not canonical JSON: encoding it again gives another text")
    return value


def _shown(error: Exception) -> str:
    """A parser's words: they quote names from the text, which may be long or move a cursor."""
    return ascii(str(error))[1:-1][:_MAX_SHOWN]

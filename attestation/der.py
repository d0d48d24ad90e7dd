"""A small strict reader of DER (X.690): exactly what AMD's certificates and lists need.

It exists because every VCEK has serial number 0, which X.509 libraries have announced to refuse.
One byte sequence has one reading here: definite lengths in their shortest form, low tag numbers,
minimal integers, times in UTC, and nothing left over. Raises EvidenceError
(certificate_unparseable) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from sealserve.native.errors import EvidenceError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_MAX_LENGTH_BYTES: Final = 3  # evidence is at most 64 KiB
# Both end up in messages, and CPython refuses to print an integer of more than 4300 digits.
_MAX_INTEGER_BYTES: Final = 20  # the longest serial number, RFC 5280, 4.1.2.2
_MAX_OID_BYTES: Final = 64  # AMD's take 10; a UUID under 2.25 takes 20


class Reader:
    """Walks the elements of one constructed value, in order; `end` says that none is left."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def peek(self) -> int | None:
        """The tag of the next element, None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def element(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag."""
        _, content, end = self._take(tag)
        return self._data[content:end]

    def whole(self, tag: int) -> bytes:
        """The next element with its tag and length, as it was signed or compared."""
        start, _, end = self._take(tag)
        return self._data[start:end]

    def sequence(self) -> Reader:
        """A reader of the next element, which must be a SEQUENCE."""
        return Reader(self.element(SEQUENCE))

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise refused(f"{len(self._data) - self._at} bytes left over")

    def rest(self, tag: int) -> Iterator[bytes]:
        """The contents of all remaining elements, each of which must have this tag."""
        while self.peek() is not None:
            yield self.element(tag)

    def oid(self) -> str:
        """The next element, an OBJECT IDENTIFIER, in dotted form."""
        return object_identifier(self.element(OBJECT_IDENTIFIER))

    def integer(self) -> int:
        """The next element, a non-negative INTEGER."""
        return non_negative(self.element(INTEGER))

    def boolean(self) -> bool:
        """The next element, a BOOLEAN; DER knows two spellings only."""
        content = self.element(BOOLEAN)
        if content not in (b"\x00", b"\xff"):
            raise refused("a BOOLEAN that is neither 00 nor FF")
        return content == b"\xff"

    def bits(self) -> bytes:
        """The next element, a BIT STRING of whole bytes."""
        content = self.element(BIT_STRING)
        if not content or content[0] != 0:
            raise refused("a BIT STRING that is not whole bytes")
        return content[1:]

    def time(self) -> datetime:
        """The next element, UTCTime or GeneralizedTime, UTC to the second (RFC 5280, 4.1.2.5)."""
        if self.peek() == UTC_TIME:
            text = self.element(UTC_TIME)
            century = b"19" if text[:2] >= b"50" else b"20"
            return _time(century + text)
        return _time(self.element(GENERALIZED_TIME))

    def _take(self, tag: int) -> tuple[int, int, int]:
        """Where the next element starts, its content starts, and both end; it is passed."""
        data, start = self._data, self._at
        if start >= len(data) or data[start] != tag:
            seen = "the end" if start >= len(data) else f"tag 0x{data[start]:02x}"
            raise refused(f"{seen} where tag 0x{tag:02x} belongs")
        try:
            length, content = data[start + 1], start + 2
        except IndexError:
            raise refused("an element without a length") from None
        if length >= 0x80:
            length, content = _long_length(data, content)
        end = content + length
        if end > len(data):
            raise refused("an element longer than what holds it")
        self._at = end
        return start, content, end


def document(data: bytes) -> Reader:
    """A reader of the one SEQUENCE that is the whole of these bytes."""
    outer = Reader(data)
    inner = outer.sequence()
    outer.end()
    return inner


def whole_integer(data: bytes) -> int:
    """A non-negative INTEGER that is the whole of these bytes."""
    reader = Reader(data)
    value = reader.integer()
    reader.end()
    return value


def whole_ia5(data: bytes) -> str:
    """An IA5String of printable ASCII that is the whole of these bytes."""
    reader = Reader(data)
    text = reader.element(IA5_STRING)
    reader.end()
    return printable(text)


def printable(content: bytes) -> str:
    """Printable ASCII as text."""
    text = content.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise refused("a string that is not printable ASCII")
    return text


def non_negative(content: bytes) -> int:
    """The content of an INTEGER, minimal and not negative."""
    if len(content) > _MAX_INTEGER_BYTES:
        raise refused(f"an INTEGER of more than {_MAX_INTEGER_BYTES} bytes")
    if not content or content[0] & 0x80:
        raise refused("an INTEGER that is empty or negative")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise refused("an INTEGER with a superfluous zero")
    return int.from_bytes(content, "big")


@lru_cache(maxsize=256)  # the same two dozen stand in every certificate
def object_identifier(content: bytes) -> str:
    """The content of an OBJECT IDENTIFIER in dotted form."""
    if len(content) > _MAX_OID_BYTES:
        raise refused(f"an OBJECT IDENTIFIER of more than {_MAX_OID_BYTES} bytes")
    if not content or content[-1] & 0x80:
        raise refused("an OBJECT IDENTIFIER that is cut off")
    arcs, value, fresh = [], 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise refused("an OBJECT IDENTIFIER with a superfluous zero")
        value = value << 7 | byte & 0x7F
        fresh = not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    root = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (root, arcs[0] - 40 * root, *arcs[1:]))


def refused(why: str) -> EvidenceError:
    """The one error of this reader."""
    return EvidenceError(
        "certificate_unparseable",
        "a certificate or list cannot be read",
        seen=why,
        wanted="strict DER of AMD's form",
    )


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """A length of several bytes, the first of which was passed, and where the content starts."""
    count = data[at - 1] & 0x7F
    octets = data[at : at + count]
    if not 1 <= count <= _MAX_LENGTH_BYTES or len(octets) != count:
        raise refused("a length that is indefinite, cut off or too large")
    length = int.from_bytes(octets, "big")
    if length < 0x80 or octets[0] == 0:
        raise refused("a length that is not in its shortest form")
    return length, at + count


def _time(text: bytes) -> datetime:
    if len(text) != 15 or not text.endswith(b"Z") or not text[:14].isdigit():
        raise refused("a time that is not UTC to the second")
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    try:
        return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise refused("a time that no calendar has") from error

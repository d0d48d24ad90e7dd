"""A small writer of DER: for what X.509 libraries will not write, such as a serial number of 0."""

from __future__ import annotations

from datetime import datetime

from sealserve.attestation import der


def element(tag: int, *contents: bytes) -> bytes:
    """One element with this tag around the contents."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*contents: bytes) -> bytes:
    """A SEQUENCE of these elements."""
    return element(der.SEQUENCE, *contents)


def integer(value: int) -> bytes:
    """A non-negative INTEGER, minimal."""
    return element(der.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *others = (int(arc) for arc in dotted.split("."))
    content = b"".join(_arc(arc) for arc in (40 * first + second, *others))
    return element(der.OBJECT_IDENTIFIER, content)


def bits(content: bytes, unused: int = 0) -> bytes:
    """A BIT STRING; `unused` bits at its end carry nothing."""
    return element(der.BIT_STRING, bytes([unused]), content)


def octets(content: bytes) -> bytes:
    """An OCTET STRING."""
    return element(der.OCTET_STRING, content)


def utf8(text: str) -> bytes:
    """A UTF8String."""
    return element(der.UTF8_STRING, text.encode())


def printable(text: str) -> bytes:
    """A PrintableString."""
    return element(der.PRINTABLE_STRING, text.encode("ascii"))


def ia5(text: str) -> bytes:
    """An IA5String."""
    return element(der.IA5_STRING, text.encode("ascii"))


def time(moment: datetime) -> bytes:
    """UTCTime; the simulated platform issues nothing beyond 2049."""
    return element(der.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))


def _arc(value: int) -> bytes:
    septets = [value & 0x7F]
    while value := value >> 7:
        septets.append(value & 0x7F | 0x80)
    return bytes(reversed(septets))

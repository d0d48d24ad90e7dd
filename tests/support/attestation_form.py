"""What an encoding looks like without what it says: one line per element, nested ones indented.

Tags, object identifiers, texts, numbers of one byte and lengths stay; keys, digests, signatures and
times do not. Two documents of one form give the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cbor2

from sealserve.attestation import der
from sealserve.attestation.report import Report

_CONSTRUCTED = 0x20
_INDENT = "  "
_HARDWARE_ID = "1.3.6.1.4.1.3704.1.4"  # the one extension whose value is no DER
_X5CHAIN = 33
_URI = 0x86  # GeneralName, uniformResourceIdentifier
_BMP_STRING = 0x1E
_TEXTS = {der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING, _URI, _BMP_STRING}
# Of these only is compared whether they are there: eight bytes (a chip id of Turin's), and others.
_THERE = ("measurement", "report_id", "chip_id", "id_key_digest", "author_key_digest")
# What the guest and its host put in, and what everything makes: nothing about the form.
_FREE = ("report_data", "host_data", "signature_r", "signature_s", "data")


def of_der(data: bytes) -> list[str]:
    """The form of DER; values of extensions are opened."""
    return list(_elements(data, ""))


def of_cbor(value: object) -> list[str]:
    """The form of an item that was read; certificates of an x5chain are opened."""
    return list(_items(value, ""))


def of_report(data: bytes) -> list[str]:
    """Every field of a report; of what is chosen or random only whether it is there."""
    report = Report.parse(data)
    lines = []
    for name, value in zip(report._fields, report, strict=True):
        if name in _THERE:
            lines.append(f"{name}: {any(value[:8])}, {any(value[8:])}, {len(value)} bytes")
        elif name not in _FREE:
            lines.append(f"{name}: {value}")
    return lines


def _elements(data: bytes, indent: str) -> Iterator[str]:
    """All elements; an OCTET STRING after an OBJECT IDENTIFIER is the value of an extension."""
    reader, extension = der.Reader(data), ""
    while (tag := reader.peek()) is not None:
        content = reader.element(tag)
        opened = tag == der.OCTET_STRING and extension not in ("", _HARDWARE_ID)
        yield f"{indent}{tag:02x} {'' if opened else _said(tag, content)}".rstrip()
        if tag & _CONSTRUCTED or opened:
            yield from _elements(content, indent + _INDENT)
        if tag == der.OBJECT_IDENTIFIER:
            extension = der.object_identifier(content)


def _said(tag: int, content: bytes) -> str:
    if tag & _CONSTRUCTED:
        return ""
    if tag == der.OBJECT_IDENTIFIER:
        return der.object_identifier(content)
    if tag in _TEXTS:
        return content.decode("utf-8")
    flags = tag == der.BIT_STRING and len(content) == 2  # keyUsage: unused bits, bits
    if flags or tag == der.BOOLEAN or (tag == der.INTEGER and len(content) == 1):
        return content.hex()
    return f"{len(content)} bytes"


def _items(value: object, indent: str, label: object = None) -> Iterator[str]:
    match value:
        case cbor2.CBORTag():
            yield f"{indent}tag {value.tag}"
            yield from _items(value.value, indent + _INDENT)
        case Mapping():
            yield f"{indent}map of {len(value)}"
            for name, member in value.items():
                yield f"{indent}{_INDENT}{name!r}"
                yield from _items(member, indent + 2 * _INDENT, name)
        case list() | tuple():
            yield f"{indent}array of {len(value)}"
            for member in value:
                yield from _items(member, indent + _INDENT, label)
        case bytes() if label == _X5CHAIN:
            yield f"{indent}a certificate"
            yield from _elements(value, indent + _INDENT)
        case bytes():
            yield f"{indent}{len(value)} bytes"
        case int() if abs(value) > 0xFFFF:  # a time
            yield f"{indent}integer of {value.bit_length()} bits"
        case _:
            yield f"{indent}{value!r}"

"""Certificates taken apart and put together again with one element changed."""

from __future__ import annotations

from sealserve.attestation import asn1, der


def elements(data: bytes) -> list[bytes]:
    """The elements inside a SEQUENCE, each with its tag and length."""
    reader, found = der.document(data), []
    while (tag := reader.peek()) is not None:
        found.append(reader.whole(tag))
    return found


def replaced(data: bytes, index: int, *new: bytes) -> bytes:
    """The SEQUENCE with these elements in the place of one."""
    parts = elements(data)
    return asn1.sequence(*parts[:index], *new, *parts[index + 1 :])


def inserted(data: bytes, index: int, new: bytes) -> bytes:
    """The SEQUENCE with one element more, before the one at this index."""
    parts = elements(data)
    return asn1.sequence(*parts[:index], new, *parts[index:])

"""The certificate table that a host hands over beside a report, as GHCB lays it out.

    {GUID[16], u32 offset, u32 length} …, an entry of zeros, then what the entries point to

AMD 56421 rev 2.03 (GHCB), section 4.1.8.1, SNP Extended Guest Request; little-endian, offsets from
the start of the table, GUIDs in the order they are printed. Hosts put DER or PEM into it. The
table comes from the host alone: its certificates prove nothing until `verify` has seen them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sealserve.attestation import pem
from sealserve.native.errors import EvidenceError

MAX_TABLE_BYTES: Final = 0x4000  # SEV_FW_BLOB_MAX_SIZE, Linux include/linux/psp-sev.h
MAX_ENTRIES: Final = 32  # six kinds are known

# GUIDs of AMD 56421 rev 2.03, section 4.1.8.1. A host that signs with a VLEK puts its ASVK under
# the GUID of the ASK.
VCEK: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL: Final = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")

_ENTRY: Final = struct.Struct("<16sII")
_Range = tuple[UUID, int, int]


@dataclass(frozen=True, slots=True)
class CertificateTable:
    """What the host had to say, DER; None where it said nothing. Nothing here is checked.

    vcek, vlek: the leaf. intermediate: ASK, or ASVK for a VLEK. root: never to be believed for
    being here. crl: a revocation list. Entries under other GUIDs are passed over.
    """

    vcek: bytes | None = None
    vlek: bytes | None = None
    intermediate: bytes | None = None
    root: bytes | None = None
    crl: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> CertificateTable:
        """Read a table. Raises EvidenceError: certificate_table_*, pem_*; nothing else.

        No bytes at all are an empty table: a host need not have one. Entries must lie behind the
        directory, inside the table and apart from each other. Bytes that no entry names are not
        read: a buffer of whole pages is longer than its table.
        """
        if not data:
            return cls()
        if len(data) > MAX_TABLE_BYTES:
            raise _refused("size", "length", f"{len(data)} bytes", f"at most {MAX_TABLE_BYTES}")
        found = {guid: data[start:end] for guid, start, end in _directory(data)}
        return cls(
            vcek=_der(found, VCEK),
            vlek=_der(found, VLEK),
            intermediate=_der(found, ASK),
            root=_der(found, ARK),
            crl=_der(found, CRL, "X509 CRL"),
        )


def _directory(data: bytes) -> list[_Range]:
    """Every entry with the half-open range it names, once all of them were found to be sound."""
    entries: list[_Range] = []
    for raw, offset, length in _raw_entries(data):
        entries.append((UUID(bytes=raw), offset, offset + length))
    behind = (len(entries) + 1) * _ENTRY.size
    for guid, start, end in sorted(entries, key=_start):
        if not behind <= start < end <= len(data):
            raise _refused(
                "range",
                f"range of entry {guid}",
                f"{start} to {end}",
                f"one or more bytes, apart from others, in {behind} to {len(data)}",
            )
        behind = end
    if len({guid for guid, _, _ in entries}) != len(entries):
        raise _refused("entry", "entries", "one GUID twice", "each GUID once")
    return entries


def _raw_entries(data: bytes) -> list[tuple[bytes, int, int]]:
    """The entries before the one of zeros, which must come."""
    entries: list[tuple[bytes, int, int]] = []
    for position in range(0, len(data) - _ENTRY.size + 1, _ENTRY.size):
        entry = _ENTRY.unpack_from(data, position)
        if not any(data[position : position + _ENTRY.size]):
            return entries
        entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            break
    raise _refused("entry", "end of the directory", "none", f"after at most {MAX_ENTRIES} entries")


def _start(entry: _Range) -> int:
    return entry[1]


def _der(found: Mapping[UUID, bytes], guid: UUID, label: pem.Label = "CERTIFICATE") -> bytes | None:
    data = found.get(guid)
    return pem.read(data, label)[0] if data is not None and pem.is_pem(data) else data


def _refused(what: str, subject: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError(
        f"certificate_table_{what}",
        f"{subject} of the host's certificate table",
        seen=seen,
        wanted=wanted,
    )

"""The words between a simulated platform and its workload, over one inherited Unix socket.

The socket (SOCK_SEQPACKET, announced in SEALSERVE_TEE_FD) is shared by every process of the
workload. So that no two of them can take each other's answer, a request brings its own way back:

    request    magic, 64 bytes for REPORT_DATA; with exactly one file descriptor, a Unix socket
    answer     magic, then the report, the host's certificate table (GHCB) and the endorsement of
               the launch, each after its length (u32, little-endian); sent as one message to that
               socket. An absent endorsement has length 0

Anything else is dropped: the descriptor is closed, and the other side sees the end of its stream.
"""

from __future__ import annotations

import struct
from typing import Final

from sealserve.attestation.binding import ReportData
from sealserve.attestation.certificate_table import CertificateTable
from sealserve.attestation.evidence import Evidence
from sealserve.native.errors import EvidenceError

SOCKET_VARIABLE: Final = "SEALSERVE_TEE_FD"
MAX_ANSWER_BYTES: Final = 32 * 1024  # report, table and endorsement take 15 KiB

_MAGIC: Final = b"sealtee2"
_REPORT_DATA_BYTES: Final = 64
REQUEST_BYTES: Final = len(_MAGIC) + _REPORT_DATA_BYTES
_LENGTH: Final = struct.Struct("<I")


def request(data: ReportData) -> bytes:
    """The request for a report that holds these 64 bytes."""
    if len(data) != _REPORT_DATA_BYTES:
        raise ValueError(f"REPORT_DATA has {len(data)} bytes; wanted {_REPORT_DATA_BYTES}")
    return _MAGIC + data


def parse_request(message: bytes) -> ReportData:
    """The 64 bytes asked for. ValueError for anything that is not a request."""
    if len(message) != REQUEST_BYTES or not message.startswith(_MAGIC):
        raise ValueError("not a request")
    return ReportData(message[len(_MAGIC) :])


def answer(report: bytes, table: bytes, endorsement: bytes | None) -> bytes:
    """The answer with these; the claims stay behind, the workload has them."""
    members = (report, table, endorsement or b"")
    return _MAGIC + b"".join(_LENGTH.pack(len(member)) + member for member in members)


def parse_answer(message: bytes, claims: bytes) -> Evidence:
    """Evidence for these claims out of an answer. ValueError for anything that is not an answer."""
    if len(message) > MAX_ANSWER_BYTES or not message.startswith(_MAGIC):
        raise ValueError("not an answer")
    members, rest = [], message[len(_MAGIC) :]
    for _ in range(3):
        member, rest = _member(rest)
        members.append(member)
    if rest:
        raise ValueError("bytes follow the answer")
    report, table, endorsement = members
    return _evidence(report, table, endorsement, claims)


def _evidence(report: bytes, table: bytes, endorsement: bytes, claims: bytes) -> Evidence:
    try:
        told = CertificateTable.parse(table)
    except EvidenceError as error:
        raise ValueError("the answer has no certificate table") from error
    leaf = told.vlek or told.vcek
    if leaf is None or told.intermediate is None:
        raise ValueError("the certificate table has no leaf or no intermediate")
    return Evidence(
        report,
        leaf,
        told.intermediate,
        claims,
        root=told.root,
        crl=told.crl,
        uvm_endorsement=endorsement or None,
    )


def _member(data: bytes) -> tuple[bytes, bytes]:
    """The first member and what follows it."""
    if len(data) < _LENGTH.size:
        raise ValueError("the answer is cut off")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if len(data) < end:
        raise ValueError("the answer is cut off")
    return data[_LENGTH.size : end], data[end:]

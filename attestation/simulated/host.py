"""What the host of a simulated machine hands over, in the forms of real hosts.

A Linux guest gets a certificate table with its report (GHCB), a confidential container on Azure
finds three files in its security context. Both hold the very certificates of the machine.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Final

from sealserve.attestation import certificate_table, pem
from sealserve.attestation.report import SigningKey
from sealserve.attestation.simulated.chain import Chain

HOST_CERTIFICATE: Final = "host-amd-cert-base64"
ENDORSEMENT: Final = "reference-info-base64"
POLICY: Final = "security-policy-base64"

_PAGE: Final = 4096
_ENTRY: Final = struct.Struct("<16sII")  # GUID, offset, length
_CACHE_SECONDS: Final = 86400  # as Azure's


def table(chain: Chain, kind: SigningKey) -> bytes:
    """The certificate table (AMD 56421 rev 2.03, section 4.1.8.1): whole pages, zero-padded."""
    leaf = certificate_table.VCEK if kind == "vcek" else certificate_table.VLEK
    members = {
        leaf: chain.leaf,
        certificate_table.ASK: chain.intermediate,
        certificate_table.ARK: chain.root,
        certificate_table.CRL: chain.crl or b"",
    }
    present = {guid: member for guid, member in members.items() if member}
    offset = (len(present) + 1) * _ENTRY.size
    entries = b""
    for guid, member in present.items():
        entries += _ENTRY.pack(guid.bytes, offset, len(member))
        offset += len(member)
    written = entries + bytes(_ENTRY.size) + b"".join(present.values())
    return written.ljust(-len(written) // _PAGE * -_PAGE, b"\0")


def thim(chain: Chain, reported_tcb: bytes) -> bytes:
    """The JSON that Azure's host tells of its chip. reported_tcb: 8 bytes as in the report."""
    members = {
        "vcekCert": pem.write(chain.leaf).decode("ascii"),
        "tcbm": reported_tcb[::-1].hex().upper(),  # as a number, most significant digit first
        "certificateChain": b"".join(map(pem.write, (chain.intermediate, chain.root))).decode(
            "ascii"
        ),
        "cacheControl": str(_CACHE_SECONDS),
    }
    return json.dumps(members, separators=(",", ":")).encode("ascii")


def security_context(
    host_certificate: bytes, endorsement: bytes, policy: bytes
) -> Mapping[str, bytes]:
    """The files of a security context by name: base64 of each, without a newline."""
    files = {HOST_CERTIFICATE: host_certificate, ENDORSEMENT: endorsement, POLICY: policy}
    return {name: base64.b64encode(content) for name, content in files.items()}

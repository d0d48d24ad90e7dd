"""Is it genuine? Reports, certificates, evidence, and whom a report speaks for."""

from sealserve.attestation.binding import (
    ChallengeClaims,
    ReleaseClaims,
    ReportData,
    TlsClaims,
    report_data,
)
from sealserve.attestation.evidence import Evidence, EvidenceSource, decode, encode
from sealserve.attestation.ratls import (
    SERVER_NAME,
    ServerCertificate,
    new_certificate,
    read_certificate,
    spki_sha256,
)
from sealserve.attestation.report import Report
from sealserve.attestation.roots import Roots
from sealserve.attestation.tcb import LINES, Line, Tcb
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.attestation.verify import Claims, verify

__all__ = [
    "LINES",
    "SERVER_NAME",
    "ChallengeClaims",
    "Claims",
    "Evidence",
    "EvidenceSource",
    "Line",
    "ReleaseClaims",
    "Report",
    "ReportData",
    "Roots",
    "ServerCertificate",
    "Tcb",
    "TlsClaims",
    "UvmEndorsement",
    "decode",
    "encode",
    "new_certificate",
    "read_certificate",
    "report_data",
    "spki_sha256",
    "verify",
]

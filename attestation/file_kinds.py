"""What a file looks like, for people who gave another one than they meant; nothing relies on it."""

from __future__ import annotations

import re
from typing import Final

from sealserve.attestation import pem
from sealserve.attestation.report import REPORT_BYTES

REPORT: Final = "an attestation report"
CERTIFICATE: Final = "a certificate"
CRL: Final = "a revocation list"
JSON: Final = "JSON"
COSE: Final = "a COSE_Sign1 message"
HCL: Final = "an HCL report"
BASE64: Final = "base64: decode it first"

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_=\r\n-]{16,}")
_HEX: Final = re.compile(rb"[0-9A-Fa-f\r\n]{16,}")
_PEM_LABELS: Final = {b"CERTIFICATE": CERTIFICATE, b"X509 CRL": CRL}
_UTC_TIME_OR_SEQUENCE: Final = re.compile(rb"\x30\x82..\x30\x82..(\xa0\x03)?", re.DOTALL)


def kind_of(data: bytes) -> str:
    """A few words; the expected ones are the constants of this module."""
    if not data:
        return "an empty file"
    text = pem.without_text(data)
    if pem.is_pem(text):
        label = text.removeprefix(b"-----BEGIN ").partition(b"-----")[0]
        return _PEM_LABELS.get(label, "PEM text of something else")
    if data.startswith(b"HCLA"):
        return HCL
    if data[:1] == b"\xd2":
        return COSE
    if data.lstrip()[:1] in (b"{", b"["):
        return JSON
    return _binary(data)


def _binary(data: bytes) -> str:
    der = _UTC_TIME_OR_SEQUENCE.match(data)
    if der is not None:  # a certificate names its version first, AMD's lists do not
        return CERTIFICATE if der[1] else CRL
    if len(data) == REPORT_BYTES:
        return REPORT
    if _HEX.fullmatch(data):
        return "hexadecimal digits: decode it first"
    if _BASE64.fullmatch(data):
        return BASE64
    return f"{len(data)} bytes of nothing we know"

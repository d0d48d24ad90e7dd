"""What Azure Container Instances lay beside a container: its security context, three files.

    host-amd-cert-base64     certificates of this chip, as `thim` reads them
    reference-info-base64    the endorsement of the utility VM, COSE_Sign1
    security-policy-base64   the execution policy, whose SHA-256 is HOST_DATA

UVM_SECURITY_CONTEXT_DIR names the directory; without it, it is the one in / called
`security-context-…`. Everything in it is a hint: whoever is shown it verifies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealserve.attestation.evidence import MAX_MEMBER_BYTES
from sealserve.attestation.thim import MAX_THIM_BYTES, HostCertificate
from sealserve.native.errors import ConfigError, EvidenceError

VARIABLE: Final = "UVM_SECURITY_CONTEXT_DIR"
_PREFIX: Final = "security-context-"
_HOST_CERTIFICATE: Final = "host-amd-cert-base64"
_ENDORSEMENT: Final = "reference-info-base64"
_POLICY: Final = "security-policy-base64"

MAX_POLICY_BYTES: Final = 1024 * 1024  # as policy/execution reads them


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """The files of one directory, decoded; None for one that is not there.

    endorsement: COSE_Sign1. policy_sha256: what HOST_DATA should be.
    """

    where: str
    certificate: HostCertificate | None
    endorsement: bytes | None
    policy_sha256: bytes | None


def find(environ: Mapping[str, str], root: Path = Path("/")) -> Path | None:
    """The directory, None if there is none. root: where the file system starts."""
    announced = environ.get(VARIABLE, "")
    if announced:
        return root / announced.lstrip("/")
    return next((path for path in sorted(root.glob(f"{_PREFIX}*")) if path.is_dir()), None)


def read(directory: Path) -> SecurityContext:
    """Decode the files. ConfigError for one that cannot be read, never for one that is missing."""
    certificate = _file(directory, _HOST_CERTIFICATE, MAX_THIM_BYTES)
    policy = _file(directory, _POLICY, MAX_POLICY_BYTES)
    return SecurityContext(
        where=str(directory),
        certificate=_certificate(directory, certificate) if certificate else None,
        endorsement=_file(directory, _ENDORSEMENT, MAX_MEMBER_BYTES),
        policy_sha256=hashlib.sha256(policy).digest() if policy else None,
    )


def _certificate(directory: Path, data: bytes) -> HostCertificate:
    try:
        return HostCertificate.parse(data)
    except EvidenceError as error:
        raise _unreadable(directory / _HOST_CERTIFICATE, error.message) from error


def _file(directory: Path, name: str, limit: int) -> bytes | None:
    """The decoded content of at most `limit` bytes; None if the file is missing or empty."""
    path = directory / name
    try:
        with path.open("rb") as file:
            text = file.read(4 * limit // 3 + 4).rstrip(b"\r\n")
            if file.read(1):
                raise _unreadable(path, f"more than {limit} bytes")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, str(error.strerror).lower()) from error
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError) as error:
        raise _unreadable(path, "not base64") from error


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"cannot be read: {why}",
        file=str(path),
        hint="the platform writes this file; a container that changes it changes what it can prove",
    )

"""The simulated ARK and ASK of one product line: two RSA-4096 keys, worth nothing by definition.

They stand in for AMD's key ceremony on a laptop. Every line has a root of its own, as AMD's have:
an ARK of one line never vouches for a machine of another.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.certs import Certificate
from sealserve.attestation.report import SigningKey
from sealserve.attestation.simulated import issue, kept
from sealserve.attestation.tcb import LINES, Line
from sealserve.native.errors import EvidenceError

FILE_NAME: Final = "simulated-root.pem"  # of Milan, the line a machine is of unless told otherwise
_HEADER: Final = b"# Root of a simulated platform. It proves nothing about hardware.\n"
_LIFETIME: Final = timedelta(days=3650)  # AMD's is 25 years; UTCTime, their form, ends in 2049
_DAY: Final = timedelta(days=1)
_BY_ARK_NAME: Final = {issue.ark_name(line): line for line in LINES}


@dataclass(frozen=True, repr=False)
class SimulatedRoot:
    """Keys and certificates (DER) of one simulated ARK and its ASK."""

    ark_key: rsa.RSAPrivateKey
    ask_key: rsa.RSAPrivateKey
    ark: bytes
    ask: bytes

    @property
    def ark_sha256(self) -> bytes:
        """The digest a verifier must be given: `simulated_root_sha256` of a trust file."""
        return hashlib.sha256(self.ark).digest()

    @property
    def line(self) -> Line:
        """The product line whose machines are under this root."""
        return _BY_ARK_NAME[Certificate.parse(self.ark).subject.common_name]

    @classmethod
    def create(cls, now: datetime, line: Line = "milan") -> SimulatedRoot:
        """A new root, valid for ten years. Takes seconds: two RSA-4096 keys."""
        return cls.of(new_key(), new_key(), now, line)

    @classmethod
    def of(
        cls, ark_key: rsa.RSAPrivateKey, ask_key: rsa.RSAPrivateKey, now: datetime, line: Line
    ) -> SimulatedRoot:
        """The root that these keys, RSA with 4096 bits, make."""
        window = validity(now)
        name = issue.name(issue.ark_name(line))
        ark = issue.certificate(
            serial=issue.ARK_SERIAL[line],
            issuer=name,
            subject=name,
            window=window,
            key=ark_key.public_key(),
            extensions=issue.ark_extensions(ark_key.public_key(), line),
            signer=ark_key,
            scheme=issue.SHA384_TRAILER,
        )
        ask = issue_intermediate(ark_key, ask_key.public_key(), line, "vcek", window)
        return cls(ark_key, ask_key, ark, ask)

    @classmethod
    def load_or_create(
        cls, directory: str | os.PathLike[str], line: Line = "milan"
    ) -> SimulatedRoot:
        """The root of this line kept in this directory; made there on first use.

        Raises ConfigError and UnavailableError as `kept.load_or_create`.
        """
        form = _form(line)
        found = kept.load_or_create(directory, form, lambda: _kept(cls.create(_now(), line)))
        (ark_key, ask_key), (ark, ask) = found.keys, found.certificates
        root = cls(ark_key, ask_key, ark, ask)
        if not _is_of(root, line):
            raise kept.refused(directory, form)
        return root


def new_key() -> rsa.RSAPrivateKey:
    """A key such as AMD's CAs have."""
    return rsa.generate_private_key(65537, 4096)


def validity(now: datetime) -> tuple[datetime, datetime]:
    """From yesterday, so that clocks need not agree, for ten years."""
    return now - _DAY, now + _LIFETIME


def issue_intermediate(
    ark_key: rsa.RSAPrivateKey,
    key: rsa.RSAPublicKey,
    line: Line,
    kind: SigningKey,
    window: tuple[datetime, datetime],
    *,
    ca: bool = True,
    common_name: str = "",
) -> bytes:
    """An ASK (for VCEKs) or ASVK (for VLEKs) certificate for this key, DER.

    common_name: "" for the one AMD gives it.
    """
    ark_id = issue.key_id(ark_key.public_key())
    return issue.certificate(
        serial=issue.intermediate_serial(line, kind),
        issuer=issue.name(issue.ark_name(line)),
        subject=issue.name(common_name or issue.intermediate_name(line, kind)),
        window=window,
        key=key,
        extensions=issue.intermediate_extensions(key, ark_id, line, kind, is_ca=ca),
        signer=ark_key,
        scheme=issue.SHA384_TRAILER,
    )


def _form(line: Line) -> kept.Form:
    file_name = FILE_NAME if line == "milan" else f"simulated-root-{line}.pem"
    return kept.Form(file_name, _HEADER, "simulated root", keys=2)


def _kept(root: SimulatedRoot) -> kept.Kept:
    return kept.Kept((root.ark_key, root.ask_key), (root.ark, root.ask))


def _is_of(root: SimulatedRoot, line: Line) -> bool:
    wanted = (issue.ark_name(line), issue.intermediate_name(line, "vcek"))
    try:
        found = [Certificate.parse(each).subject.common_name for each in (root.ark, root.ask)]
    except EvidenceError:
        return False
    return tuple(found) == wanted


def _now() -> datetime:
    return datetime.now(UTC)

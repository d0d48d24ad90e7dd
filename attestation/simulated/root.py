"""The simulated ARK and ASK: two RSA-4096 keys in one file, worth nothing by definition.

Whoever reads the file can forge any simulated machine under this root. It stands in for AMD's
key ceremony on a laptop, so it is kept like a key all the same: mode 0600, made once, atomically.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.certs import Certificate
from sealserve.attestation.simulated import issue
from sealserve.native.errors import ConfigError, EvidenceError, unwritten

FILE_NAME: Final = "simulated-root.pem"
_HEADER: Final = b"# Root of a simulated platform. It proves nothing about hardware.\n"
_BLOCK: Final = rb"-----BEGIN %b-----\n([A-Za-z0-9+/=\n]+)-----END %b-----\n"
_FORM: Final = re.compile(
    re.escape(_HEADER)
    + b"".join(
        _BLOCK % (label, label)
        for label in (b"PRIVATE KEY", b"PRIVATE KEY", b"CERTIFICATE", b"CERTIFICATE")
    )
)
_MAX_FILE_BYTES: Final = 32 * 1024
_LIFETIME: Final = timedelta(days=3650)
_DAY: Final = timedelta(days=1)


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

    @classmethod
    def create(cls, now: datetime) -> SimulatedRoot:
        """A new root, valid for ten years. Takes seconds: two RSA-4096 keys."""
        ark_key = rsa.generate_private_key(65537, 4096)
        ask_key = rsa.generate_private_key(65537, 4096)
        name = issue.name(issue.ARK_NAME)
        window = (now - _DAY, now + _LIFETIME)
        ark = issue.certificate(
            serial=issue.ARK_SERIAL,
            issuer=name,
            subject=name,
            window=window,
            key=ark_key.public_key(),
            extensions=issue.ark_extensions(ark_key.public_key()),
            signer=ark_key,
            scheme=issue.SHA384_TRAILER,
        )
        return cls(ark_key, ask_key, ark, issue_ask(ark_key, ask_key, window, ca=True))

    @classmethod
    def load_or_create(cls, directory: str | os.PathLike[str]) -> SimulatedRoot:
        """The root kept in this directory; made there on first use.

        Of several processes that come first together, one makes it and all use it. Raises
        ConfigError if the directory cannot be used or the file in it is not a simulated root,
        UnavailableError if there is no room; directories made for it are then removed again.
        """
        file = Path(directory) / FILE_NAME
        made = [each for each in file.parents if not os.path.lexists(each)]
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not file.exists():
                _publish(cls.create(datetime.now(UTC)), file)
            data = file.read_bytes()
        except OSError as error:
            with contextlib.suppress(OSError):  # somebody else uses it already
                for each in made:
                    each.rmdir()
            raise unwritten(error, str(file), "cannot keep a simulated root here") from error
        return _parse(data, file)


def issue_ask(
    ark_key: rsa.RSAPrivateKey,
    ask_key: rsa.RSAPrivateKey,
    window: tuple[datetime, datetime],
    *,
    ca: bool,
) -> bytes:
    """An ASK certificate for this key, DER."""
    return issue.certificate(
        serial=issue.ASK_SERIAL,
        issuer=issue.name(issue.ARK_NAME),
        subject=issue.name(issue.ASK_NAME),
        window=window,
        key=ask_key.public_key(),
        extensions=issue.ask_extensions(
            ask_key.public_key(), issue.key_id(ark_key.public_key()), ca=ca
        ),
        signer=ark_key,
        scheme=issue.SHA384_TRAILER,
    )


def _publish(root: SimulatedRoot, file: Path) -> None:
    """Write beside, then link: the name appears complete, and only if nobody else was first."""
    descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=".simulated-root-")
    try:
        with os.fdopen(descriptor, "wb") as stream:  # mkstemp made it 0600
            stream.write(_encode(root))
        with contextlib.suppress(FileExistsError):
            os.link(beside, file)
    finally:
        Path(beside).unlink()


def _encode(root: SimulatedRoot) -> bytes:
    keys = (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for key in (root.ark_key, root.ask_key)
    )
    return _HEADER + b"".join(keys) + _pem(root.ark) + _pem(root.ask)


def _pem(certificate: bytes) -> bytes:
    text = base64.encodebytes(certificate).replace(b"\n", b"")
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"


def _parse(data: bytes, file: Path) -> SimulatedRoot:
    match = _FORM.fullmatch(data) if len(data) <= _MAX_FILE_BYTES else None
    if match is None:
        raise _not_a_root(file)
    try:
        blocks = [base64.b64decode(block) for block in match.groups()]
        ark_key, ask_key = (serialization.load_der_private_key(key, None) for key in blocks[:2])
        ark, ask = (Certificate.parse(certificate) for certificate in blocks[2:])
    except (ValueError, EvidenceError) as error:
        raise _not_a_root(file) from error
    if not isinstance(ark_key, rsa.RSAPrivateKey) or not isinstance(ask_key, rsa.RSAPrivateKey):
        raise _not_a_root(file)
    keys = (issue.spki(ark_key.public_key()), issue.spki(ask_key.public_key()))
    if keys != (ark.spki, ask.spki):
        raise _not_a_root(file)
    return SimulatedRoot(ark_key, ask_key, ark.der, ask.der)


def _not_a_root(file: Path) -> ConfigError:
    return ConfigError(
        "this is not the file of a simulated root",
        file=str(file),
        hint="remove it and a new root is made; clients must then be given the new digest",
    )

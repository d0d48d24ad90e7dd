"""The keys that sign tokens: one that signs, and those before it as long as a token lives.

A new key signs from the moment it is there, also when another process made it: a client that meets
a `kid` it does not know asks for the key set again. Its predecessor is published, and believed,
until the last token it signed has expired.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.token import CLOCK_SKEW_SECONDS, LIFETIME_SECONDS
from sealserve.keys.trustd import pkcs8
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.certificates import self_signed
from sealserve.keys.trustd.records import Record, Records
from sealserve.native.errors import IntegrityError

KIND: Final = "token-key"
MAX_AGE: Final = timedelta(days=90)  # then a start, or a day of running, makes another one
RETIRED_AFTER: Final = timedelta(seconds=LIFETIME_SECONDS + 2 * CLOCK_SKEW_SECONDS)
RSA_BITS: Final = 3072
_NAME: Final = "token-key"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """kid: opaque to everybody; Azure's are standard base64 as well. made: when it was."""

    kid: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    made: datetime

    def __repr__(self) -> str:
        return f"TokenKey({self.kid})"


class TokenKeyRing:
    """The token keys of one service."""

    def __init__(self, records: Records, audit: AuditLog) -> None:
        self._records = records
        self._audit = audit
        self._read: dict[str, TokenKey] = {}

    def rotate(self, title: str, now: datetime) -> TokenKey:
        """A new key, which signs from now on; keys that nobody needs any more are removed.

        title: of the certificate that carries it. Raises UnavailableError.
        """
        key = rsa.generate_private_key(65537, RSA_BITS)
        certificate = self_signed(title, key, now)
        record = _record(key, certificate, now)
        with self._audit.transaction():
            for retired in self._stored()[: len(self._stored()) - len(self.valid(now))]:
                self._records.remove(KIND, _NAME, retired.version)
            self._records.add(record)
            self._audit.append(Entry.SIGNING_KEY_ADDED, kid=_kid(certificate))
        return self._key(record)

    def rotate_if_old(self, title: str, now: datetime) -> bool:
        """A new key if the newest is too old; whether it was."""
        if now < self.newest().made + MAX_AGE:
            return False
        self.rotate(title, now)
        return True

    def newest(self) -> TokenKey:
        """The one that signs. Raises IntegrityError if there is none or it was altered."""
        newest = self._records.find(KIND, _NAME)
        if newest is None:
            raise IntegrityError("there is no token key", hint="was the service ever complete?")
        return self._key(newest)

    def valid(self, now: datetime) -> list[TokenKey]:
        """Those whose tokens may still be in use, oldest first."""
        keys = [self._key(record) for record in self._stored()]
        # each but the newest until so long after its successor was made
        older = [key for key, after in pairwise(keys) if now < after.made + RETIRED_AFTER]
        return older + keys[-1:]

    def _stored(self) -> list[Record]:
        return self._records.versions(KIND, _NAME)

    def _key(self, record: Record) -> TokenKey:
        """Parsed once: a key of 3072 bits is checked for a while when it is read."""
        if record.version not in self._read:
            self._read[record.version] = _parsed(record)
        return self._read[record.version]


def _record(key: rsa.RSAPrivateKey, certificate: x509.Certificate, now: datetime) -> Record:
    about = {
        "certificate": base64.b64encode(_der(certificate)).decode(),
        "made": int(now.timestamp()),
    }
    version = hashlib.sha256(_der(certificate)).hexdigest()
    return Record(KIND, _NAME, version, about, pkcs8.encode(key))


def _parsed(record: Record) -> TokenKey:
    about: Any = record.about
    certificate = x509.load_der_x509_certificate(base64.b64decode(about["certificate"]))
    key = pkcs8.decode(record.secret)
    assert isinstance(key, rsa.RSAPrivateKey)  # authenticated: we wrote it
    return TokenKey(_kid(certificate), key, certificate, datetime.fromtimestamp(about["made"], UTC))


def _kid(certificate: x509.Certificate) -> str:
    return base64.b64encode(hashlib.sha256(_der(certificate)).digest()).decode()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)

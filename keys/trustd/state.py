"""What a trust service is, from its creation on: its name, its platform, its keys.

All of it are records (records.py), so the platform can no more be changed afterwards than a
release policy can: a service is for simulated machines or for real ones, never both.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sealserve.attestation import Roots
from sealserve.keys.connection import SIMULATED
from sealserve.keys.trustd import pkcs8
from sealserve.keys.trustd.records import Record, Records
from sealserve.native.errors import IntegrityError
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.release_build import SIMULATED_SUFFIX

KIND = "service"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class State:
    """address: what clients call it, as `keyid.vault_host` spells it. listen: where it binds.

    platform: "simulated" or "real". simulated_root_sha256: 64 hex digits, "" for real machines.
    launch: whose endorsements of real machines count, None for nobody's.
    """

    address: str
    listen: str
    platform: str
    simulated_root_sha256: str
    launch: UvmLaunch | None
    ca: x509.Certificate
    ca_key: ec.EllipticCurvePrivateKey
    audit_key: ed25519.Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"State({self.address}, {self.platform})"

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"https://{self.address}"

    @property
    def issuer(self) -> str:
        """What its tokens say they are from; other than the URL for simulated machines."""
        return self.url + (SIMULATED_SUFFIX if self.platform == SIMULATED else "")

    @property
    def token_title(self) -> str:
        """What certificates of token keys are called."""
        return f"tokens ({described(self.platform)})"

    @property
    def ca_sha256(self) -> str:
        """What servers pin, 64 hex digits."""
        return self.ca.fingerprint(hashes.SHA256()).hex()

    def audit_pem(self) -> bytes:
        """The public key that the heads of the audit log are signed with."""
        return self.audit_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def roots(self) -> Roots:
        """Whose machines it attests."""
        if self.platform == SIMULATED:
            return Roots.simulated(bytes.fromhex(self.simulated_root_sha256))
        return Roots.amd()

    def keep(self, records: Records) -> None:
        """Write everything; once, when the service is made."""
        settings = {
            "address": self.address,
            "listen": self.listen,
            "platform": self.platform,
            "simulated_root_sha256": self.simulated_root_sha256,
            "launch": asdict(self.launch) if self.launch else None,
        }
        records.add(Record(KIND, "settings", VERSION, settings, b""))
        records.add(_key_record("ca", self.ca_key, self.ca))
        records.add(Record(KIND, "audit-key", VERSION, {}, pkcs8.encode(self.audit_key)))

    @classmethod
    def load(cls, records: Records) -> State:
        """Read everything. Raises IntegrityError for anything altered or missing."""
        settings = _record(records, "settings")
        ca_key, ca = _key(records, "ca")
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        audit_key = pkcs8.decode(_record(records, "audit-key").secret)
        assert isinstance(audit_key, ed25519.Ed25519PrivateKey)
        return cls(
            address=_text(settings.about, "address"),
            listen=_text(settings.about, "listen"),
            platform=_text(settings.about, "platform"),
            simulated_root_sha256=_text(settings.about, "simulated_root_sha256"),
            launch=_launch(settings.about),
            ca=ca,
            ca_key=ca_key,
            audit_key=audit_key,
        )


def described(platform: str) -> str:
    """The platform, as certificates say it."""
    return "simulated, no hardware" if platform == SIMULATED else "real hardware"


def _launch(about: Mapping[str, object]) -> UvmLaunch | None:
    told: Any = about["launch"]
    return UvmLaunch(**told) if told else None


def _key_record(
    name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> Record:
    encoded = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    return Record(KIND, name, VERSION, {"certificate": encoded}, pkcs8.encode(key))


def _key(records: Records, name: str) -> tuple[PrivateKeyTypes, x509.Certificate]:
    record = _record(records, name)
    encoded = base64.b64decode(_text(record.about, "certificate"))
    return pkcs8.decode(record.secret), x509.load_der_x509_certificate(encoded)


def _record(records: Records, name: str) -> Record:
    record = records.find(KIND, name)
    if record is None:
        raise IntegrityError(f"the record {KIND} {name} is missing", hint="was it ever complete?")
    return record


def _text(about: Mapping[str, object], name: str) -> str:
    value = about[name]
    assert isinstance(value, str)  # authenticated: we wrote it
    return value

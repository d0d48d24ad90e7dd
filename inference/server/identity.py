"""The server's TLS key, which never leaves memory, and the two certificates made with it.

Current and next carry the same key and each its own `tls` evidence. Clients pin both, so that a
rotation, where next becomes current, breaks no client that attested within the last period.

Who makes certificates has a `TlsIdentity`; who shows them has what was handed to it (handed.py).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sealserve.attestation import ratls
from sealserve.attestation.binding import TlsClaims
from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server.handed import Certificates, HandedIdentity, pem
from sealserve.native.secret import SecretBuffer


class TlsIdentity:
    """One P-256 key and its certificates; `rotate` may be called from any thread.

    kept: an identity to go on with; without one it is new.
    """

    def __init__(
        self,
        source: EvidenceSource,
        *,
        kept: HandedIdentity | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._clock = clock
        self._key = _key_of(kept.secret) if kept else ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.spki_sha256 = hashlib.sha256(public).digest()
        self._lock = threading.Lock()
        self._certificates = (
            kept.certificates
            if kept
            else Certificates(self._new_certificate(), self._new_certificate())
        )

    @property
    def certificates(self) -> Certificates:
        return self._certificates

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM; held in memory only, by us and by OpenSSL."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def certificate_pem(self) -> bytes:
        return pem(self._certificates.current)

    def rotate(self) -> None:
        """The next certificate takes over, and a new one with fresh evidence comes after it."""
        with self._lock:
            fresh = self._new_certificate()
            self._certificates = Certificates(self._certificates.next, fresh)

    def _new_certificate(self) -> bytes:
        evidence = self._source.evidence(TlsClaims(self.spki_sha256).encode())
        return ratls.new_certificate(self._key, evidence, self._clock())


def _key_of(key_pem: SecretBuffer) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(memoryview(key_pem), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # we made it
    return key

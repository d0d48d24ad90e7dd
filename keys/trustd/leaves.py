"""The certificates that live only while the service runs: one for TLS, one for release answers."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealserve.keys.trustd.answer import Signer
from sealserve.keys.trustd.certificates import issue
from sealserve.keys.trustd.state import State

_RSA_BITS = 3072
_PEM = serialization.Encoding.PEM


class Leaves:
    """Keys made at start and never written; certificates renewed under the same keys."""

    def __init__(self, state: State, now: datetime) -> None:
        self._state = state
        self._tls_key = ec.generate_private_key(ec.SECP256R1())
        self._signing_key = rsa.generate_private_key(65537, _RSA_BITS)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.num_tickets = 0  # nobody resumes: a client that verifies does so every time
        self.renew(now)

    def renew(self, now: datetime) -> None:
        """New certificates, for connections and answers from now on."""
        state = self._state
        tls = issue(state.ca, state.ca_key, state.address, self._tls_key.public_key(), now)
        signing = issue(state.ca, state.ca_key, state.address, self._signing_key.public_key(), now)
        self._signer = Signer(self._signing_key, (signing, state.ca))
        # the whole chain goes out, so that a client can find the CA whose digest it knows
        self._load(tls.public_bytes(_PEM) + state.ca.public_bytes(_PEM))

    def sign(self, payload: Mapping[str, object]) -> str:
        """The JWS around a release answer."""
        return self._signer.sign(payload)

    def certificate(self) -> x509.Certificate:
        """The one that answers are signed with."""
        return self._signer.chain[0]

    def _load(self, chain: bytes) -> None:
        """ssl takes only paths; this one names memory of this process and no disk."""
        key = self._tls_key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        memory = os.memfd_create("sealserve-tls", os.MFD_CLOEXEC)
        try:
            os.write(memory, key + chain)
            self.tls.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)

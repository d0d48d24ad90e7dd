"""Which certificate authority a trust service's TLS must chain to: one, known by its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sealserve.keys.keyid import host_and_port
from sealserve.keys.unreachable import Peer
from sealserve.native.errors import ConfigError, ReleaseError

HANDSHAKE_SECONDS = 10.0
_MAX_CERTIFICATE_BYTES = 16 * 1024
_SHA256 = re.compile("[0-9A-Fa-f]{64}")


class Authority:
    """One CA certificate, and the ways TLS libraries want to be told of it."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self._pem = certificate.public_bytes(serialization.Encoding.PEM)
        # requests takes only a path. This one names memory of this process, so nobody can swap it.
        self._memory = os.memfd_create("sealserve-ca", os.MFD_CLOEXEC)
        os.write(self._memory, self._pem)

    def __del__(self) -> None:
        if hasattr(self, "_memory"):
            os.close(self._memory)

    @property
    def sha256(self) -> str:
        """Digest of the DER, 64 hex digits: what `--vault-ca-sha256` takes."""
        return hashlib.sha256(der(self.certificate)).hexdigest()

    @property
    def path(self) -> str:
        """A PEM file for libraries that insist on one; valid while this object lives."""
        return f"/proc/self/fd/{self._memory}"

    def tls(self) -> ssl.SSLContext:
        """A client context that trusts this authority alone and reads no environment."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self._pem.decode())
        return context

    @classmethod
    def of_pem(cls, pem: bytes, *, file: str = "") -> Authority:
        """From one PEM certificate. Raises ConfigError."""
        try:
            certificates = x509.load_pem_x509_certificates(pem[: _MAX_CERTIFICATE_BYTES + 1])
        except (ValueError, x509.InvalidVersion):
            certificates = []
        if len(certificates) != 1 or len(pem) > _MAX_CERTIFICATE_BYTES:
            raise ConfigError("is not one PEM certificate", file=file)
        return cls(certificates[0])

    @classmethod
    def load(cls, path: Path, sha256: str) -> Authority:
        """From a PEM file whose certificate must have this digest. Raises ConfigError."""
        try:
            with path.open("rb") as file:
                pem = file.read(_MAX_CERTIFICATE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
        authority = cls.of_pem(pem, file=str(path))
        if not hmac.compare_digest(authority.sha256, digest(sha256)):
            raise ConfigError(
                f"holds the CA {authority.sha256}; --vault-ca-sha256 wants {sha256.lower()}",
                file=str(path),
            )
        return authority

    @classmethod
    def from_handshake(cls, host: str, sha256: str) -> Authority:
        """From the chain that `host` shows, which must contain this CA.

        The handshake is not verified; the digest decides. Every later connection then verifies
        under this CA. Raises ReleaseError for another CA, UnavailableError if nobody answers.
        """
        wanted = digest(sha256)
        shown = _shown_chain(host)
        for encoded in shown:
            if hmac.compare_digest(hashlib.sha256(encoded).hexdigest(), wanted):
                return cls(x509.load_der_x509_certificate(encoded))
        seen = ", ".join(hashlib.sha256(encoded).hexdigest() for encoded in shown[1:]) or "none"
        raise ReleaseError(
            f"{host} shows the CA {seen}; --vault-ca-sha256 wants {wanted}",
            hint="`sealserve trustd run` prints the digest of its CA; is this the right host?",
        )


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def digest(text: str) -> str:
    """64 hex digits in lower case. Raises ConfigError."""
    if _SHA256.fullmatch(text):
        return text.lower()
    raise ConfigError(f"{text[:80]!r} is not a SHA-256 digest", hint="64 hexadecimal digits")


def _shown_chain(host: str) -> list[bytes]:
    name, port = host_and_port(host)
    try:
        with _connect(name, port) as encrypted:
            encrypted.do_handshake()
            # Public as SSLSocket.get_unverified_chain since Python 3.13; the object below it has
            # had the method since 3.10.
            chain = encrypted._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
            return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]
    except OSError as error:
        raise Peer.vault(host, ours=True).failure(error) from error


def _connect(name: str, port: int) -> ssl.SSLSocket:
    """To the first address of this name that answers; its handshake is to come."""
    failure = OSError("this name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        name, port, type=socket.SOCK_STREAM
    ):
        try:
            return _connected(_wrapped(socket.socket(family, kind, protocol), name), address)
        except OSError as error:
            failure = error
    raise failure


def _wrapped(plain: socket.socket, name: str) -> ssl.SSLSocket:
    """Not connected yet: Python's ssl module forgets a socket that was reset before this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)


def _connected(encrypted: ssl.SSLSocket, address: Any) -> ssl.SSLSocket:
    try:
        encrypted.settimeout(HANDSHAKE_SECONDS)
        encrypted.connect(address)
    except BaseException:
        encrypted.close()
        raise
    return encrypted

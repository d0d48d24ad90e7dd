"""An authority of clients, and certificates of it: good ones, foreign ones, old ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PEM = serialization.Encoding.PEM
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A client's certificate and its key, in PEM; `private` is the key's bytes, for canaries."""

    chain: bytes
    key: bytes
    private: bytes

    def written(self, folder: Path) -> tuple[str, str]:
        """`client.pem` and `client.key`, as the options name them."""
        (folder / "client.pem").write_bytes(self.chain)
        (folder / "client.key").write_bytes(self.key)
        (folder / "client.key").chmod(0o600)
        return "client.pem", "client.key"


class Authority:
    """own: its certificate, in PEM; what `--callers` names."""

    def __init__(self, name: str = "ca") -> None:
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.own = _signed(name, name, self._key, self._key, ends=_DAY, authority=True)

    def issue(self, *, key: Any = None, ends: timedelta = _DAY) -> Issued:
        """A client's. ends: from now; its time began two days ago."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        chain = _signed("me", self._name, key, self._key, ends=ends, authority=False)
        return Issued(chain, key_pem(key), key_pem(key).split(b"\n")[1])


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    """PKCS 8."""
    way = serialization.BestAvailableEncryption(password) if password else None
    data: bytes = key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, way or serialization.NoEncryption()
    )
    return data


def _signed(
    name: str, issuer: str, key: Any, signer: Any, *, ends: timedelta, authority: bool
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_called(name))
        .issuer_name(_called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(_PEM)


def _called(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

"""Wrap a model's input key to somebody, and open what was wrapped to us.

HpkeRecipient, HpkeIdentity   a person's key (HPKE, RFC 9180 base mode; the hybrid of
                              draft-ietf-hpke-pq); bound to root and header through `info`
RsaRecipient                  a vault key (RSA-OAEP-256, empty label: Azure binds nothing, so
                              a moved slot fails at the model's key commitment)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, padding, rsa, x25519

from sealserve.keys import keyfile
from sealserve.keys.keyid import KeyId
from sealserve.models.slots import Slot
from sealserve.native.errors import ConfigError, IntegrityError, ReleaseError, SealserveError
from sealserve.native.secret import SecretBuffer

KEY_BYTES = 32
_DIGEST_BYTES = 32
_RECIPIENT_ID_BYTES = 16
_DOMAIN = b"sealserve/slot/v1\0"
RSA_OAEP_256 = "RSA-OAEP-256"
RSA_BITS = (2048, 3072, 4096)  # what Azure creates and releases

HYBRID = "MLKEM768-X25519"
CLASSIC = "X25519"
# draft-ietf-hpke-pq names the KEM 0x647a; RFC 9180 section 7 the others. The AEAD carries 32
# bytes once under a key used once: 256 bits keep it as strong as the payload's cipher.
SUITES = {
    HYBRID: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    CLASSIC: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}
_HpkePublic = hpke.MLKEM768X25519PublicKey | x25519.X25519PublicKey
_HpkePrivate = hpke.MLKEM768X25519PrivateKey | x25519.X25519PrivateKey


def slot_info(root: bytes, header_sha256: bytes) -> bytes:
    """HPKE `info` of a slot: domain label, root, header digest (32 bytes each)."""
    if len(root) != _DIGEST_BYTES or len(header_sha256) != _DIGEST_BYTES:
        raise ValueError("root and header_sha256 are SHA-256 digests of 32 bytes")
    return _DOMAIN + root + header_sha256


@dataclass(frozen=True, slots=True)
class HpkeRecipient:
    """A person's public key. suite: a key of SUITES; id: 32 hex digits, as slots name it."""

    suite: str
    public: _HpkePublic
    id: str

    @classmethod
    def of(cls, parts: Sequence[keyfile.PublicPart]) -> HpkeRecipient:
        """From the parts of a public key file. Raises ConfigError for another combination."""
        raw = b"".join(part.public_bytes_raw() for part in parts)
        recipient_id = hashlib.sha256(raw).digest()[:_RECIPIENT_ID_BYTES].hex()
        match list(parts):
            case [x25519.X25519PublicKey() as curve]:
                return cls(CLASSIC, curve, recipient_id)
            case [mlkem.MLKEM768PublicKey() as lattice, x25519.X25519PublicKey() as curve]:
                return cls(HYBRID, hpke.MLKEM768X25519PublicKey(lattice, curve), recipient_id)
        raise _no_suite(parts)

    @classmethod
    def load(cls, path: Path) -> HpkeRecipient:
        """From a public key file. Raises ConfigError."""
        return cls.of(keyfile.read_public(path))

    def wrap(self, key: SecretBuffer, root: bytes, header_sha256: bytes) -> Slot:
        """A slot only this key's owner opens, and only for this root and header."""
        _check_length(key)
        wrapped = SUITES[self.suite].encrypt(
            memoryview(key), self.public, slot_info(root, header_sha256)
        )
        return Slot("hpke", self.id, self.suite, wrapped)


class HpkeIdentity:
    """A person's private key: an Opener of the `hpke` slots addressed to it."""

    def __init__(self, parts: Sequence[keyfile.PrivatePart]) -> None:
        self._private = _private(parts)
        self.recipient = HpkeRecipient.of([part.public_key() for part in parts])

    @classmethod
    def load(cls, path: Path) -> HpkeIdentity:
        """From a private key file. Raises ConfigError."""
        return cls(keyfile.read_private(path))

    def __repr__(self) -> str:
        return f"HpkeIdentity({self.recipient.suite}, {self.recipient.id})"

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """The input key from the first slot addressed to us that opens.

        Raises ReleaseError if no slot is addressed to us, IntegrityError if none of those opens:
        altered, or moved here from a model with another root or header.
        """
        info = slot_info(root, header_sha256)
        ours = [slot for slot in slots if self._addressed(slot)]
        if not ours:
            raise self._not_addressed(slots)
        for slot in ours:
            key = self._open(slot, info)
            if key is not None:
                return key
        raise IntegrityError(
            f"the slot addressed to {self.recipient.id} does not open",
            hint="it was altered or belongs to another model; rewrap the file from its owner's key",
        )

    def _addressed(self, slot: Slot) -> bool:
        return (slot.kind, slot.recipient, slot.algorithm) == (
            "hpke",
            self.recipient.id,
            self.recipient.suite,
        )

    def _open(self, slot: Slot, info: bytes) -> SecretBuffer | None:
        try:
            plain = SUITES[self.recipient.suite].decrypt(slot.wrapped, self._private, info)
        except InvalidTag:
            return None
        return SecretBuffer.from_bytes(plain) if len(plain) == KEY_BYTES else None

    def _not_addressed(self, slots: Sequence[Slot]) -> ReleaseError:
        others = ", ".join(slot.owner for slot in slots) or "nobody"
        return ReleaseError(
            f"no slot is addressed to hpke {self.recipient.id} ({self.recipient.suite}); "
            f"the file has slots for {others}",
            hint="ask its owner to `sealserve rewrap --keep --key hpke:YOU.pub` it, "
            "with your public key",
        )


class RsaRecipient:
    """One version of a vault key, wrapped to with RSA-OAEP-256."""

    def __init__(self, key_id: KeyId, public: rsa.RSAPublicKey) -> None:
        """key_id: with a version, as the vault answered. Raises ConfigError for a weak key."""
        if not key_id.version:
            raise ValueError("a slot names one version of a vault key")
        if public.key_size not in RSA_BITS:
            raise ConfigError(
                f"{key_id} is an RSA key of {public.key_size} bits; wanted one of {RSA_BITS}"
            )
        self.key_id = key_id
        self._public = public

    def wrap(self, key: SecretBuffer, root: bytes, header_sha256: bytes) -> Slot:
        """A slot this vault key opens. Root and header are not bound: Azure has no place for it."""
        _check_length(key)
        # cryptography's RSA takes nothing but `bytes`: one copy that is freed, not wiped
        wrapped = self._public.encrypt(bytes(key), oaep_256())
        return Slot("azure", self.key_id.url, RSA_OAEP_256, wrapped)


def oaep_256() -> padding.OAEP:
    """RSA-OAEP-256 of RFC 7518 section 4.3: SHA-256 for both hashes, empty label."""
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def new_identity(path: Path, suite: str = HYBRID) -> HpkeIdentity:
    """Make a key pair: `path` (private, mode 0600) and `path`.pub. Raises as `write_new`.

    Neither file may exist; if the second cannot be written the first is removed again.
    """
    if suite not in SUITES:
        raise ConfigError(f"no suite {suite!r}; there are {', '.join(SUITES)}")
    parts: tuple[keyfile.PrivatePart, ...] = (x25519.X25519PrivateKey.generate(),)
    if suite == HYBRID:
        parts = (mlkem.MLKEM768PrivateKey.generate(), *parts)
    keyfile.write_new(path, keyfile.private_pem(parts), mode=0o600)
    public = keyfile.public_pem(tuple(part.public_key() for part in parts))
    try:
        keyfile.write_new(path.with_name(path.name + ".pub"), public, mode=0o644)
    except SealserveError:
        path.unlink()
        raise
    return HpkeIdentity(parts)


def _private(parts: Sequence[keyfile.PrivatePart]) -> _HpkePrivate:
    match list(parts):
        case [x25519.X25519PrivateKey() as curve]:
            return curve
        case [mlkem.MLKEM768PrivateKey() as lattice, x25519.X25519PrivateKey() as curve]:
            return hpke.MLKEM768X25519PrivateKey(lattice, curve)
    raise _no_suite(parts)


def _no_suite(parts: Sequence[object]) -> ConfigError:
    seen = ", ".join(type(part).__name__ for part in parts)
    return ConfigError(f"a key file with {seen} fits no suite; there are {', '.join(SUITES)}")


def _check_length(key: SecretBuffer) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an input key has {KEY_BYTES} bytes, not {len(key)}")

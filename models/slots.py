"""Key slots, and who may make one or open one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sealserve.native.cobblestone import KEY_BYTES
from sealserve.native.errors import ConfigError
from sealserve.native.secret import SecretBuffer


@dataclass(frozen=True, slots=True)
class Slot:
    """The input key, wrapped to one recipient.

    kind: "azure" or "hpke". recipient: azure: the vault key's URL with its version; hpke: first 16
    bytes of SHA-256 of the raw public key, in hexadecimal. wrapped: ciphertext, opaque here.
    """

    kind: str
    recipient: str
    algorithm: str
    wrapped: bytes

    @property
    def owner(self) -> str:
        """Whose it is, for people: vaults of every kind speak Azure's format."""
        return f"{'vault' if self.kind == 'azure' else self.kind} {self.recipient}"


class Recipient(Protocol):
    """Somebody a model's key can be wrapped to."""

    def wrap(self, key: SecretBuffer, root: bytes, header_sha256: bytes) -> Slot:
        """A slot that this recipient opens; root and header are bound where the kind can."""
        ...


class Opener(Protocol):
    """Somebody who can get a model's key."""

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """The input key; the caller wipes it. Raises IntegrityError, ReleaseError, ConfigError."""
        ...


class RawKey:
    """32 bytes that *are* the input key: no slot is written for it. For tests and tools.

    As a recipient it makes `seal` use these bytes; as an opener it hands them out.
    """

    def __init__(self, source: Path | str | bytes) -> None:
        """source: the bytes, or a file that holds exactly them. Raises ConfigError."""
        material = source if isinstance(source, bytes) else _read_key(Path(source))
        if len(material) != KEY_BYTES:
            where = "the raw key" if isinstance(source, bytes) else f"raw key file {source}"
            raise ConfigError(f"{where} has {len(material)} bytes; wanted exactly {KEY_BYTES}")
        self._key = SecretBuffer.from_bytes(material)

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """A copy of the key, whatever the slots say."""
        del slots, root, header_sha256  # what Opener passes; a raw key is bound to nothing
        return SecretBuffer.from_bytes(self._key)


def _read_key(path: Path) -> SecretBuffer:
    material = SecretBuffer(KEY_BYTES + 1)  # one more than wanted, so that a long file shows
    try:
        with material, path.open("rb", buffering=0) as file:
            size = file.readinto(memoryview(material)) or 0
            return SecretBuffer.from_bytes(memoryview(material)[:size])
    except OSError as error:
        raise ConfigError(f"cannot read raw key file {path}: {error.strerror}") from error

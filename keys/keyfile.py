"""HPKE keys as files: the PEM blocks every cryptographic tool reads.

A private key file holds one PKCS #8 block (RFC 5958) per part, a public one the same number of
SubjectPublicKeyInfo blocks (RFC 5280):

    X25519            X25519                             (RFC 8410)
    MLKEM768-X25519   ML-KEM-768, then X25519            (RFC 9935; the order of the hybrid's name)

No registered encoding of the hybrid exists that other tools read, so it is stored as its two
registered halves: `openssl pkey` (3.5 and later) prints either. Text outside the blocks is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from sealserve.models.draft import partial_beside
from sealserve.native.errors import ConfigError, unwritten

MAX_KEY_FILE_BYTES = 16 * 1024  # an ML-KEM-768 public key is 1.7 KiB of PEM
PrivatePart = mlkem.MLKEM768PrivateKey | x25519.X25519PrivateKey
PublicPart = mlkem.MLKEM768PublicKey | x25519.X25519PublicKey

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n?")
_PRIVATE = b"PRIVATE KEY"
_PUBLIC = b"PUBLIC KEY"
_Part = TypeVar("_Part")


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Create `path` with this mode and content.

    Raises ConfigError if it exists or cannot be, UnavailableError if it cannot be now.
    It has its name only once it is complete and on the disk.
    """
    partial = partial_beside(path)
    try:
        _write(partial, data, mode)
        os.link(partial, path)  # unlike a rename, never over something
        _make_last(path.parent)
    except FileExistsError:
        raise ConfigError(
            "the file exists and a key is never overwritten",
            file=str(path),
            hint="choose another name, or move the old file away yourself",
        ) from None
    except OSError as error:
        raise unwritten(error, str(path)) from error
    finally:
        with suppress(OSError):  # where its folder is none, there is nothing to remove
            partial.unlink(missing_ok=True)


def replace(path: Path, data: bytes, *, mode: int) -> None:
    """Put this content in the place of what `path` names, in one step for everybody who looks.

    Raises as `write_new`; then the old content is there still.
    """
    partial = partial_beside(path)
    try:
        _write(partial, data, mode)
        partial.rename(path)
        _make_last(path.parent)
    except OSError as error:
        raise unwritten(error, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask took away or left
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_last(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_pem(parts: tuple[PrivatePart, ...]) -> bytes:
    """The unencrypted PKCS #8 blocks of these parts, one after the other."""
    pkcs8 = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return b"".join(part.private_bytes(serialization.Encoding.PEM, pkcs8, plain) for part in parts)


def public_pem(parts: tuple[PublicPart, ...]) -> bytes:
    """The SubjectPublicKeyInfo blocks of these parts, one after the other."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return b"".join(part.public_bytes(serialization.Encoding.PEM, spki) for part in parts)


def read_private(path: Path) -> tuple[PrivatePart, ...]:
    """The parts of a private key file. Raises ConfigError for anything else."""
    blocks = _blocks(path, _PRIVATE)
    loaded = _load(path, blocks, lambda pem: serialization.load_pem_private_key(pem, None))
    return _only(path, loaded, (mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey))


def read_public(path: Path) -> tuple[PublicPart, ...]:
    """The parts of a public key file. Raises ConfigError for anything else."""
    loaded = _load(path, _blocks(path, _PUBLIC), serialization.load_pem_public_key)
    return _only(path, loaded, (mlkem.MLKEM768PublicKey, x25519.X25519PublicKey))


def _blocks(path: Path, wanted: bytes) -> list[bytes]:
    data = _read(path)
    found = list(_BLOCK.finditer(data))
    labels = {match[1] for match in found}
    if not found or b"".join(match[0] for match in found) != data:
        raise ConfigError(
            "this is not a key file: it holds something besides PEM blocks",
            file=str(path),
            hint="`sealserve key new FILE` makes one",
        )
    if labels != {wanted}:
        raise _wrong_kind(path, labels, wanted)
    return [match[0] for match in found]


def _wrong_kind(path: Path, labels: set[bytes], wanted: bytes) -> ConfigError:
    seen = ", ".join(sorted(label.decode() for label in labels))
    hint = "`sealserve key new FILE` makes a pair: FILE is private, FILE.pub is public"
    if wanted == _PUBLIC and labels == {_PRIVATE}:
        hint = f"this is the private key; recipients are named by the public one, {path.name}.pub"
    elif wanted == _PRIVATE and labels == {_PUBLIC}:
        hint = "this is the public key; give the private file that was made with it"
    return ConfigError(
        f"holds {seen}; a file of {wanted.decode()} blocks is needed", file=str(path), hint=hint
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}",
            file=str(path),
            hint="`sealserve key new FILE` makes a pair: FILE is private, FILE.pub is public",
        ) from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise ConfigError(f"is longer than a key file ({MAX_KEY_FILE_BYTES} bytes)", file=str(path))
    return data


def _load(path: Path, blocks: list[bytes], load: Callable[[bytes], object]) -> list[object]:
    try:
        return [load(block) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # the cause stays out: an ASN.1 error may quote bytes of a private key
        raise ConfigError(
            f"a block does not decode ({type(error).__name__})", file=str(path)
        ) from None


def _only(path: Path, loaded: list[object], kinds: tuple[type[_Part], ...]) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    for part in loaded:
        if not isinstance(part, kinds):
            raise ConfigError(
                f"holds a {type(part).__name__}; wanted X25519, or ML-KEM-768 and X25519",
                file=str(path),
            )
        parts.append(part)
    return tuple(parts)

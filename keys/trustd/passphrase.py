"""A master key behind a passphrase: one JSON file that opens only with both.

    {"argon2id": {"iterations": 3, "lanes": 4, "memory_kib": 65536, "salt": …},
     "nonce": …, "sealed": …, "version": 1}

Argon2id (RFC 9106; the parameters are its second recommendation) makes a key of the passphrase,
AES-256-GCM under that key holds the master key, and its associated data is everything else in the
file: parameters that were changed open nothing, whatever they are.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from sealserve.native.errors import ConfigError, IntegrityError

MIN_BYTES: Final = 12  # a word and a number fall to a list; four words do not
MAX_BYTES: Final = 1024
MAX_FILE_BYTES: Final = 4096
VERSION: Final = 1
_DOMAIN: Final = b"sealserve/trustd/master/v1\0"
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
# What a file may ask of us: somebody else may have written it.
_MOST: Final = {"iterations": 16, "lanes": 16, "memory_kib": 1024 * 1024}


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """memory_kib: in KiB. salt: base64 of 16 bytes."""

    iterations: int
    lanes: int
    memory_kib: int
    salt: str

    def require_sane(self) -> None:
        """ValueError for what RFC 9106 section 3.1 does not have, or takes more than we give."""
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; wanted 1 to {most}")
        if self.memory_kib < 8 * self.lanes:
            raise ValueError(f"memory_kib is {self.memory_kib}; wanted 8 for each lane or more")
        if len(base64.b64decode(self.salt, validate=True)) != _SALT_BYTES:
            raise ValueError(f"salt has not {_SALT_BYTES} bytes")

    def key(self, passphrase: bytes) -> AESGCM:
        """What the passphrase is worth; takes the memory and the time that the cost says."""
        argon2 = Argon2id(
            salt=base64.b64decode(self.salt),
            length=_KEY_BYTES,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return AESGCM(argon2.derive(passphrase))


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. nonce, sealed: base64."""

    argon2id: Cost
    nonce: str
    sealed: str
    version: int


def seal(master_key: bytes, passphrase: bytes) -> bytes:
    """The file. Raises ConfigError for a passphrase that is too short or too long."""
    require_usable(passphrase)
    cost = Cost(iterations=3, lanes=4, memory_kib=64 * 1024, salt=_text(os.urandom(_SALT_BYTES)))
    nonce = os.urandom(_NONCE_BYTES)
    sealed = cost.key(passphrase).encrypt(nonce, master_key, _bound(cost, VERSION))
    whole = Sealed(argon2id=cost, nonce=_text(nonce), sealed=_text(sealed), version=VERSION)
    return msgspec.json.format(msgspec.json.encode(whole)) + b"\n"


def read(data: bytes, file: str) -> Sealed:
    """The file, with nothing in it that asks for more than it may. Raises ConfigError."""
    try:
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"is longer than {MAX_FILE_BYTES} bytes")
        whole = msgspec.json.decode(data, type=Sealed)
        whole.argon2id.require_sane()
        if whole.version != VERSION:
            raise ValueError(f"version is {whole.version}; wanted {VERSION}")
        for each in (whole.nonce, whole.sealed):
            base64.b64decode(each, validate=True)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"is no master key behind a passphrase: {error}", file=file) from None
    return whole


def open_sealed(data: bytes, passphrase: bytes, file: str) -> bytes:
    """The master key.

    Raises ConfigError for a file that is none, IntegrityError for another passphrase.
    """
    whole = read(data, file)
    nonce, sealed = base64.b64decode(whole.nonce), base64.b64decode(whole.sealed)
    bound = _bound(whole.argon2id, whole.version)
    try:
        return whole.argon2id.key(passphrase).decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError):
        raise IntegrityError(
            f"{file} does not open",
            hint="another passphrase, or somebody changed the file",
        ) from None


def require_usable(passphrase: bytes) -> None:
    """Raises ConfigError for one that is too short or too long."""
    if not MIN_BYTES <= len(passphrase) <= MAX_BYTES:
        raise ConfigError(
            f"a passphrase of {len(passphrase)} bytes; wanted {MIN_BYTES} to {MAX_BYTES}",
            hint="four words or more that nobody would put together",
        )


def _bound(cost: Cost, version: int) -> bytes:
    told = {"argon2id": msgspec.to_builtins(cost), "version": version}
    return _DOMAIN + json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

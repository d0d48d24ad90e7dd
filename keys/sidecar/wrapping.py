"""Encrypting to the public part of a vault key, whoever asks: a call, or the command line."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.keys import wrap
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.sidecar.packets import Annotation, KeyInfo
from sealserve.native.errors import ConfigError, InputError

MAX_FILE_BYTES: Final = 16 * 1024  # of a key, or of what is said about it


def annotation(kid: str, plaintext: bytes, info: KeyInfo, public: rsa.RSAPublicKey) -> bytes:
    """What UnWrapKey takes. Raises Refused (400) for more than the key has room for."""
    try:
        wrapped = public.encrypt(plaintext, wrap.oaep_256())
    except ValueError:
        raise bad_parameter(
            f"optsdata of {len(plaintext)} bytes is too long for the key {kid}"
        ) from None
    return Annotation(kid, wrapped, info.vault, info.service).encode()


def public_key(pem: bytes) -> rsa.RSAPublicKey | None:
    """An RSA key of a length that vaults have, None for anything else."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, rsa.RSAPublicKey) and key.key_size in wrap.RSA_BITS else None


def wrap_file(plaintext: bytes, keypath: Path) -> bytes:
    """Standard base64 of the annotation, as Microsoft's program writes it for `-infile`.

    keypath: FOLDER/KID, beside which KID-info.json and the public key lie. Raises ConfigError for
    those, InputError for a plaintext that is too long.
    """
    about = keypath.parent / f"{keypath.name}-info.json"
    try:
        info = KeyInfo.read(_file(about))
    except Refused as refused:
        raise ConfigError(
            refused.message,
            file=str(about),
            hint="it holds public_key_path, kms_endpoint and attester_endpoint",
        ) from refused
    pem = keypath.parent / info.public_key
    public = public_key(_file(pem))
    if public is None:
        raise ConfigError(
            f"is no RSA public key of {wrap.RSA_BITS} bits in PEM",
            file=str(pem),
            hint="`openssl pkey -pubin -text` shows what it is",
        )
    try:
        return base64.b64encode(annotation(keypath.name, plaintext, info, public))
    except Refused as refused:
        raise InputError(
            f"{len(plaintext)} bytes are too long for the key {keypath.name}",
            hint="wrap a key of 32 bytes, and encrypt the data with that",
        ) from refused


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "cannot be read", file=str(path), hint="it lies beside what -keypath names"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            f"is longer than {MAX_FILE_BYTES} bytes", file=str(path), hint="is it the right file?"
        )
    return data

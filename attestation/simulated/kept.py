"""Keys of a simulated authority in one file: worth nothing, and kept like keys all the same.

Whoever reads such a file can forge whatever is under it. It has mode 0600, is made once, and
appears complete or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import pem
from sealserve.native.errors import ConfigError, unwritten

_MAX_FILE_BYTES: Final = 32 * 1024  # three keys and their certificates take 15 KiB
_BLOCK: Final = rb"-----BEGIN %b-----\n([A-Za-z0-9+/=\n]+)-----END %b-----\n"


@dataclass(frozen=True, repr=False)
class Kept:
    """Keys, and the certificate (DER) of each in the same order."""

    keys: tuple[rsa.RSAPrivateKey, ...]
    certificates: tuple[bytes, ...]


@dataclass(frozen=True)
class Form:
    """What a file is called, the line it starts with, what it is in words, and how many keys."""

    file_name: str
    header: bytes
    what: str
    keys: int


def load_or_create(
    directory: str | os.PathLike[str], form: Form, create: Callable[[], Kept]
) -> Kept:
    """What is kept in this directory in this form; made there on first use.

    Of several processes that come first together, one makes it and all use it. Raises
    ConfigError if the directory cannot be used or the file in it has another form,
    UnavailableError if there is no room; directories made for it are then removed again.
    """
    file = Path(directory) / form.file_name
    made = [each for each in file.parents if not os.path.lexists(each)]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _publish(_encode(create(), form), file)
        data = file.read_bytes()
    except OSError as error:
        with contextlib.suppress(OSError):  # somebody else uses it already
            for each in made:
                each.rmdir()
        raise unwritten(error, str(file), f"cannot keep a {form.what} here") from error
    return _parse(data, form, file)


def refused(directory: str | os.PathLike[str], form: Form) -> ConfigError:
    """The error for a file that is not of this form."""
    return _not_of(form, Path(directory) / form.file_name)


def _publish(data: bytes, file: Path) -> None:
    """Write beside, then link: the name appears complete, and only if nobody else was first."""
    descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:  # mkstemp made it 0600
            stream.write(data)
        with contextlib.suppress(FileExistsError):
            os.link(beside, file)
    finally:
        Path(beside).unlink()


def _encode(kept: Kept, form: Form) -> bytes:
    keys = (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for key in kept.keys
    )
    return form.header + b"".join(keys) + b"".join(map(pem.write, kept.certificates))


def _parse(data: bytes, form: Form, file: Path) -> Kept:
    labels = [b"PRIVATE KEY"] * form.keys + [b"CERTIFICATE"] * form.keys
    pattern = re.escape(form.header) + b"".join(_BLOCK % (label, label) for label in labels)
    match = re.fullmatch(pattern, data) if len(data) <= _MAX_FILE_BYTES else None
    if match is None:
        raise _not_of(form, file)
    try:
        blocks = [base64.b64decode(block) for block in match.groups()]
        keys = [_key(block) for block in blocks[: form.keys]]
        certified = [_key_of(block) for block in blocks[form.keys :]]
    except ValueError as error:
        raise _not_of(form, file) from error
    ours = [key for key in keys if isinstance(key, rsa.RSAPrivateKey)]
    if [key.public_key() for key in ours] != certified:
        raise _not_of(form, file)
    return Kept(tuple(ours), tuple(blocks[form.keys :]))


def _key(block: bytes) -> object:
    """Not checked for primes: that takes longer than all else, and what is kept is our own."""
    return serialization.load_der_private_key(block, None, unsafe_skip_rsa_key_validation=True)


def _key_of(certificate: bytes) -> object:
    return x509.load_der_x509_certificate(certificate).public_key()


def _not_of(form: Form, file: Path) -> ConfigError:
    return ConfigError(
        f"this is not the file of a {form.what}",
        file=str(file),
        hint=f"remove it and a new {form.what.split()[-1]} is made; "
        "clients must then be given the new digest",
    )

"""Who may call: anyone who can connect, holders of a token, or clients of an authority.

`--callers FILE` names them in one of two ways, and `--callers-sha256` makes the file part of what
is measured. Either it is a certificate in PEM, of the authority that signed the clients': then a
handshake without one of these fails. Or it is TOML, with the SHA-256 of each caller's token:

    version = 1
    [callers.clinic-7]
    token_sha256 = "…"
    expires = 2027-03-31

A token is sent as `authorization: Bearer TOKEN` and has to be random: 32 bytes cannot be guessed
from their digest. It is asked for before a call's message is read. Evidence and health are for
everybody, because nobody should send a token to a server that is not verified yet.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sealserve.inference.server.config import Caller, Callers
from sealserve.inference.server.config_file import require_sha256
from sealserve.native.errors import ConfigError, SealserveError
from sealserve.policy.toml_table import MAX_FILE_BYTES, Table, read

__all__ = ["MAX_FILE_BYTES", "CallerError", "admit", "callers_of"]

_VERSION: Final = 1
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = "authorization"
_SCHEME: Final = "bearer"
_MAX_TOKEN: Final = 1024
Metadata = Iterable[tuple[str, str | bytes]]


class CallerError(SealserveError):
    """Nobody who may call (gRPC: UNAUTHENTICATED); the same words whatever the reason."""


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def admit(
    callers: Callers, metadata: Metadata, today: Callable[[], datetime.date] = _today
) -> None:
    """CallerError unless there is exactly one token and it is of a caller whose time is not over.

    metadata: all that a call came with. Takes the same time whichever caller it is.
    """
    values = [value for key, value in metadata if key == _KEY]
    digest = hashlib.sha256(_token(values[0]) if len(values) == 1 else b"").hexdigest()
    # All of them are compared, whichever it is.
    found = [each for each in callers.tokens if hmac.compare_digest(digest, each.token_sha256)]
    if len(values) != 1 or not found or _is_over(found[0], today()):
        raise CallerError("this server wants the token of a caller that it knows")


def callers_of(data: bytes, sha256: str, *, file: str) -> Callers:
    """Who may call, by this file. sha256: from the command line, 64 hexadecimal digits.

    Raises ConfigError with file, line, key.
    """
    require_sha256(data, sha256, file=file, option="--callers-sha256")
    if data.lstrip().startswith(_PEM):
        return Callers(client_ca=_authority(data, file))
    top = read(data, file)
    top.expect(("version", "callers"))
    top["version"].integer(_VERSION, _VERSION)
    table = top["callers"].table()
    if not list(table):
        top.fail("callers", "nobody may call", hint="name somebody, or leave --callers out")
    return Callers(tokens=_distinct([_caller(name, table[name].table()) for name in table], table))


def _token(value: str | bytes) -> bytes:
    scheme, _, token = str(value).partition(" ")
    known = scheme.lower() == _SCHEME and len(token) <= _MAX_TOKEN
    return token.encode() if known else b""


def _is_over(caller: Caller, today: datetime.date) -> bool:
    return bool(caller.expires) and today > datetime.date.fromisoformat(caller.expires)


def _caller(name: str, table: Table) -> Caller:
    table.expect(("token_sha256",), ("expires",))
    digest = table["token_sha256"].digest(32)
    if digest == hashlib.sha256(b"").digest():
        table.fail("token_sha256", "the digest of nothing: every call has that token")
    expires = table["expires"].date().isoformat() if "expires" in table else ""
    return Caller(name, digest.hex(), expires)


def _distinct(callers: list[Caller], table: Table) -> tuple[Caller, ...]:
    seen: set[str] = set()
    for caller in callers:
        if caller.token_sha256 in seen:
            table.fail(caller.name, "has the token of another caller")
        seen.add(caller.token_sha256)
    return tuple(callers)


def _authority(data: bytes, file: str) -> str:
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError("not a certificate in PEM", file=file, key="--callers") from error
    if len(certificates) != 1:
        raise ConfigError(
            f"{len(certificates)} certificates; exactly one authority is expected",
            file=file,
            key="--callers",
        )
    return certificates[0].public_bytes(serialization.Encoding.PEM).decode()

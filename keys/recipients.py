"""Turn key references (`hpke:FILE`, `raw:FILE`, `azure:URL`, `trustd:HOST:PORT/NAME`) into keys."""

from __future__ import annotations

from pathlib import Path

from sealserve.keys import wrap
from sealserve.models.slots import RawKey
from sealserve.native.errors import ConfigError

FORMS = (
    "azure:https://HOST/keys/NAME[/VERSION], trustd:HOST:PORT/NAME[/VERSION], hpke:FILE, raw:FILE"
)
Recipient = wrap.HpkeRecipient | wrap.RsaRecipient


def recipient(ref: str, *, connection: Path | None = None) -> Recipient | RawKey:
    """Whom a key reference means.

    connection: connection.toml of the trust service, for `trustd:` references; None is the
    default place (keys/connection.py). `azure:` and `trustd:` ask the vault for the public key.
    Raises ConfigError for a reference we cannot read; ReleaseError, UnavailableError from a vault.
    """
    scheme, colon, rest = ref.partition(":")
    if not colon or not rest:
        raise _unreadable(ref)
    if scheme == "hpke":
        return wrap.HpkeRecipient.load(Path(rest))
    if scheme == "raw":
        return RawKey(Path(rest))
    if scheme in ("azure", "trustd"):
        from sealserve.keys.owner import vault_recipient  # heavy; key files do without it

        return vault_recipient(ref, connection)
    raise _unreadable(ref)


def identity(path: str | Path) -> wrap.HpkeIdentity:
    """The HPKE private key in a file, as an Opener. Raises ConfigError."""
    return wrap.HpkeIdentity.load(Path(path))


def _unreadable(ref: str) -> ConfigError:
    return ConfigError(f"{ref[:120]!r} is not a key reference", hint=f"write one of {FORMS}")

"""The owner's side of a vault: find it by a key reference, read its keys, create them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from azure.core.credentials import TokenCredential

from sealserve.keys.connection import Connection, default_path
from sealserve.keys.keyid import NAME, KeyId, vault_host
from sealserve.keys.vault import StaticCredential, Vault
from sealserve.keys.wrap import RsaRecipient
from sealserve.native.errors import ConfigError


@dataclass(frozen=True, slots=True)
class OwnedVault:
    """A vault with the owner's credential, and the key that the reference names there.

    authority: issuer of the tokens its release policies should ask for; "" where the owner chooses
    an attestation service (Azure). ca_sha256: what servers pin; "" for Azure.
    """

    vault: Vault
    key_id: KeyId
    authority: str
    simulated: bool
    ca_sha256: str


def vault_recipient(ref: str, connection: Path | None) -> RsaRecipient:
    """The vault key a reference names, ready to wrap to. Raises as `Vault.get`, or ConfigError."""
    owned = open_reference(ref, connection)
    try:
        key = owned.vault.get(owned.key_id.name, owned.key_id.version)
    finally:
        owned.vault.close()
    return RsaRecipient(key.key_id, key.public)


def open_reference(ref: str, connection: Path | None) -> OwnedVault:
    """Read `azure:https://HOST/keys/NAME[/VERSION]` or `trustd:HOST:PORT/NAME`.

    connection: None is the default place. Raises ConfigError.
    """
    scheme, _, rest = ref.partition(":")
    if scheme == "azure":
        key_id = KeyId.parse(rest)
        return OwnedVault(Vault(key_id.host, _azure_identity()), key_id, "", False, "")
    if scheme == "trustd":
        return _trust_service(ref, rest, connection or default_path())
    raise ConfigError(
        f"{ref[:120]!r} names no vault key",
        hint="write azure:https://HOST/keys/NAME or trustd:HOST:PORT/NAME",
    )


def _trust_service(ref: str, rest: str, path: Path) -> OwnedVault:
    host, slash, name = rest.partition("/")
    if not slash or not NAME.fullmatch(name):
        raise ConfigError(
            f"{ref[:120]!r} names no key", hint="write trustd:HOST:PORT/NAME; NAME: a-z, 0-9, -"
        )
    told = Connection.load(path)
    wanted = vault_host(host)
    if told.address != wanted:
        raise ConfigError(
            f"leads to {told.address}; the reference names {wanted}",
            file=str(path),
            key="address",
            hint="its token is sent nowhere else; give the right file with --connection",
        )
    authority = told.authority()
    simulated = told.platform == "simulated"
    return OwnedVault(
        vault=Vault(wanted, StaticCredential(told.token), authority=authority),
        key_id=KeyId(wanted, name, ""),
        authority=f"https://{wanted}" + ("/simulated" if simulated else ""),
        simulated=simulated,
        ca_sha256=authority.sha256,
    )


def _azure_identity() -> TokenCredential:
    from azure.identity import DefaultAzureCredential  # heavy, and only Azure needs it

    return DefaultAzureCredential()

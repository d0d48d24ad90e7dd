"""The owner's side of a vault: find it by a key reference, read its keys, create them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.token import TokenKeys
from sealserve.keys.attest import AttestationService
from sealserve.keys.authority import Authority
from sealserve.keys.azure_identity import owner_credential
from sealserve.keys.connection import SIMULATED, Connection, default_path
from sealserve.keys.keyid import NAME, VERSION, KeyId, vault_host
from sealserve.keys.vault import StaticCredential, Vault, VaultKey
from sealserve.keys.wrap import RsaRecipient
from sealserve.models.slots import Slot
from sealserve.native.errors import ConfigError, ReleaseError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.release_build import SIMULATED_SUFFIX, Admitted


@dataclass(frozen=True, slots=True)
class OwnedVault:
    """A vault with the owner's credential, and the key that the reference names there.

    authority: issuer of the tokens its release policies should ask for; "" where the owner chooses
    an attestation service (Azure). ca: of a trust service, None for Azure.
    """

    vault: Vault
    key_id: KeyId
    authority: str
    simulated: bool
    ca: Authority | None

    @property
    def ca_sha256(self) -> str:
        """What servers pin; "" for Azure."""
        return self.ca.sha256 if self.ca else ""

    def token_keys(self) -> TokenKeys:
        """What verifies the tokens of the authority, fetched from where it says.

        Raises as `AttestationService.keys`.
        """
        url = f"https://{self.vault.host}" if self.ca else self.authority
        service = AttestationService(url, tls=self.ca.tls() if self.ca else None)
        with closing(service):
            return service.keys(self.authority.rstrip("/"))

    def close(self) -> None:
        """Close the connections."""
        self.vault.close()

    def key_for(self, admitted: Admitted, *, anew: bool = False) -> VaultKey:
        """The key that leaves the vault only for these machines; made unless it is the newest.

        anew: make a version even so. The versions before are released until the owner disables
        them. Raises ConfigError, ReleaseError, UnavailableError.
        """
        self._require_no_version()
        policy = admitted.policy(self.authority, simulated=self.simulated)
        newest = None if anew else self.vault.find(self.key_id.name)
        if newest and newest.enabled and _same_policy(newest.policy, policy):
            return newest
        return _kept(self.vault.create(self.key_id.name, policy), policy)

    def bring(self, key: rsa.RSAPrivateKey, admitted: Admitted) -> VaultKey:
        """This key as a new version that leaves the vault only for these machines. As `key_for`."""
        self._require_no_version()
        policy = admitted.policy(self.authority, simulated=self.simulated)
        return _kept(self.vault.bring(self.key_id.name, key, policy), policy)

    def _require_no_version(self) -> None:
        if self.key_id.version:
            raise ConfigError(
                f"{self.key_id} names a version; a vault gives a new one its name itself",
                hint="name the key alone",
            )


class PolicyRecipient:
    """A vault key for certain machines, made only once there is a key to wrap to it."""

    def __init__(self, vault: OwnedVault, admitted: Admitted) -> None:
        self._vault = vault
        self._admitted = admitted
        self.key: VaultKey | None = None

    def wrap(self, key: SecretBuffer, root: bytes, header_sha256: bytes) -> Slot:
        """A slot this vault key opens. Raises as `OwnedVault.key_for`."""
        self.key = self._vault.key_for(self._admitted)
        return RsaRecipient(self.key.key_id, self.key.public).wrap(key, root, header_sha256)


def vault_recipient(ref: str, connection: Path | None) -> RsaRecipient:
    """The vault key a reference names, ready to wrap to. Raises as `Vault.get`, or ConfigError."""
    owned = open_reference(ref, connection)
    try:
        key = owned.vault.get(owned.key_id.name, owned.key_id.version)
    finally:
        owned.vault.close()
    return RsaRecipient(key.key_id, key.public)


def open_reference(ref: str, connection: Path | None, attestation_service: str = "") -> OwnedVault:
    """Read `azure:https://HOST/keys/NAME[/VERSION]` or `trustd:HOST:PORT/NAME[/VERSION]`.

    connection: None is the default place. attestation_service: whose tokens a release at Azure
    asks for; a trust service brings its own. Raises ConfigError.
    """
    scheme, _, rest = ref.partition(":")
    if scheme == "azure":
        key_id = KeyId.parse(rest)
        vault = Vault(key_id.host, owner_credential())
        return OwnedVault(vault, key_id, attestation_service, simulated=False, ca=None)
    if scheme == "trustd" and attestation_service:
        raise ConfigError(
            f"{ref[:120]!r} is its own attestation service", key="--attestation-service"
        )
    if scheme == "trustd":
        return _trust_service(ref, rest, connection or default_path())
    raise ConfigError(
        f"{ref[:120]!r} names no vault key",
        hint="write azure:https://HOST/keys/NAME or trustd:HOST:PORT/NAME",
    )


def _trust_service(ref: str, rest: str, file: Path) -> OwnedVault:
    host, _, path = rest.partition("/")
    name, slash, version = path.partition("/")
    if not NAME.fullmatch(name) or (slash and not VERSION.fullmatch(version)):
        raise ConfigError(
            f"{ref[:120]!r} names no key",
            hint="write trustd:HOST:PORT/NAME[/VERSION]; NAME: a-z, 0-9, -",
        )
    told = Connection.load(file)
    wanted = vault_host(host)
    if told.address != wanted:
        raise ConfigError(
            f"leads to {told.address}; the reference names {wanted}",
            file=str(file),
            key="address",
            hint="its token is sent nowhere else; give the right file with --connection",
        )
    authority = told.authority()
    simulated = told.platform == SIMULATED
    return OwnedVault(
        vault=Vault(wanted, StaticCredential(told.token), authority=authority),
        key_id=KeyId(wanted, name, version),
        authority=f"https://{wanted}" + (SIMULATED_SUFFIX if simulated else ""),
        simulated=simulated,
        ca=authority,
    )


def _kept(made: VaultKey, policy: bytes) -> VaultKey:
    """The new version, if the vault keeps it under the policy that was asked for."""
    if not _same_policy(made.policy, policy):
        raise ReleaseError(
            f"{made.key_id} was made with another release policy than the one asked for",
            hint="nothing was wrapped to it; is this host really the vault?",
        )
    return made


def _same_policy(stored: bytes, wanted: bytes) -> bool:
    """Vaults store a policy in a spelling of their own."""
    try:
        return ReleasePolicy.parse(stored) == ReleasePolicy.parse(wanted)
    except ConfigError:
        return False

"""The Opener of a server: evidence, token, release, for the slots of the one configured vault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from azure.core.credentials import TokenCredential
from cryptography import x509

from sealserve.attestation.certs import Certificate
from sealserve.attestation.evidence import Evidence, EvidenceSource
from sealserve.attestation.roots import Roots
from sealserve.attestation.token import TokenKeys
from sealserve.keys.attest import AttestationService
from sealserve.keys.authority import Authority
from sealserve.keys.connection import SIMULATED
from sealserve.keys.keyid import KeyId, vault_host
from sealserve.keys.session import ReleaseConfig, ReleaseRequest, ReleaseSession
from sealserve.keys.vault import ATTESTED, StaticCredential, Vault
from sealserve.models.slots import Slot
from sealserve.native.errors import ConfigError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release import SIMULATED_SUFFIX

AZURE_ROOTS = Path(__file__).with_name("azure_roots.pem")


class Attests(Protocol):
    """What the opener needs of an attestation service."""

    def attest(self, evidence: Evidence, *, ark: bytes | None = None) -> str:
        """A token for this evidence; ark: the root of its chain if it has none, DER."""

    def close(self) -> None:
        """Close the connections."""

    def keys(self, issuer: str) -> TokenKeys:
        """The issuer's signing keys, fetched anew."""


class Releases(Protocol):
    """What the opener needs of a vault."""

    def release(self, request: ReleaseRequest) -> str:
        """The vault's signed answer."""

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """`serve`'s measured options about its vault, as given; see `connect_vault`."""

    vault: str
    attestation_service: str = ""
    ca_sha256: str = ""
    ca_file: Path | None = None
    credential: str = ""


class VaultOpener:
    """Opens `azure` slots of one vault; a slot of any other host is never asked for."""

    def __init__(
        self,
        config: ReleaseConfig,
        service: Attests,
        vault: Releases,
        source: EvidenceSource,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self._service = service
        self._vault = vault
        self._source = source
        self._clock = clock
        self._keys = TokenKeys({})

    def close(self) -> None:
        """Close the connections to both."""
        self._service.close()
        self._vault.close()

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """The input key, released to this machine.

        root and header_sha256 are not used: Azure's wrap binds nothing, and a slot moved here
        from another model fails at the key commitment. With several slots of this vault (two
        versions of its key, while it is being rolled) the first that is released counts.
        Raises ReleaseError, EvidenceError, UnavailableError, IntegrityError.
        """
        del root, header_sha256
        ours = [slot for slot in slots if self._ours(slot)]
        if not ours:
            raise self._nothing_for_us(slots)
        for slot in ours[:-1]:
            try:
                return self._release(slot)
            except (ReleaseError, IntegrityError):
                continue  # the last slot's failure is the one that is told
        return self._release(ours[-1])

    def _release(self, slot: Slot) -> SecretBuffer:
        session = ReleaseSession(slot, self.config)
        evidence = self._source.evidence(session.claims())
        token = self._service.attest(evidence, ark=_root_to_show(evidence))
        if not self._keys.knows(token):
            self._keys = self._service.keys(self.config.issuer)
        request = session.accept_token(token, self._keys, now=self._clock())
        return session.accept_release(self._vault.release(request), now=self._clock())

    def _ours(self, slot: Slot) -> bool:
        """Slots are unauthenticated: an unreadable one is somebody else's, not a reason to stop."""
        try:
            return slot.kind == "azure" and KeyId.parse(slot.recipient).host == self.config.vault
        except ConfigError:
            return False

    def _nothing_for_us(self, slots: Sequence[Slot]) -> ReleaseError:
        foreign = [slot.owner for slot in slots]
        return ReleaseError(
            f"no slot belongs to the vault {self.config.vault}; the file has slots for "
            f"{', '.join(foreign) or 'nobody'}",
            hint="no token was sent anywhere; --vault names the only vault this server asks, "
            "and `sealserve publish` writes a slot for it",
        )


def _root_to_show(evidence: Evidence) -> bytes | None:
    """AMD's root of this chain: Azure's format wants all three, our evidence never has this one.

    None for evidence that brings a simulated root. EvidenceError for an unknown chain.
    """
    if evidence.root is not None:
        return None
    issuer = Certificate.parse(evidence.intermediate).issuer
    return Roots.amd().anchor(issuer, None).der


def connect_vault(options: VaultOptions, source: EvidenceSource) -> VaultOpener:
    """The opener that `serve --vault …` means.

    `trustd:HOST:PORT` needs the digest of its CA and is its own attestation service.
    `HOST` or `azure:https://HOST` needs the URL of an attestation service, and hardware that is
    not simulated. credential: a bearer token, for trust-service keys with a release role.
    Raises ConfigError, and for the CA from the handshake ReleaseError or UnavailableError.
    """
    if options.vault.startswith("trustd:"):
        return _trust_service(_host(options, "trustd:"), options, source)
    return _azure(_host(options, "azure:https://"), options, source)


def _host(options: VaultOptions, scheme: str) -> str:
    try:
        return vault_host(options.vault.removeprefix(scheme).removesuffix("/"))
    except ConfigError as error:
        raise ConfigError(
            f"--vault {options.vault[:120]!r} names no vault: {error.message}",
            hint="write trustd:HOST:PORT, or the host of an Azure vault",
        ) from None


def _trust_service(host: str, options: VaultOptions, source: EvidenceSource) -> VaultOpener:
    url = f"https://{host}"
    if options.attestation_service.rstrip("/") not in ("", url):
        raise ConfigError(
            f"--attestation-service {options.attestation_service} with --vault {options.vault}: "
            f"that vault believes only its own service, {url}"
        )
    if not options.ca_sha256:
        raise ConfigError(
            f"--vault {options.vault} needs --vault-ca-sha256",
            hint="`sealserve trustd init` prints it; it is part of the measured command line",
        )
    if options.ca_file is not None:
        authority = Authority.load(options.ca_file, options.ca_sha256)
    else:
        authority = Authority.from_handshake(host, options.ca_sha256)
    simulated = source.platform == SIMULATED
    config = ReleaseConfig(
        vault=host,
        issuer=url + (SIMULATED_SUFFIX if simulated else ""),
        signer_roots=(authority.certificate,),
    )
    credential = StaticCredential(options.credential or ATTESTED)
    service = AttestationService(url, tls=authority.tls(), takes_crl=True)
    return VaultOpener(config, service, Vault(host, credential, authority=authority), source)


def _azure(host: str, options: VaultOptions, source: EvidenceSource) -> VaultOpener:
    if source.platform == SIMULATED:
        raise ConfigError(
            "a simulated machine gets no key from Azure",
            hint="use a trust service made with `sealserve trustd init --simulated-root-sha256`",
        )
    if options.ca_sha256 or options.ca_file or options.credential:
        raise ConfigError("--vault-ca… and --vault-credential are for trustd: vaults")
    service = options.attestation_service.rstrip("/")
    if not service.startswith("https://"):
        raise ConfigError(
            f"--vault {options.vault} needs --attestation-service URL",
            hint="for example https://sharedneu.neu.attest.azure.net",
        )
    config = ReleaseConfig(vault=host, issuer=service, signer_roots=azure_roots())
    return VaultOpener(config, AttestationService(service), Vault(host, _azure_identity()), source)


def azure_roots() -> tuple[x509.Certificate, ...]:
    """Under which Azure signs release answers."""
    return tuple(x509.load_pem_x509_certificates(AZURE_ROOTS.read_bytes()))


def _azure_identity() -> TokenCredential:
    from azure.identity import ManagedIdentityCredential  # heavy, and only Azure needs it

    # the machine's own, and no other: a chain would end in programs that PATH chooses
    return ManagedIdentityCredential()

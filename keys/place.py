"""Where keys are released: a vault and the attestation service whose tokens it believes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from sealserve.keys.attest import USER_AGENT, AttestationService
from sealserve.keys.authority import Authority
from sealserve.keys.azure_identity import MANAGED, MachineIdentity
from sealserve.keys.connection import SIMULATED
from sealserve.keys.keyid import vault_host
from sealserve.keys.session import ReleaseConfig
from sealserve.keys.vault import ATTESTED, StaticCredential, Vault
from sealserve.native.errors import ConfigError
from sealserve.policy.release_build import SIMULATED_SUFFIX

AZURE_ROOTS = Path(__file__).with_name("azure_roots.pem")


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """Measured options about a vault, as given; see `find_place`.

    identity: as whom Azure is asked, which nobody measures.
    """

    vault: str
    attestation_service: str = ""
    ca_sha256: str = ""
    ca_file: Path | None = None
    credential: str = ""
    identity: MachineIdentity = MANAGED


@dataclass(frozen=True, slots=True)
class Place:
    """Both, and how to be believed by them. service_url: without a slash at its end.

    authority: of a trust service; None is Azure. credential: the one of the command line.
    """

    config: ReleaseConfig
    service_url: str
    authority: Authority | None
    credential: str
    identity: MachineIdentity = MANAGED

    def service(self, user_agent: str = USER_AGENT) -> AttestationService:
        """A client of the attestation service."""
        ours = self.authority
        return AttestationService(
            self.service_url,
            tls=ours.tls() if ours else None,
            takes_crl=ours is not None,
            user_agent=user_agent,
        )

    def vault(self, bearer: str = "") -> Vault:
        """A client of the vault, by default as who the command line says, or the machine is.

        bearer: somebody's own token instead.
        """
        bearer = bearer or self.credential
        known = StaticCredential(bearer) if bearer else self.identity.credential()
        return Vault(self.config.vault, known, authority=self.authority)


def find_place(options: VaultOptions, platform: str) -> Place:
    """The place that `--vault …` means, for a machine of this platform.

    `trustd:HOST:PORT` needs the digest of its CA and is its own attestation service.
    `HOST` or `azure:https://HOST` needs the URL of an attestation service, and hardware that is
    not simulated. credential: a bearer token, for trust-service keys with a release role.
    Raises ConfigError, and for the CA from the handshake ReleaseError or UnavailableError.
    """
    if options.vault.startswith("trustd:"):
        return _trust_service(_host(options, "trustd:"), options, platform)
    return _azure(_host(options, "azure:https://"), options, platform)


def _host(options: VaultOptions, scheme: str) -> str:
    try:
        return vault_host(options.vault.removeprefix(scheme).removesuffix("/"))
    except ConfigError as error:
        raise ConfigError(
            f"--vault {options.vault[:120]!r} names no vault: {error.message}",
            hint="write trustd:HOST:PORT, or the host of an Azure vault",
        ) from None


def _trust_service(host: str, options: VaultOptions, platform: str) -> Place:
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
    config = ReleaseConfig(
        vault=host,
        issuer=url + (SIMULATED_SUFFIX if platform == SIMULATED else ""),
        signer_roots=(authority.certificate,),
    )
    return Place(config, url, authority, options.credential or ATTESTED)


def _azure(host: str, options: VaultOptions, platform: str) -> Place:
    if platform == SIMULATED:
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
    return Place(config, service, None, "", options.identity)


def azure_roots() -> tuple[x509.Certificate, ...]:
    """Under which Azure signs release answers."""
    return tuple(x509.load_pem_x509_certificates(AZURE_ROOTS.read_bytes()))

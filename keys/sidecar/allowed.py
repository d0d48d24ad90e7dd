"""Which vaults, attestation services and keys a sidecar works with: those of its command line.

Callers name them in each request, as Microsoft's protocol has it; nobody measured the callers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sealserve.keys.azure_identity import MANAGED, MachineIdentity
from sealserve.keys.connection import SIMULATED
from sealserve.keys.keyid import NAME, VERSION, KeyId, vault_host
from sealserve.keys.place import Place, VaultOptions, find_place
from sealserve.keys.refused import bad_parameter, forbidden
from sealserve.native.errors import ConfigError

_TRUSTD = "trustd:"


@dataclass(frozen=True, slots=True)
class Options:
    """The measured command line. ca_sha256: one for each `trustd:` vault, in their order.

    services: URLs for the Azure vaults. keys: NAME or NAME/VERSION. identity: as whom Azure is
    asked, which nobody measures.
    """

    vaults: Sequence[str] = ()
    ca_sha256: Sequence[str] = ()
    services: Sequence[str] = ()
    keys: Sequence[str] = ()
    identity: MachineIdentity = MANAGED


@dataclass(frozen=True, slots=True)
class Allowed:
    """places: by vault and attestation service, each by its host. services: URLs by host.

    keys: as `Options` has them.
    """

    places: Mapping[tuple[str, str], Place]
    services: Mapping[str, Place | str]
    keys: frozenset[str]

    @classmethod
    def of(cls, options: Options, platform: str) -> Allowed:
        """Find every place. platform: as evidence sources say it.

        Raises ConfigError, and for the CA of a trust service as `find_place`.
        """
        hosts = map(_service_host, options.services)
        urls = {host: f"https://{host}" for host in hosts}
        if urls and platform == SIMULATED:
            raise ConfigError(
                "a simulated machine gets no token from Azure",
                key="--attestation-service",
                hint="a trustd: vault is its own attestation service; leave this out",
            )
        places = {
            (place.config.vault, _service_host(place.service_url)): place
            for place in _places(options, tuple(urls.values()), platform)
        }
        ours = {service: place for (_, service), place in places.items() if place.authority}
        return cls(places, {**urls, **ours}, frozenset(map(_key, options.keys)))

    def place(self, vault: str, service: str) -> Place:
        """Both by the hosts a request names. Raises Refused: 400 for no host, 403 for others."""
        vaults = {each for each, _ in self.places}
        found = _one_of(vaults, "akv_endpoint", vault, "--vault")
        asked = _one_of(self.services, "maa_endpoint", service, "--attestation-service")
        place = self.places.get((found, asked))
        if place is None:
            own = ", ".join(sorted(each for vault, each in self.places if vault == found))
            raise forbidden(f"maa_endpoint {asked}: the vault {found} believes only {own}")
        return place

    def service(self, service: str) -> str:
        """The host of an attestation service that a request names. Raises Refused as `place`."""
        return _one_of(self.services, "maa_endpoint", service, "--attestation-service")

    def key_id(self, vault: str, kid: str) -> KeyId:
        """The key of `vault` (a host) that a request names by NAME or NAME/VERSION.

        Raises Refused: 400 for no name, 403 for a key that is not on the command line.
        """
        self.require_key(kid)
        name, _, version = kid.partition("/")
        return KeyId(vault, name, version)

    def require_key(self, kid: str) -> None:
        """The same without a vault."""
        if not _is_key(kid):
            raise bad_parameter("kid: wanted NAME or NAME/VERSION")
        if kid not in self.keys and kid.partition("/")[0] not in self.keys:
            told = ", ".join(sorted(self.keys)) or "none"
            raise forbidden(f"kid {kid} is none of this sidecar's keys; --key names {told}")


def _places(options: Options, urls: Sequence[str], platform: str) -> Iterator[Place]:
    ours = [vault for vault in options.vaults if vault.startswith(_TRUSTD)]
    if len(ours) != len(options.ca_sha256):
        raise ConfigError(
            f"{len(options.ca_sha256)} digests for {len(ours)} trustd: vaults",
            key="--vault-ca-sha256",
            hint="give one for each, in the same order; `sealserve trustd init` prints it",
        )
    for vault, sha256 in zip(ours, options.ca_sha256, strict=True):
        yield find_place(VaultOptions(vault, ca_sha256=sha256), platform)
    for vault in options.vaults:
        if vault not in ours:
            for url in urls or ("",):
                yield find_place(VaultOptions(vault, url, identity=options.identity), platform)


def _service_host(url: str) -> str:
    host = url.removeprefix("https://").removesuffix("/")
    try:
        if url.startswith("https://"):
            return vault_host(host)
    except ConfigError:
        pass
    raise ConfigError(
        f"{url[:120]!r} is not https://HOST",
        key="--attestation-service",
        hint="for example https://sharedneu.neu.attest.azure.net",
    )


def _key(text: str) -> str:
    if _is_key(text):
        return text
    raise ConfigError(f"{text[:120]!r} is not NAME or NAME/VERSION", key="--key")


def _is_key(text: str) -> bool:
    name, slash, version = text.partition("/")
    return bool(NAME.fullmatch(name) and (not slash or VERSION.fullmatch(version)))


def _one_of(known: Mapping[str, object] | set[str], member: str, text: str, option: str) -> str:
    try:
        host = vault_host(text)
    except ConfigError as error:
        raise bad_parameter(f"{member}: {error.message}; it is a host, without https://") from None
    if host not in known:
        told = ", ".join(sorted(known)) or "none"
        raise forbidden(f"{member} {host} is not one this sidecar asks; {option} names {told}")
    return host

"""A key vault through the unmodified `azure-keyvault-keys`: Azure's, or our trust service.

The only module that imports the SDK. Everything it raises becomes one of our errors here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.rest import HttpResponse
from azure.keyvault.keys import (
    JsonWebKey,
    KeyClient,
    KeyExportEncryptionAlgorithm,
    KeyReleasePolicy,
)
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.exchange import words
from sealserve.keys import bounded
from sealserve.keys.attest import quoted, told_by
from sealserve.keys.authority import Authority
from sealserve.keys.connection import ROLE_TAG
from sealserve.keys.jwk_members import private_rsa
from sealserve.keys.keyid import KeyId
from sealserve.keys.session import ReleaseRequest
from sealserve.keys.terms import Terms
from sealserve.keys.unreachable import Peer
from sealserve.native.errors import ConfigError, ReleaseError, SealserveError, UnavailableError

DEADLINE_SECONDS = 60.0  # for the retries of one call
RETRIES = 4  # the SDK's own back-off, doubling from 0.8 s
VAULT_KEY_BITS = 3072
WRAPPING = ["wrapKey", "unwrapKey"]  # what a vault key is for
MAX_VERSIONS = 1000  # that are listed; rolling daily takes three years to get there
_LONG_AGO = datetime.fromtimestamp(0, UTC)
# What a bearer token must be when the attestation token is the credential: the SDK sends none
# at all otherwise. The trust service knows the word and gives it no right.
ATTESTED = "attested"


@dataclass(frozen=True, slots=True)
class VaultKey:
    """One version of a key, as much as its vault tells.

    policy: the release policy, as stored; empty for a key that is never released.
    """

    key_id: KeyId
    public: rsa.RSAPublicKey
    policy: bytes
    enabled: bool


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One of the versions of a key. created: None where the vault does not tell."""

    key_id: KeyId
    enabled: bool
    created: datetime | None


class NoSuchKeyError(ReleaseError):
    """The vault answered that it has no such key."""


class StaticCredential:
    """A bearer token somebody gave us, in the shape the SDK asks for credentials."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """The token; it never expires as far as the SDK is concerned."""
        return AccessToken(self._token, int(time.time()) + 3600)


class _Introduced:
    """A credential whose failures are told as its own: the SDK raises them as if the vault's."""

    def __init__(self, credential: TokenCredential, host: str) -> None:
        self._credential = credential
        self._host = host

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """As the credential does. Raises ReleaseError, and UnavailableError if nobody answers."""
        try:
            return self._credential.get_token(*scopes, **options)
        except (ServiceRequestError, ServiceResponseError) as error:
            raise UnavailableError(
                f"whoever says as whom we may ask {self._host} does not answer: "
                f"{words(error.inner_exception or error)}"
            ) from error
        except AzureError as error:
            raise ReleaseError(
                f"there is no identity to ask {self._host} as: {quoted(error.message)}",
                hint="sign in with `az login`, or set what azure-identity reads",
            ) from error


class Vault:
    """One vault by its host."""

    def __init__(
        self,
        host: str,
        credential: TokenCredential,
        *,
        authority: Authority | None = None,
        retries: int = RETRIES,
        answer_seconds: float = bounded.ANSWER_SECONDS,
    ) -> None:
        """host: as `keyid.vault_host` spells it.

        authority: the only CA its TLS may chain to, for a trust service; such a vault's challenge
        names itself, which the SDK would refuse. None is Azure: public authorities, and the SDK's
        check that the challenge is for this vault's domain.
        """
        self.host = host
        self._peer = Peer.vault(host, ours=authority is not None)
        self._authority = authority  # keeps the path below alive
        self._client = KeyClient(
            f"https://{host}",
            _Introduced(credential, host),
            verify_challenge_resource=authority is None,
            # a redirect would carry the attestation token to a host nobody measured
            permit_redirects=False,
            retry_policy=bounded.Patience(retry_total=retries, timeout=DEADLINE_SECONDS),
            transport=bounded.transport(
                self._peer,
                authority.path if authority else None,
                answer_seconds=answer_seconds,
            ),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def release(self, request: ReleaseRequest) -> str:
        """The vault's signed answer. Raises ReleaseError (`denied` when it refused)."""
        with self._translated(f"release of {request.name}"):
            result = self._client.release_key(
                request.name,
                request.target,
                version=request.version,
                algorithm=KeyExportEncryptionAlgorithm(request.enc),
            )
        if not isinstance(result.value, str):
            raise ReleaseError(f"{self.host} answered a release without a value")
        return result.value

    def create(self, name: str, policy: bytes, *, tags: dict[str, str] | None = None) -> VaultKey:
        """A new RSA key (or a new version of it) that leaves the vault only under this policy.

        Raises ReleaseError, UnavailableError, ConfigError.
        """
        return self._key(
            lambda: self._client.create_rsa_key(
                name,
                size=VAULT_KEY_BITS,
                hardware_protected=True,
                exportable=True,
                release_policy=KeyReleasePolicy(policy),
                key_operations=WRAPPING,
                tags=tags,
            ),
            name,
        )

    def bring(self, name: str, key: rsa.RSAPrivateKey, policy: bytes) -> VaultKey:
        """This RSA key as a new version, on the terms of `create`. Raises as that."""
        brought = self._key(
            lambda: self._client.import_key(
                name,
                JsonWebKey(kty="RSA-HSM", key_ops=WRAPPING, **private_rsa(key)),
                hardware_protected=True,
                exportable=True,
                release_policy=KeyReleasePolicy(policy),
            ),
            name,
        )
        if brought.public.public_numbers() != key.public_key().public_numbers():
            raise ReleaseError(
                f"{brought.key_id} is another key than the one that was brought",
                hint="is this host really the vault?",
            )
        return brought

    def get(self, name: str, version: str = "") -> VaultKey:
        """A key's public part and policy; without a version, its newest."""
        return self._key(lambda: self._client.get_key(name, version or None), name)

    def find(self, name: str) -> VaultKey | None:
        """The newest version of a key, or None where the vault has no key of this name."""
        try:
            return self.get(name)
        except NoSuchKeyError:
            return None

    def terms(self, name: str, version: str = "") -> Terms:
        """On what terms a key of any type leaves; its newest version without one. As `get`."""
        key_id, key = self._asked(lambda: self._client.get_key(name, version or None), name)
        about, policy = key.properties, key.properties.release_policy
        return Terms(
            key=key_id.url,
            policy=policy.encoded_policy if policy else b"",
            enabled=about.enabled is True,
            exportable=about.exportable is True,
            not_before=about.not_before,
            expires=about.expires_on,
            role=str((about.tags or {}).get(ROLE_TAG, "")),
        )

    def versions(self, name: str) -> tuple[KeyVersion, ...]:
        """Every version of a key, oldest first; none for a key that is not there. As `get`."""
        with self._translated(f"versions of {name}"):
            listed = list(islice(self._client.list_properties_of_key_versions(name), MAX_VERSIONS))
        found = [
            KeyVersion(self._id_of(each.id, name), each.enabled is True, each.created_on)
            for each in listed
        ]
        return tuple(sorted(found, key=lambda each: each.created or _LONG_AGO))

    def set_enabled(self, name: str, version: str, enabled: bool) -> Terms:
        """Take one version out of use, or put it back; how it is afterwards. Raises as `get`."""
        with self._translated(f"key {name}"):
            self._client.update_key_properties(name, version, enabled=enabled)
        return self.terms(name, version)

    def _asked(self, ask: Callable[[], Any], name: str) -> tuple[KeyId, Any]:
        """What the vault answered of a key, if it is the one that was asked for."""
        with self._translated(f"key {name}"):
            key = ask()
        return self._id_of(key.id, name), key

    def _id_of(self, answered: object, name: str) -> KeyId:
        """The version that an answer about this key names."""
        try:
            key_id = KeyId.parse(str(answered))
        except ConfigError as error:
            raise ReleaseError(
                f"{self.host} was asked for the key {name} and answered: {error.message}"
            ) from None
        if (key_id.host, key_id.name) != (self.host, name) or not key_id.version:
            raise ReleaseError(
                f"{self.host} was asked for the key {name} and answered with {key_id}",
                hint="is the vault known under another name than its own configuration says?",
            )
        return key_id

    def _key(self, ask: Callable[[], Any], name: str) -> VaultKey:
        key_id, key = self._asked(ask, name)
        jwk = key.key
        if jwk.n is None or jwk.e is None:
            raise ConfigError(f"{key_id} is a key of type {key.key_type}; wanted RSA")
        numbers = rsa.RSAPublicNumbers(int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big"))
        try:
            public = numbers.public_key()
        except ValueError:
            raise ReleaseError(f"{key_id} is not an RSA key we can use") from None
        policy = key.properties.release_policy
        return VaultKey(
            key_id,
            public,
            policy.encoded_policy if policy else b"",
            enabled=key.properties.enabled is True,
        )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except AzureError as error:
            raise self._ours(what, error) from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # what the SDK's deserialiser raises for JSON of another shape than the service's
            raise ReleaseError(
                f"{self.host} answered {what} with something the Azure SDK cannot read",
                hint="is this host really a key vault?",
            ) from error

    def _ours(self, what: str, error: AzureError) -> SealserveError:
        if isinstance(error, ClientAuthenticationError):
            return ReleaseError(
                f"{self.host} does not accept our credential for {what}",
                denied=f"{self.host}: {_told(error)}",
                hint="which token or identity is configured here, and what role does it have?",
            )
        if isinstance(error, ResourceNotFoundError):
            return NoSuchKeyError(
                f"{self.host}: {_told(error)}",
                denied=f"{self.host}: {what}",
                hint="its owner makes it with `sealserve publish` or `sealserve key create`",
            )
        if isinstance(error, (ServiceRequestError, ServiceResponseError)):
            return self._peer.failure(error.inner_exception or error)
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if status == 429 or (status or 0) >= 500:
            return UnavailableError(
                f"{self.host} answered HTTP {status} to {what}: {_told(error)}",
                retry_after_seconds=_retry_after(error),
            )
        told = _told(error)
        return ReleaseError(
            f"{self.host} refused {what}: {told}",
            denied=f"{self.host}: {told}",
            hint="its owner decides: `sealserve key show` prints a key's release policy",
        )


def _retry_after(error: AzureError) -> float:
    response = error.response if isinstance(error, HttpResponseError) else None
    if not isinstance(response, HttpResponse):
        return 0.0
    wish = response.headers.get("Retry-After", "")
    return float(wish) if wish.isdecimal() and len(wish) < 6 else 0.0


def _told(error: AzureError) -> str:
    response = error.response if isinstance(error, HttpResponseError) else None
    if not isinstance(response, HttpResponse):
        return quoted(str(error))
    return told_by(response.content)

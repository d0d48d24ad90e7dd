"""What a vault's release answer says, compared field by field with what was asked, and unwrapped.

The shape is the payload both Key Vault and Managed HSM sign (Azure Key Vault REST, release key):
`request` repeats the question, `response.key` is the key bundle, `key_hsm` holds the wrapped key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sealserve.keys import jws
from sealserve.keys.keyid import VERSION, KeyId
from sealserve.native.errors import ReleaseError
from sealserve.native.secret import SecretBuffer

# PKCS #11 v3.1 section 6.1.21 (CKM_RSA_AES_KEY_WRAP) under Azure's names: RSA-OAEP(kek) followed
# by RFC 5649 key wrap. The names without a hash mean SHA-1; we ask for SHA-256.
WRAP_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "CKM_RSA_AES_KEY_WRAP": hashes.SHA1,
    "RSA_AES_KEY_WRAP_256": hashes.SHA256,
    "RSA_AES_KEY_WRAP_384": hashes.SHA384,
}
ENC = "RSA_AES_KEY_WRAP_256"
# Managed HSM drops the suffix in its answers.
RSA_KINDS = ("RSA", "RSA-HSM")
KINDS = (*RSA_KINDS, "EC", "EC-HSM", "oct", "oct-HSM")


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    """The fields of an answer that mean something. kid: versioned; wrapped: OAEP part, then KWP.

    jwk: the key bundle's own members, which hold its public part.
    """

    request_kid: str
    enc: str
    kid: str
    kty: str
    wrapped: bytes
    jwk: Mapping[str, object]
    enabled: bool

    @classmethod
    def read(cls, payload: Mapping[str, object]) -> ReleasedKey:
        """From a verified payload. Raises ReleaseError naming the field that is missing."""
        request = _object(payload, "request")
        bundle = _object(_object(payload, "response"), "key")
        key = _object(bundle, "key")
        sealed = jws.json_object(jws.unb64(key.get("key_hsm"), "key_hsm"), "key_hsm")
        return cls(
            request_kid=_text(request, "kid"),
            enc=_text(request, "enc"),
            kid=_text(key, "kid"),
            kty=_text(key, "kty"),
            wrapped=jws.unb64(sealed.get("ciphertext"), "ciphertext"),
            jwk=key,
            enabled=_object(bundle, "attributes").get("enabled") is True,
        )

    def check(
        self,
        asked: KeyId,
        encs: Collection[str] = (ENC,),
        kinds: Collection[str] = RSA_KINDS,
    ) -> None:
        """Compare with what we asked: this key in this version, or in any if we named none.

        encs: keys of WRAP_HASHES we accept. kinds: of KINDS. Raises ReleaseError.
        """
        kid = asked.url if asked.version else self._some_version_of(asked)
        for what, seen, wanted in (
            ("key.kid", self.kid, (kid,)),
            ("request.kid", self.request_kid, sorted({asked.url, kid})),
            ("request.enc", self.enc, encs),
            ("key.kty", self.kty, kinds),
        ):
            if seen not in wanted:
                raise jws.wrong_answer(f"{what} {seen[:200]!r}", " or ".join(wanted))
        if not self.enabled:
            raise jws.wrong_answer("a key that is not enabled", "attributes.enabled true")

    def _some_version_of(self, asked: KeyId) -> str:
        """The answer's kid if it is one; else what no vault writes, for words."""
        name, _, version = self.kid.rpartition("/")
        found = name == asked.url and VERSION.fullmatch(version)
        return self.kid if found else f"{asked.url}/VERSION"

    def unwrap(self, ephemeral: rsa.RSAPrivateKey) -> SecretBuffer:
        """What the vault wrapped, after `check`: PKCS #8, or the octets of a symmetric key.

        Raises ReleaseError if it does not open.
        """
        size = (ephemeral.key_size + 7) // 8
        digest = WRAP_HASHES[self.enc]()
        oaep = padding.OAEP(padding.MGF1(digest), digest, None)
        try:
            kek = ephemeral.decrypt(self.wrapped[:size], oaep)
            secret = keywrap.aes_key_unwrap_with_padding(kek, self.wrapped[size:])
            return SecretBuffer.from_bytes(secret)
        except (ValueError, keywrap.InvalidUnwrap, TypeError):
            raise _unopened() from None  # the cause stays out: it may quote the plaintext

    def rsa_key(self, secret: SecretBuffer) -> rsa.RSAPrivateKey:
        """The private key in what was unwrapped, the one whose public part the answer shows.

        Raises ReleaseError for anything else.
        """
        key = asymmetric_key(secret)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise jws.wrong_answer(f"a {type(key).__name__} inside key_hsm", "an RSA key")
        numbers = key.public_key().public_numbers()
        self.require_beside("n", numbers.n)
        self.require_beside("e", numbers.e)
        return key

    def require_beside(self, member: str, number: int) -> None:
        """ReleaseError if the key bundle's own member is there and another number than inside."""
        if member not in self.jwk:
            return
        if int.from_bytes(jws.unb64(self.jwk[member], member), "big") != number:
            raise jws.wrong_answer(
                f"another key inside key_hsm than beside it ({member})", "the same"
            )


def asymmetric_key(secret: SecretBuffer) -> PrivateKeyTypes:
    """The private key in a PKCS #8 document. Raises ReleaseError."""
    try:
        return serialization.load_der_private_key(memoryview(secret), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unopened() from None  # the cause stays out: it may quote the plaintext


def _unopened() -> ReleaseError:
    return jws.wrong_answer(
        "a wrapped key that does not open", "one wrapped to the key in our token"
    )


def _object(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _missing(name)
    return value


def _text(parent: Mapping[str, object], name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str):
        raise _missing(name)
    return value


def _missing(name: str) -> ReleaseError:
    return jws.wrong_answer(f"no {name}", "the payload of a release answer")

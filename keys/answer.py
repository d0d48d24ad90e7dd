"""What a vault's release answer says, compared field by field with what was asked, and unwrapped.

The shape is the payload both Key Vault and Managed HSM sign (Azure Key Vault REST, release key):
`request` repeats the question, `response.key` is the key bundle, `key_hsm` holds the wrapped key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.keys import jws
from sealserve.native.errors import ReleaseError

# PKCS #11 v3.1 section 6.1.21 (CKM_RSA_AES_KEY_WRAP) under Azure's names: RSA-OAEP(kek) followed
# by RFC 5649 key wrap. The names without a hash mean SHA-1; we ask for SHA-256.
WRAP_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "CKM_RSA_AES_KEY_WRAP": hashes.SHA1,
    "RSA_AES_KEY_WRAP_256": hashes.SHA256,
    "RSA_AES_KEY_WRAP_384": hashes.SHA384,
}
ENC = "RSA_AES_KEY_WRAP_256"
_RSA_KINDS = ("RSA", "RSA-HSM")  # Managed HSM drops the suffix in its answers


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    """The fields of an answer that mean something. kid: versioned; wrapped: OAEP part, then KWP."""

    request_kid: str
    enc: str
    kid: str
    kty: str
    wrapped: bytes
    modulus: int | None
    enabled: bool

    @classmethod
    def read(cls, payload: Mapping[str, object]) -> ReleasedKey:
        """From a verified payload. Raises ReleaseError naming the field that is missing."""
        request = _object(payload, "request")
        bundle = _object(_object(payload, "response"), "key")
        key = _object(bundle, "key")
        sealed = jws.json_object(jws.unb64(key.get("key_hsm"), "key_hsm"), "key_hsm")
        modulus = jws.unb64(key["n"], "n") if "n" in key else None
        return cls(
            request_kid=_text(request, "kid"),
            enc=_text(request, "enc"),
            kid=_text(key, "kid"),
            kty=_text(key, "kty"),
            wrapped=jws.unb64(sealed.get("ciphertext"), "ciphertext"),
            modulus=None if modulus is None else int.from_bytes(modulus, "big"),
            enabled=_object(bundle, "attributes").get("enabled") is True,
        )

    def check(self, kid: str, enc: str = ENC) -> None:
        """Compare with what we asked: this version of this key, an RSA key, wrapped as we want.

        enc: a key of WRAP_HASHES. Raises ReleaseError.
        """
        for what, seen, wanted in (
            ("request.kid", self.request_kid, (kid,)),
            ("request.enc", self.enc, (enc,)),
            ("key.kid", self.kid, (kid,)),
            ("key.kty", self.kty, _RSA_KINDS),
        ):
            if seen not in wanted:
                raise jws.wrong_answer(f"{what} {seen[:200]!r}", " or ".join(wanted))
        if not self.enabled:
            raise jws.wrong_answer("a key that is not enabled", "attributes.enabled true")

    def unwrap(self, ephemeral: rsa.RSAPrivateKey) -> rsa.RSAPrivateKey:
        """The vault's private key, after `check`. Raises ReleaseError if it does not open."""
        key = self._opened(ephemeral)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise jws.wrong_answer(f"a {type(key).__name__} inside key_hsm", "an RSA key")
        if self.modulus is not None and key.public_key().public_numbers().n != self.modulus:
            raise jws.wrong_answer("another key inside key_hsm than beside it", "the same modulus")
        return key

    def _opened(self, ephemeral: rsa.RSAPrivateKey) -> object:
        size = (ephemeral.key_size + 7) // 8
        digest = WRAP_HASHES[self.enc]()
        oaep = padding.OAEP(padding.MGF1(digest), digest, None)
        try:
            kek = ephemeral.decrypt(self.wrapped[:size], oaep)
            pkcs8 = keywrap.aes_key_unwrap_with_padding(kek, self.wrapped[size:])
            return serialization.load_der_private_key(pkcs8, None)
        except (ValueError, keywrap.InvalidUnwrap, TypeError, UnsupportedAlgorithm):
            # the cause stays out: it may quote the plaintext
            raise jws.wrong_answer(
                "a wrapped key that does not open", "one wrapped to the key in our token"
            ) from None


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

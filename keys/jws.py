"""The signed answer of a vault: compact JWS (RFC 7515) whose certificate chain travels in `x5c`.

Pure: roots, host name and time come from the caller. Key Vault and Managed HSM differ in their
headers (`kid`, `x5t`); what both have, and all that is used here, is `alg` RS256 and `x5c`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import verification

from sealserve.keys.keyid import host_and_port
from sealserve.native.errors import ReleaseError

MAX_JWS_CHARACTERS = 128 * 1024  # a real answer for a P-256 key has 10 692; RSA-4096 adds 4 KiB
MAX_CHAIN = 6
MIN_RSA_BITS = 2048


def open_jws(
    jws: str, *, roots: Sequence[x509.Certificate], host: str, now: datetime
) -> dict[str, object]:
    """The payload of an answer that `host` signed under one of `roots`.

    host: as `keyid.vault_host` spells it; the leaf must be valid for it at `now`.
    Raises ReleaseError saying what is wrong with the answer.
    """
    if len(jws) > MAX_JWS_CHARACTERS:
        raise wrong_answer(f"{len(jws)} characters", f"at most {MAX_JWS_CHARACTERS}")
    parts = jws.split(".")
    if len(parts) != 3:
        raise wrong_answer(f"{len(parts)} parts", "header.payload.signature")
    header = _json_part(parts[0], "header")
    if header.get("alg") != "RS256":
        raise wrong_answer(f"alg {str(header.get('alg'))[:40]!r}", "RS256")
    if "crit" in header:
        raise wrong_answer("a critical extension", "none")
    leaf = _verified_leaf(_chain(header.get("x5c")), roots, host, now)
    signed = f"{parts[0]}.{parts[1]}".encode("ascii", "replace")
    try:
        leaf.verify(unb64(parts[2], "signature"), signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise wrong_answer("a signature that does not match", "one by the certificate") from None
    return _json_part(parts[1], "payload")


def wrong_answer(seen: str, wanted: str) -> ReleaseError:
    """The one error for answers we cannot use: both sides in the words of the protocol."""
    return ReleaseError(
        f"the vault's answer cannot be used: seen {seen}; wanted {wanted}",
        hint="no key was taken from it; is this host really the vault?",
    )


def unb64(text: object, what: str) -> bytes:
    """Unpadded base64url, as JOSE and Key Vault write bytes. Raises ReleaseError."""
    if not isinstance(text, str):
        raise wrong_answer(f"{what} of type {type(text).__name__}", "base64url text")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise wrong_answer(f"{what} that is not base64url", "base64url") from None


def json_object(data: bytes, what: str) -> dict[str, object]:
    """One JSON object without duplicate names. Raises ReleaseError."""
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise wrong_answer(f"{what} that is not JSON", "one JSON object") from None
    if not isinstance(value, dict):
        raise wrong_answer(f"{what} that is not an object", "one JSON object")
    return value


def _json_part(part: str, what: str) -> dict[str, object]:
    return json_object(unb64(part, what), what)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _chain(x5c: object) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 0 < len(x5c) <= MAX_CHAIN:
        raise wrong_answer("no certificate chain (x5c)", f"1 to {MAX_CHAIN} certificates")
    try:
        return [_certificate(str(entry)) for entry in x5c]
    except (ValueError, TypeError, x509.InvalidVersion):  # TypeError: a name that is BIT STRING
        raise wrong_answer("x5c with an unreadable certificate", "DER certificates") from None


def _certificate(text: str) -> x509.Certificate:
    # standard base64, unlike everything around it (RFC 7515 section 4.1.6)
    certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    _ = certificate.subject  # parsed only when looked at, and a refusal quotes it
    return certificate


def _verified_leaf(
    chain: list[x509.Certificate], roots: Sequence[x509.Certificate], host: str, now: datetime
) -> rsa.RSAPublicKey:
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(roots)))
        .time(now)
        .build_server_verifier(_subject(host))
    )
    try:
        verifier.verify(chain[0], chain[1:])
        key = chain[0].public_key()
    except (verification.VerificationError, ValueError, UnsupportedAlgorithm) as error:
        names = ", ".join(root.subject.rfc4514_string() for root in roots)
        raise wrong_answer(
            f"a certificate of {_shown(chain[0].subject.rfc4514_string())} ({_shown(str(error))})",
            f"one valid for {host} at {now.isoformat()} under {names}",
        ) from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise wrong_answer("a signing key that is not RSA, or weak", f"RSA, {MIN_RSA_BITS} bits")
    return key


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    name, _ = host_and_port(host)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _shown(text: str) -> str:
    """A stranger's words: escaped, and not all of many."""
    return ascii(text)[1:-1][:200]

"""Attestation tokens: the JWT that Microsoft Azure Attestation (and our trust service) issues.

Verifying takes the issuer and its keys from the caller, never from the token: `jku` is ignored,
because anyone can sign a token that points at their own keys.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import json_object
from sealserve.native.errors import EvidenceError

ALGORITHM = "RS256"  # RFC 7518 section 3.3; the service signs with nothing else
MAX_TOKEN_BYTES = 64 * 1024  # service: under 16 KiB; runtime claims add at most 22 KiB of base64
MAX_JWKS_BYTES = 256 * 1024
MAX_KEYS = 64  # a shared provider publishes about a dozen
MIN_RSA_BITS = 2048
CLOCK_SKEW_SECONDS = 60
LIFETIME_SECONDS = 8 * 60 * 60  # reference answers of the service: exp - iat = 28800


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The signing keys of one issuer by `kid`, an opaque string."""

    keys: Mapping[str, rsa.RSAPublicKey]

    @classmethod
    def parse(cls, jwks: bytes) -> TokenKeys:
        """Read a JWKS (RFC 7517). Entries may hold only `x5c`: the first certificate has the key.

        Keys of another type are passed over. Raises EvidenceError "token_keys".
        """
        if len(jwks) > MAX_JWKS_BYTES:
            raise _bad_keys(f"{len(jwks)} bytes; wanted at most {MAX_JWKS_BYTES}")
        entries = json_object.read(jwks, "token_keys").get("keys")
        if not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise _bad_keys(f"no list `keys` of at most {MAX_KEYS}")
        keys: dict[str, rsa.RSAPublicKey] = {}
        for entry in entries:
            if isinstance(entry, dict) and entry.get("kty") == "RSA":
                kid, key = _kid(entry), _public_key(entry)
                if keys.setdefault(kid, key).public_numbers() != key.public_numbers():
                    raise _bad_keys(f"kid {kid[:80]!r} names two keys")
        return cls(keys)

    def knows(self, token: str) -> bool:
        """Whether the key this token names is here; if not, the set may have been rotated."""
        return _header(token)["kid"] in self.keys


def verify_token(
    token: str, keys: TokenKeys, *, issuer: str, now: datetime
) -> Mapping[str, object]:
    """The claims of a token this issuer signed and that is valid now.

    Raises EvidenceError as `signed_claims` and `check_times`.
    """
    claims = signed_claims(token, keys, issuer=issuer)
    check_times(claims, now)
    return claims


def signed_claims(token: str, keys: TokenKeys, *, issuer: str) -> Mapping[str, object]:
    """The claims of a token this issuer signed, whenever that was.

    issuer: exactly as the token spells it. Raises EvidenceError: "token_format",
    "token_algorithm", "token_key", "token_signature", "token_issuer".
    """
    header = _header(token)
    key = keys.keys.get(str(header["kid"]))
    if key is None:
        known = ", ".join(sorted(keys.keys)) or "none"
        raise EvidenceError(
            "token_key",
            "no key of the issuer has this kid",
            seen=_shown(header["kid"]),
            wanted=known,
        )
    payload = _signed_payload(token, key)
    claims = json_object.read(payload, "token_format")
    if claims.get("iss") != issuer:
        raise EvidenceError(
            "token_issuer",
            "the token is another service's",
            seen=_shown(claims.get("iss")),
            wanted=issuer,
            hint="the attestation service is pinned by configuration",
        )
    return claims


def unverified(token: str) -> Mapping[str, object]:
    """What a token says, by whomever: to be looked at, never to be relied on.

    Raises EvidenceError: "token_format", "token_algorithm".
    """
    _header(token)
    return json_object.read(_b64url(token.split(".")[1], "token_format"), "token_format")


def _header(token: str) -> dict[str, object]:
    if len(token) > MAX_TOKEN_BYTES:
        raise EvidenceError(
            "token_format",
            "the token is too long",
            seen=f"{len(token)} bytes",
            wanted=f"at most {MAX_TOKEN_BYTES}",
        )
    parts = token.split(".") if token.isascii() else []
    if len(parts) != 3:
        raise _format("form", "another", "three parts of ASCII")
    header = json_object.read(_b64url(parts[0], "token_format"), "token_format")
    if header.get("alg") != ALGORITHM:
        raise EvidenceError(
            "token_algorithm",
            "signature algorithm",
            seen=_shown(header.get("alg")),
            wanted=ALGORITHM,
        )
    if "crit" in header:
        raise _format("extensions (crit)", _shown(header["crit"]), "none, for we know none")
    if not isinstance(header.get("kid"), str):
        raise _format("key (kid)", _shown(header.get("kid")), "a name")
    return header


def _signed_payload(token: str, key: rsa.RSAPublicKey) -> bytes:
    import jwt  # a client has no tokens, and its installation no PyJWT

    try:
        payload: object = jwt.PyJWS(algorithms=[ALGORITHM]).decode(
            token, key, algorithms=[ALGORITHM]
        )
    except jwt.InvalidSignatureError:
        raise EvidenceError(
            "token_signature",
            "signature of the token",
            seen="one by another key, or over other bytes",
            wanted="one by the issuer's key",
        ) from None
    except jwt.PyJWTError as error:
        raise _format("form", type(error).__name__, "a signed JWT") from None
    assert isinstance(payload, bytes)
    return payload


def check_times(claims: Mapping[str, object], now: datetime) -> None:
    """Raise EvidenceError for claims that do not hold now: "token_expired", "token_not_yet"."""
    instant = now.timestamp()
    expires = _seconds(claims, "exp")
    if instant >= expires + CLOCK_SKEW_SECONDS:
        raise EvidenceError(
            "token_expired",
            "the token has expired",
            seen=_day(expires),
            wanted=f"after {now.isoformat()}",
        )
    begins = max(_seconds(claims, "nbf", 0), _seconds(claims, "iat", 0))
    if instant < begins - CLOCK_SKEW_SECONDS:
        raise EvidenceError(
            "token_not_yet",
            "the token is not valid yet",
            seen=_day(begins),
            wanted=f"at most {now.isoformat()}",
            hint="is one of the two clocks wrong?",
        )


def _seconds(claims: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = claims.get(name, default)
    # 2**40 s lies in the year 36812: everything above is no date anybody meant
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**40:
        raise _format(f"claim {name}", _shown(value), "a time, in seconds since 1970")
    return value


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(min(seconds, 2**37), UTC).isoformat()


def _kid(entry: Mapping[str, object]) -> str:
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _bad_keys("an RSA key without kid")
    return kid


def _public_key(entry: Mapping[str, object]) -> rsa.RSAPublicKey:
    chain = entry.get("x5c")
    key = _certificate_key(chain) if chain is not None else None
    if "n" in entry or "e" in entry:
        numbers = jwk_numbers(entry)
        if key is not None and key.public_numbers() != numbers:
            raise _bad_keys("x5c and n, e are different keys")
        key = numbers.public_key()
    if key is None or key.key_size < MIN_RSA_BITS:
        raise _bad_keys(f"an RSA key of fewer than {MIN_RSA_BITS} bits, or none")
    return key


def _certificate_key(chain: object) -> rsa.RSAPublicKey:
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        raise _bad_keys("x5c is not a list of certificates")
    try:
        # x5c alone among JOSE's members is standard base64 (RFC 7517 section 4.7)
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise _bad_keys("x5c[0] is no certificate") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise _bad_keys("x5c[0] does not hold an RSA key")
    return key


def jwk_numbers(jwk: Mapping[str, object]) -> rsa.RSAPublicNumbers:
    """Modulus and exponent of an RSA JWK. Raises EvidenceError "token_keys"."""
    n, e = jwk.get("n"), jwk.get("e")
    if not isinstance(n, str) or not isinstance(e, str) or len(n) > 1366 or len(e) > 8:
        raise _bad_keys("an RSA key without n and e of at most 8192 and 48 bits")
    numbers = rsa.RSAPublicNumbers(
        e=int.from_bytes(_b64url(e, "token_keys"), "big"),
        n=int.from_bytes(_b64url(n, "token_keys"), "big"),
    )
    try:
        numbers.public_key()
    except ValueError:
        raise _bad_keys("n and e are no RSA key") from None
    return numbers


def _b64url(text: str, code: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise EvidenceError(
            code, "encoding", seen="something else", wanted="base64url, unpadded"
        ) from None


def _shown(value: object) -> str:
    """What a stranger wrote, cut short and without what a terminal would obey."""
    return ascii(value)[:80]


def _bad_keys(why: str) -> EvidenceError:
    return EvidenceError(
        "token_keys",
        "the issuer's keys",
        seen=why,
        wanted=f"RSA keys of {MIN_RSA_BITS} bits or more, each with a kid",
    )


def _format(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("token_format", f"{what} of the token", seen=seen, wanted=wanted)

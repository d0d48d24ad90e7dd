"""What a report speaks for: three closed shapes of runtime claims, and how REPORT_DATA names them.

    tls        this TLS key was made here
    challenge  the same key, fresh: a window's nonces, what is served, which certificate is next
    release    the RSA key a vault may wrap a released key to

The claims are canonical JSON (RFC 8785; only strings, integers, arrays and objects occur, so
sorting ASCII names and leaving out white space is all of it). Bytes are unpadded base64url.
REPORT_DATA is SHA-256(claims) followed by 32 zero bytes, the convention of Azure Attestation.
Each shape is a class, so that whoever parses says which purpose is expected; a report made for
one purpose never passes for another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NewType, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import json_object
from sealserve.native.errors import EvidenceError

ReportData = NewType("ReportData", bytes)
"""Exactly 64 bytes, as they stand in the report."""

MAX_CLAIMS_BYTES: Final = 16 * 1024  # 256 nonces and 32 roots take 13.4 KiB
MAX_NONCES: Final = 256  # one report serves a window of that many clients
MAX_ROOTS: Final = 32  # models one server may hold
DIGEST_BYTES: Final = 32
RSA_BYTES: Final = 384  # 3072 bits: what the vault protocol calls a strong enough wrapping key
VERSION: Final = 1

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_Shape = TypeVar("_Shape", "TlsClaims", "ChallengeClaims", "ReleaseClaims")


def report_data(claims: bytes) -> ReportData:
    """The 64 bytes a report must hold to speak for these claims."""
    return ReportData(hashlib.sha256(claims).digest() + bytes(32))


@dataclass(frozen=True, slots=True)
class TlsClaims:
    """The TLS key with this SHA-256 of its SubjectPublicKeyInfo was made inside the machine."""

    spki: bytes

    def __post_init__(self) -> None:
        _require_digest("spki", self.spki)

    def encode(self) -> bytes:
        """The one canonical JSON text of these claims."""
        return _canonical({"sealserve": _header("tls"), "spki": b64url(self.spki)})

    @classmethod
    def parse(cls, claims: bytes) -> TlsClaims:
        """Read claims of this shape and no other. Raises EvidenceError (claims_*)."""
        members = _members(claims, "tls", {"spki"})
        return _exactly(claims, lambda: cls(_digest(members, "spki")))


@dataclass(frozen=True, slots=True)
class ChallengeClaims:
    """An answer to a window of challenges: fresh, and complete about what is being served.

    config: SHA-256 of the measured configuration. next: SHA-256 of the next certificate (DER).
    nonces: 1 to 256 of 32 bytes; roots: at most 32 of 32 bytes; both sorted, without repetition.
    """

    config: bytes
    next: bytes
    nonces: tuple[bytes, ...]
    roots: tuple[bytes, ...]
    spki: bytes

    def __post_init__(self) -> None:
        for name in ("config", "next", "spki"):
            _require_digest(name, getattr(self, name))
        _require_set("nonces", self.nonces, at_least=1, at_most=MAX_NONCES)
        _require_set("roots", self.roots, at_least=0, at_most=MAX_ROOTS)

    def encode(self) -> bytes:
        """The one canonical JSON text of these claims."""
        return _canonical(
            {
                "config": b64url(self.config),
                "next": b64url(self.next),
                "nonces": [b64url(nonce) for nonce in self.nonces],
                "roots": [b64url(root) for root in self.roots],
                "sealserve": _header("challenge"),
                "spki": b64url(self.spki),
            }
        )

    @classmethod
    def parse(cls, claims: bytes) -> ChallengeClaims:
        """Read claims of this shape and no other. Raises EvidenceError (claims_*)."""
        members = _members(claims, "challenge", {"config", "next", "nonces", "roots", "spki"})
        return _exactly(
            claims,
            lambda: cls(
                config=_digest(members, "config"),
                next=_digest(members, "next"),
                nonces=_digests(members, "nonces"),
                roots=_digests(members, "roots"),
                spki=_digest(members, "spki"),
            ),
        )


@dataclass(frozen=True, slots=True)
class ReleaseClaims:
    """The RSA key (3072 bits, e = 65537) that a released vault key may be wrapped to.

    jwk: exactly the members e, key_ops, kid, kty, n, use, with the fixed values of the shape.
    """

    jwk: Mapping[str, object]

    def __post_init__(self) -> None:
        _require_jwk(self.jwk)

    @classmethod
    def of(cls, key: rsa.RSAPublicKey) -> ReleaseClaims:
        """Claims for this key; its `kid` is the JWK thumbprint (RFC 7638)."""
        numbers = key.public_numbers()
        if key.key_size != RSA_BYTES * 8 or numbers.e != 65537:
            raise ValueError(
                f"the key has {key.key_size} bits, e = {numbers.e}; wanted 3072, 65537"
            )
        modulus = b64url(numbers.n.to_bytes(RSA_BYTES, "big"))
        thumbprint = _canonical({"e": "AQAB", "kty": "RSA", "n": modulus})
        return cls(_jwk(modulus, b64url(hashlib.sha256(thumbprint).digest())))

    @property
    def key_id(self) -> str:
        """The `kid` of the key."""
        return cast(str, self.jwk["kid"])

    def public_key(self) -> rsa.RSAPublicKey:
        """The key as an object that can encrypt."""
        modulus = int.from_bytes(unb64url(cast(str, self.jwk["n"])), "big")
        return rsa.RSAPublicNumbers(65537, modulus).public_key()

    def encode(self) -> bytes:
        """The one canonical JSON text of these claims."""
        return _canonical({"keys": [dict(self.jwk)], "sealserve": _header("release")})

    @classmethod
    def parse(cls, claims: bytes) -> ReleaseClaims:
        """Read claims of this shape and no other. Raises EvidenceError (claims_*)."""
        keys = _members(claims, "release", {"keys"})["keys"]
        if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], dict):
            raise _malformed("member keys", seen="something else", wanted="an array of one object")
        return _exactly(claims, lambda: cls(keys[0]))


def b64url(data: bytes) -> str:
    """Unpadded base64url (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse; ValueError for anything but the one canonical spelling."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(data) != text:  # other characters were passed over, or low bits of the last one
        raise ValueError("not the canonical unpadded base64url of its bytes")
    return data


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _header(purpose: str) -> dict[str, object]:
    return {"purpose": purpose, "version": VERSION}


def _jwk(modulus: str, key_id: str) -> dict[str, object]:
    return {
        "e": "AQAB",
        "key_ops": ["encrypt"],
        "kid": key_id,
        "kty": "RSA",
        "n": modulus,
        "use": "enc",
    }


def _require_digest(name: str, value: bytes) -> None:
    if len(value) != DIGEST_BYTES:
        raise ValueError(f"{name} has {len(value)} bytes; wanted {DIGEST_BYTES}")


def _require_set(name: str, values: Sequence[bytes], *, at_least: int, at_most: int) -> None:
    if not at_least <= len(values) <= at_most:
        raise ValueError(f"{len(values)} {name}; wanted {at_least} to {at_most}")
    for value in values:
        _require_digest(name, value)
    if list(values) != sorted(set(values)):
        raise ValueError(f"{name} are not sorted and unique")


def _require_jwk(jwk: Mapping[str, object]) -> None:
    modulus, key_id = jwk.get("n"), jwk.get("kid")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise ValueError("kid of the key is not 1 to 128 characters of base64url")
    if not isinstance(modulus, str):
        raise ValueError("n of the key is not a string")
    number = unb64url(modulus)
    if len(number) != RSA_BYTES or not number[0] & 0x80 or not number[-1] & 1:
        raise ValueError("n of the key is not an odd number of 3072 bits")
    if dict(jwk) != _jwk(modulus, key_id):
        raise ValueError("members of the key are not exactly e, key_ops, kid, kty, n, use as fixed")


def _members(claims: bytes, purpose: str, names: set[str]) -> dict[str, object]:
    """The members of claims with this purpose, exactly those named besides `sealserve`."""
    if len(claims) > MAX_CLAIMS_BYTES:
        raise EvidenceError(
            "claims_size",
            "runtime claims are too long",
            seen=f"{len(claims)} bytes",
            wanted=f"at most {MAX_CLAIMS_BYTES}",
        )
    members = json_object.read(claims, "claims_malformed", "runtime claims")
    if members.get("sealserve") != _header(purpose):
        raise EvidenceError(
            "claims_purpose",
            "runtime claims were made for another purpose",
            seen=_purpose_of(members),
            wanted=f"{purpose}, version {VERSION}",
        )
    if members.keys() != names | {"sealserve"}:
        raise _malformed(
            "members", seen=_names(members), wanted=", ".join(sorted(names | {"sealserve"}))
        )
    return members


def _purpose_of(members: Mapping[str, object]) -> str:
    header = members.get("sealserve")
    purpose = header.get("purpose") if isinstance(header, dict) else None
    return repr(purpose)[:40] if isinstance(purpose, str) else "no purpose of ours"


def _names(members: Mapping[str, object]) -> str:
    return ", ".join(sorted(repr(name)[1:21] for name in list(members)[:8]))


def _digest(members: Mapping[str, object], name: str) -> bytes:
    value = members[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return unb64url(value)


def _digests(members: Mapping[str, object], name: str) -> tuple[bytes, ...]:
    values = members[name]
    if not isinstance(values, list):
        raise ValueError(f"{name} is not an array")
    return tuple(_digest({name: value}, name) for value in values)


def _exactly(claims: bytes, build: Callable[[], _Shape]) -> _Shape:
    """Build the shape and require that its encoding is the very bytes that were hashed."""
    try:
        shape = build()
    except ValueError as error:
        raise _malformed("values", seen=str(error), wanted="those of this purpose") from error
    if shape.encode() != claims:
        raise EvidenceError(
            "claims_canonical",
            "runtime claims are not in canonical form",
            seen="another spelling of the same members",
            wanted="their RFC 8785 encoding",
        )
    return shape


def _malformed(what: str, *, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("claims_malformed", f"runtime claims: {what}", seen=seen, wanted=wanted)

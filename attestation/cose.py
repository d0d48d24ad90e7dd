"""A strict reader of COSE_Sign1 (RFC 9052, section 4.2), and the check of its one signature.

One byte sequence has one reading here: tag 18 around an array of four, definite lengths, integers
in their shortest form, no label twice in a map or in both headers, labels that are integers or
texts, no tag but 1 (a time), no floating point, the payload inside, and nothing left over.
Raises EvidenceError and nothing else: cose_malformed, cose_algorithm, cose_signature.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from sealserve.attestation.x509_path import RSA_BITS, PublicKey
from sealserve.native.errors import EvidenceError

MAX_MESSAGE_BYTES: Final = 32 * 1024  # the longest real one we hold has 18987 in its header alone
MAX_SIGNATURE_BYTES: Final = 1024  # RSA with 8192 bits
MAX_DEPTH: Final = 8  # real headers nest three levels

# Labels of RFC 9052, section 3.1.
ALGORITHM: Final = 1
CRITICAL: Final = 2

_TAG_SIGN1: Final = b"\xd2"  # tag 18 in its one short spelling
_PLAIN: Final = frozenset({int, str, bytes, bool, type(None), cbor2.CBORTag})
_TAG_TIME: Final = 1  # RFC 8949, section 3.4.2

Label = int | str


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A signature algorithm by its number in IANA's registry. curve: None means RSASSA-PSS."""

    number: int
    name: str
    digest: Callable[[], hashes.HashAlgorithm]
    curve: type[ec.EllipticCurve] | None = None


# RFC 8230, section 2 (PSS, salt as long as the digest); RFC 9053, section 2.1, with the curve that
# the same section recommends for the digest, so that a key never chooses the strength.
PS256: Final = Algorithm(-37, "PS256", hashes.SHA256)
PS384: Final = Algorithm(-38, "PS384", hashes.SHA384)
PS512: Final = Algorithm(-39, "PS512", hashes.SHA512)
ES256: Final = Algorithm(-7, "ES256", hashes.SHA256, ec.SECP256R1)
ES384: Final = Algorithm(-35, "ES384", hashes.SHA384, ec.SECP384R1)
ES512: Final = Algorithm(-36, "ES512", hashes.SHA512, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class Sign1:
    """A message that was read; nothing of it is believed before `verify`.

    protected, unprotected: headers by label; a time is a CBORTag. signed_header: the protected
    header as it was signed. The unprotected header is never covered by the signature.
    """

    protected: Mapping[Label, object]
    unprotected: Mapping[Label, object]
    signed_header: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> Sign1:
        """Read one message. Raises EvidenceError (cose_malformed)."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise malformed("message", f"{len(data)} bytes", f"at most {MAX_MESSAGE_BYTES}")
        if not data.startswith(_TAG_SIGN1):
            raise malformed("first byte", data[:1].hex() or "none", "d2, tag 18 of COSE_Sign1")
        parts = loads(data[1:])
        if type(parts) is not list or len(parts) != 4:
            raise malformed("message", type(parts).__name__, "an array of four")
        signed_header, unprotected, payload, signature = parts
        if not all(type(part) is bytes for part in (signed_header, payload, signature)):
            raise malformed(
                "message", "another shape", "header, payload and signature in byte strings"
            )
        if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
            raise malformed("signature", f"{len(signature)} bytes", f"1 to {MAX_SIGNATURE_BYTES}")
        message = cls(
            _header(loads(signed_header)), _header(unprotected), signed_header, payload, signature
        )
        message._require_distinct_labels()
        message._require_nothing_critical()
        return message

    def algorithm(self, allowed: Collection[Algorithm]) -> Algorithm:
        """The algorithm of the protected header, which must be one of these (cose_algorithm)."""
        number = self.protected.get(ALGORITHM)
        for algorithm in allowed:
            if type(number) is int and number == algorithm.number:
                return algorithm
        raise EvidenceError(
            "cose_algorithm",
            "signature algorithm of a COSE message",
            seen=ascii(number)[:20],
            wanted=" or ".join(f"{known.number} ({known.name})" for known in allowed),
        )

    def verify(self, key: PublicKey, allowed: Collection[Algorithm]) -> None:
        """The message must be signed by this public key, with one of these algorithms.

        Raises EvidenceError (cose_algorithm, cose_signature).
        """
        algorithm = self.algorithm(allowed)
        # Sig_structure of RFC 9052, section 4.4; no external data.
        signed = cbor2.dumps(["Signature1", self.signed_header, b"", self.payload])
        try:
            _verifier(algorithm, key)(self.signature, signed)
        except InvalidSignature as error:
            raise EvidenceError(
                "cose_signature",
                f"the {algorithm.name} signature of a COSE message",
                seen="one by another key, or over other bytes",
                wanted="one by the key it is said to be of",
            ) from error

    def _require_distinct_labels(self) -> None:
        """RFC 9052, section 3: a label stands in one of the two headers."""
        both = self.protected.keys() & self.unprotected.keys()
        if both:
            raise malformed("labels in both headers", ascii(sorted(both, key=str))[:40], "none")

    def _require_nothing_critical(self) -> None:
        """RFC 9052, section 3.1: what is marked critical must be understood; nothing here is."""
        if CRITICAL in self.protected or CRITICAL in self.unprotected:
            raise malformed("header", "critical labels (2)", "none that we would have to know")


def loads(data: bytes) -> object:
    """One CBOR item that is all of these bytes, in the encoding the module describes.

    Comes back as int, str, bytes, bool, None, list, dict, and CBORTag 1 for a time. Raises
    EvidenceError (cose_malformed).
    """
    try:
        value: object = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_OneTag(),
        )
        # The library reads long spellings and passes over what follows; writing has one spelling.
        spelling = cbor2.dumps(value)
    except (cbor2.CBORError, ValueError, TypeError, EOFError, OverflowError) as error:
        raise malformed("encoding", "no CBOR that we read", "CBOR, definite lengths") from error
    if spelling != data:
        raise malformed("encoding", "another spelling, or bytes after it", "the shortest spelling")
    _require_plain(value)
    return value


def malformed(what: str, seen: str, wanted: str) -> EvidenceError:
    """The error for a message of another form."""
    return EvidenceError("cose_malformed", f"{what} of a COSE message", seen=seen, wanted=wanted)


class _OneTag(Mapping[int, Callable[[object, bool], object]]):
    """Decoders for all tags: one keeps a time as it stands, every other tag is refused.

    The library has decoders of its own for dozens of tags, regular expressions among them.
    """

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        return _time if tag == _TAG_TIME else _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _time(value: object, _immutable: bool) -> object:
    if type(value) is not int:
        raise ValueError("a time that is no integer")
    return cbor2.CBORTag(_TAG_TIME, value)


def _refuse_tag(_value: object, _immutable: bool) -> object:
    raise ValueError("a tag other than 1")


def _require_plain(value: object) -> None:
    """No type but those that `loads` names; depth was limited before."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            waiting += one
            waiting += one.values()
        elif type(one) is list:
            waiting += one
        elif type(one) not in _PLAIN:
            raise malformed("encoding", type(one).__name__, "integers, texts, bytes, arrays, maps")


def _header(value: object) -> Mapping[Label, object]:
    if type(value) is not dict:
        raise malformed("header", type(value).__name__, "a map")
    # True and 1.0 would be found where 1 is looked for
    if not all(type(label) in (int, str) for label in value):
        raise malformed("label", "another type", "an integer or a text")
    return value


@cache
def _hashed(algorithm: Algorithm) -> tuple[hashes.HashAlgorithm, padding.PSS]:
    """Its digest, and the padding with it."""
    digest = algorithm.digest()
    return digest, padding.PSS(padding.MGF1(digest), digest.digest_size)


def _verifier(algorithm: Algorithm, key: PublicKey) -> Callable[[bytes, bytes], None]:
    """A function of signature and signed bytes that raises InvalidSignature."""
    digest, scheme = _hashed(algorithm)
    if algorithm.curve is not None and isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, algorithm.curve):
            return lambda signature, signed: key.verify(
                _dss(signature, key.key_size), signed, ec.ECDSA(digest)
            )
    elif algorithm.curve is None and isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return lambda signature, signed: key.verify(signature, signed, scheme, digest)
    raise EvidenceError(
        "cose_algorithm",
        "key of a COSE message",
        seen=type(key).__name__,
        wanted=f"one for {algorithm.name}",
    )


def _dss(signature: bytes, bits: int) -> bytes:
    """The two numbers of RFC 9053, section 2.1, of equal and full length, as DER."""
    half = (bits + 7) // 8
    if len(signature) != 2 * half:
        raise InvalidSignature
    numbers = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    return utils.encode_dss_signature(*numbers)

"""The verification of one server, as a sequence without I/O; drivers around it move the bytes.

    1 certificate   profile, and evidence inside it that is genuine, acceptable and for its own key
    2 challenge     a nonce of ours, to be sent over a channel pinned to that certificate
    3 answer        fresh evidence that names the nonce, the same key, the roots that are served and
                    the certificate that comes next, which has to pass step 1 too

A step out of order is a RuntimeError. There is no way to `Verified` but through all three. Whoever
has no trust file yet goes the same way to `Introduced`, which says what is genuine and no more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from sealserve.attestation import (
    ChallengeClaims,
    Claims,
    Evidence,
    Roots,
    ServerCertificate,
    TlsClaims,
    decode,
    read_certificate,
    verify,
)
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.inference.wire.names import NONCE_BYTES
from sealserve.native.errors import EvidenceError, Finding, PolicyViolation
from sealserve.policy import Trust, Verdict, appraise


@dataclass(frozen=True, slots=True)
class Verified:
    """A server that met every expectation of a trust file.

    certificates: the current one and the next (DER), what a channel is pinned to. roots: of the
    models it serves. config: SHA-256 of its measured configuration.
    """

    verdict: Verdict
    certificates: tuple[bytes, bytes]
    roots: frozenset[bytes]
    config: bytes

    def accepted(self, trust: Trust) -> dict[str, tuple[bytes, ...]]:
        """The models of the trust file that this server serves, with their roots."""
        served = {
            name: tuple(root for root in roots if root in self.roots)
            for name, roots in trust.models.items()
        }
        return {name: roots for name, roots in served.items() if roots}

    def accepted_roots(self, trust: Trust) -> frozenset[bytes]:
        """Of those models."""
        return frozenset(root for roots in self.accepted(trust).values() for root in roots)


@dataclass(frozen=True, slots=True)
class Introduced:
    """A server that is genuine and answered our challenge; nobody says that it is acceptable.

    claims: of that answer. roots: of the models it serves.
    """

    claims: Claims
    roots: frozenset[bytes]


_Judged = TypeVar("_Judged")


@dataclass(frozen=True, slots=True)
class _Answered(Generic[_Judged]):
    judged: _Judged
    certificates: tuple[bytes, bytes]
    said: ChallengeClaims


class Steps(ABC, Generic[_Judged]):
    """The steps for one server. roots: of genuine evidence. random: makes the nonce."""

    def __init__(self, roots: Roots, random: Callable[[int], bytes]) -> None:
        self._roots = roots
        self._random = random
        self._certificate: ServerCertificate | None = None
        self._nonce: bytes | None = None

    def read_certificate(self, der: bytes, now: datetime) -> None:
        """Step 1. Raises EvidenceError, PolicyViolation."""
        if self._certificate is not None:
            raise RuntimeError("the certificate was read already")
        self._certificate = self._certified(der, now)

    def challenge(self) -> bytes:
        """Step 2: the message to send, with a new nonce, once."""
        if self._certificate is None or self._nonce is not None:
            raise RuntimeError("a challenge follows the certificate, once")
        self._nonce = self._random(NONCE_BYTES)
        return GetEvidenceRequest(nonce=self._nonce).SerializeToString()

    @abstractmethod
    def _judge(self, claims: Claims, now: datetime) -> _Judged:
        """What is made of claims that are genuine; raises where that is not enough."""

    def _answered(self, message: bytes, now: datetime) -> _Answered[_Judged]:
        """Step 3, as far as it is the same for everybody."""
        if self._certificate is None or self._nonce is None:
            raise RuntimeError("an answer follows a challenge")
        nonce, self._nonce = self._nonce, None
        answer = _parsed(message)
        next_certificate = answer.next_certificate
        claims, judged = self._judged(decode(answer.evidence), now)
        said = ChallengeClaims.parse(claims.runtime)
        self._require_nonce(said, nonce)
        _require_key(said.spki, self._certificate.spki_sha256, "challenge_key")
        self._require_next(said, next_certificate, now)
        return _Answered(judged, (self._certificate.der, next_certificate), said)

    def _certified(self, der: bytes, now: datetime) -> ServerCertificate:
        certificate = read_certificate(der, now)
        claims, _ = self._judged(certificate.evidence, now)
        said = TlsClaims.parse(claims.runtime)
        _require_key(said.spki, certificate.spki_sha256, "certificate_binding")
        return certificate

    def _judged(self, evidence: Evidence, now: datetime) -> tuple[Claims, _Judged]:
        claims = verify(evidence, self._roots, now)
        return claims, self._judge(claims, now)

    def _require_nonce(self, said: ChallengeClaims, nonce: bytes) -> None:
        if nonce in said.nonces:
            return
        raise EvidenceError(
            "challenge_nonce",
            "the evidence does not answer our challenge",
            seen=f"{len(said.nonces)} other nonces",
            wanted=nonce.hex(),
            hint="somebody may be replaying old evidence",
        )

    def _require_next(self, said: ChallengeClaims, der: bytes, now: datetime) -> None:
        assert self._certificate is not None
        seen = hashlib.sha256(der).digest()
        if not hmac.compare_digest(seen, said.next):
            raise EvidenceError(
                "challenge_next",
                "the next certificate is not the one the evidence names",
                seen=seen.hex(),
                wanted=said.next.hex(),
            )
        following = self._certified(der, now)
        _require_key(following.spki_sha256, self._certificate.spki_sha256, "challenge_next_key")


class Introduction(Steps[Claims]):
    """One server of which nothing is expected but that it is genuine, and who made its machine."""

    def __init__(self, roots: Roots, random: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(roots, random)

    def accept(self, message: bytes, now: datetime) -> Introduced:
        """Step 3: the answer as it came. Raises EvidenceError."""
        answered = self._answered(message, now)
        return Introduced(answered.judged, frozenset(answered.said.roots))

    def _judge(self, claims: Claims, now: datetime) -> Claims:
        return claims


class Verification(Steps[Verdict]):
    """One server against one trust file. random: makes the nonce."""

    def __init__(self, trust: Trust, random: Callable[[int], bytes] = os.urandom) -> None:
        _require_trust(trust)
        super().__init__(trust.roots(), random)
        self._trust = trust

    def accept(self, message: bytes, now: datetime) -> Verified:
        """Step 3: the answer as it came. Raises EvidenceError, PolicyViolation."""
        answered = self._answered(message, now)
        verdict = answered.judged
        verified = Verified(
            verdict=dataclasses.replace(
                verdict, checked=(*verdict.checked, *self._channel_checks())
            ),
            certificates=answered.certificates,
            roots=frozenset(answered.said.roots),
            config=answered.said.config,
        )
        self._require_a_model(verified)
        return verified

    def _judge(self, claims: Claims, now: datetime) -> Verdict:
        return appraise(claims, self._trust, now=now)

    def _require_nonce(self, said: ChallengeClaims, nonce: bytes) -> None:
        if not self._trust.danger.without_nonce:
            super()._require_nonce(said, nonce)

    def _channel_checks(self) -> tuple[str, ...]:
        fresh = "the evidence answers our nonce"
        if self._trust.danger.without_nonce:
            fresh = "the evidence may be old ([danger] requires no nonce)"
        return (
            fresh,
            "it speaks for the TLS key of this channel",
            "the certificate that comes next carries the same key and evidence of its own",
        )

    def _require_a_model(self, verified: Verified) -> None:
        if verified.accepted(self._trust):
            return
        wanted = [
            f"{name} {root.hex()}" for name, roots in self._trust.models.items() for root in roots
        ]
        raise PolicyViolation(
            f'the server serves no model that "{self._trust.name}" accepts',
            findings=[Finding("model_roots", listed(verified.roots), " or ".join(wanted))],
            hint="another version of the model? compare the roots with what its owner published",
        )


def _require_trust(trust: object) -> None:
    """TypeError for what is no trust file that was read, as the name of one is not."""
    if isinstance(trust, Trust):
        return
    hint = f'; read the file first: Trust.load("{trust}")' if isinstance(trust, str | Path) else ""
    raise TypeError(f"trust is a {type(trust).__name__}, not a sealserve.Trust{hint}")


def _parsed(message: bytes) -> GetEvidenceResponse:
    answer = GetEvidenceResponse()
    try:
        answer.ParseFromString(message)
    except DecodeError as error:
        raise EvidenceError(
            "evidence_malformed", "the answer to our challenge cannot be read"
        ) from error
    return answer


def listed(roots: frozenset[bytes]) -> str:
    """Roots for a message."""
    return ", ".join(sorted(root.hex() for root in roots)) or "no model"


def _require_key(seen: bytes, wanted: bytes, code: str) -> None:
    if not hmac.compare_digest(seen, wanted):
        raise EvidenceError(
            code,
            "the evidence speaks for another TLS key",
            seen=seen.hex(),
            wanted=wanted.hex(),
            hint="somebody between you and the server, or a certificate put together from two",
        )

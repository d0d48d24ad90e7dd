"""A release that does not take place: would this token, or this evidence, get the key?

The very checks of `vault.py`, in the same code, on a key's terms and what is presented; only that
all of them are asked, where a vault stops at the first. Evidence becomes the claims that our
attestation service would put into a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sealserve.attestation import Claims, Evidence, Roots, verify
from sealserve.attestation.token import check_times
from sealserve.keys.refused import Refused
from sealserve.keys.terms import Terms
from sealserve.keys.trustd.answer import WrappingKey
from sealserve.keys.trustd.attest import said_of
from sealserve.keys.trustd.tokens import issued
from sealserve.native.errors import EvidenceError, Finding
from sealserve.policy import strict_json
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.release import ReleasePolicy, normal, same_authority, shown
from sealserve.policy.release_build import SIMULATED_SUFFIX


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it: released if nothing is unmet. not_checked: what nothing here tells."""

    key: str
    unmet: tuple[Finding, ...]
    not_checked: tuple[str, ...]

    @property
    def released(self) -> bool:
        """Whether the key would leave."""
        return not self.unmet


@dataclass(frozen=True, slots=True)
class Service:
    """Who attests: the issuer of its tokens, and whose endorsements of real launches count."""

    issuer: str
    launch: UvmLaunch | None


def of_token(
    terms: Terms, claims: Mapping[str, object], now: datetime, *, issuer: str, verified: bool
) -> Rehearsal:
    """For the claims of a token.

    issuer: the only one whose tokens the vault takes, "" where that is not known. verified:
    somebody looked at the token's signature.
    """
    unmet = (
        *terms.unmet(now),
        *_times(claims, now),
        *_issuer(claims, issuer),
        *_policy(terms, claims),
        *_wrapping(claims),
    )
    unsigned = () if verified else ("the token's signature: nothing here has its issuer's keys",)
    return Rehearsal(terms.key, tuple(dict.fromkeys(unmet)), (*unsigned, *_role(terms)))


def of_evidence(
    terms: Terms, evidence: Evidence, roots: Roots, service: Service, now: datetime
) -> Rehearsal:
    """For the machine that this is evidence of. Raises EvidenceError if it is not genuine."""
    claims = verify(evidence, roots, now)
    foreign = tuple(_foreign(claims, service.issuer))
    told = issued(normal(service.issuer), _told(claims, service.launch, now), now)
    unmet = (*terms.unmet(now), *foreign, *_policy(terms, told))
    return Rehearsal(terms.key, unmet, (*_left_open(claims, service), *_role(terms)))


def _told(claims: Claims, launch: UvmLaunch | None, now: datetime) -> dict[str, object]:
    return {**said_of(claims, launch, now), "x-ms-runtime": _runtime(claims)}


def _runtime(claims: Claims) -> object:
    try:
        return strict_json.loads(claims.runtime.decode("utf-8"))
    except ValueError:
        return {}  # our attestation service would refuse it; a release sends claims of its own


def _foreign(claims: Claims, issuer: str) -> Iterator[Finding]:
    simulated = claims.platform == "simulated"
    if normal(issuer).endswith(SIMULATED_SUFFIX) != simulated:
        seen, attests = ("simulated", "real") if simulated else ("real", "simulated")
        wanted = f"one of those that {issuer} attests: {attests} ones"
        yield Finding("authority", f"a {seen} machine", wanted)


def _issuer(claims: Mapping[str, object], issuer: str) -> Iterator[Finding]:
    if issuer and not same_authority(issuer, claims.get("iss")):
        yield Finding("authority", shown(claims.get("iss")), issuer)


def _times(claims: Mapping[str, object], now: datetime) -> Iterator[Finding]:
    try:
        check_times(claims, now)
    except EvidenceError as error:
        yield Finding(error.code, error.seen or error.what, error.wanted)


def _policy(terms: Terms, claims: Mapping[str, object]) -> tuple[Finding, ...]:
    if not terms.policy:
        return ()
    return ReleasePolicy.parse(terms.policy, file=terms.key).unmet(claims)


def _wrapping(claims: Mapping[str, object]) -> Iterator[Finding]:
    try:
        WrappingKey.of(claims, "")
    except Refused as refused:
        yield Finding("x-ms-runtime", refused.message, "one RSA key to wrap to")


def _left_open(claims: Claims, service: Service) -> Iterator[str]:
    yield "the key to wrap to: a release makes one of its own"
    if claims.platform == "simulated":
        return
    if service.launch is None:
        yield "who endorsed the launch: no trust file says whose endorsements count"
    yield "what Azure's own service calls compliant: judged here as our trust service does"


def _role(terms: Terms) -> Iterator[str]:
    if terms.role:
        yield f"the caller: a bearer token with the role release:{terms.role} is needed too"

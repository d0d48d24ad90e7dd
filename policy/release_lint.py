"""What to think about again in a release policy: what it lets through, and what it can never meet.

A clause counts as asked for if no way to meet the policy goes around it. That is found clause by
clause, so a policy that asks in a roundabout way may be remarked on although it is sound.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sealserve.policy import floors, release_grammar
from sealserve.policy.expectations import NO_POLICY
from sealserve.policy.known import permissive_name
from sealserve.policy.release import (
    AllOf,
    Authority,
    Condition,
    Equals,
    ReleasePolicy,
    escaped,
    json_text,
    shown,
)
from sealserve.policy.release_build import (
    ATTESTATION_TYPE,
    COMPLIANCE_STATUS,
    DEBUGGABLE,
    HOST_DATA,
    SIMULATED_COMPLIANT,
    VMPL,
)
from sealserve.policy.release_claims import (
    BOOLEAN,
    FLEETING,
    KNOWN,
    NESTED,
    NO_VALUE,
    NUMBER,
    SNP,
    STATUSES,
    SVNS,
    Form,
    execution_policy,
    plain_name,
)
from sealserve.policy.release_words import is_simulated
from sealserve.policy.remarks import Rank, Remark, Remarks, ranked

_CHOSEN: Final = {
    "x-ms-runtime": "the guest itself chooses its runtime data: it proves nothing of the guest",
    "x-ms-inittime": "whoever starts the machine chooses its init-time data, and no confidential "
    "container of Azure's sends any",
}
_FIXED: Final[tuple[tuple[str, str, Rank, str], ...]] = (
    (ATTESTATION_TYPE, "sevsnpvm", "doubt", "evidence of another kind has other claims"),
    (DEBUGGABLE, "false", "danger", "the host of a debug machine reads its memory"),
    (VMPL, "0", "doubt", "a less privileged level of the guest may ask for the key"),
)
_ALWAYS: Final = "`sealserve key policy` writes it"


@dataclass(frozen=True)
class _Place:
    """One authority's part of the policy, and every clause in it by its place."""

    key: str
    entry: Authority
    clauses: tuple[tuple[str, Equals], ...]


def lint(data: bytes, *, file: str = "") -> tuple[Remark, ...]:
    """Every remark on this policy, ranked; what no vault reads alone, where there is such a thing.

    Raises ConfigError for what is no JSON.
    """
    outside = release_grammar.faults(data, file)
    if outside:
        return outside
    policy = ReleasePolicy.parse(data, file=file)
    places = [_place(number, entry) for number, entry in enumerate(policy.authorities)]
    found = [remark for place in places for look in _LOOKS for remark in look(place)]
    return ranked([*found, *_several_authorities(policy), *_no_floor()])


def _place(number: int, entry: Authority) -> _Place:
    key = f"anyOf[{number}]"
    return _Place(key, entry, tuple(_clauses(entry.condition, key)))


def _clauses(condition: Condition, key: str) -> Iterator[tuple[str, Equals]]:
    if isinstance(condition, Equals):
        yield key, condition
        return
    name = "allOf" if isinstance(condition, AllOf) else "anyOf"
    for index, part in enumerate(condition.parts):
        yield from _clauses(part, f"{key}.{name}[{index}]")


def asked_for(condition: Condition, claim: str) -> frozenset[str] | None:
    """The values one of which this claim has to have, as JSON text; None where it need have none.

    An empty set means that nothing meets the condition. A confidential VM's nested claim counts.
    """
    if isinstance(condition, Equals):
        text = json_text(condition.value)
        return frozenset([text]) if plain_name(condition) == claim and text is not None else None
    parts = [asked_for(part, claim) for part in condition.parts]
    told = [values for values in parts if values is not None]
    if isinstance(condition, AllOf):
        return frozenset.intersection(*told) if told else None
    return frozenset.union(*told) if len(told) == len(parts) else None


def _software(place: _Place) -> Remarks:
    values = asked_for(place.entry.condition, HOST_DATA)
    if values is None:
        what = f"{HOST_DATA} is not asked for: any software gets the key"
        yield Remark("danger", place.key, what, _ALWAYS)
    elif len(values) > 1:
        what = f"{len(values)} execution policies are accepted, as while one replaces another"
        yield Remark("note", place.key, what, "remove the old")


def _state(place: _Place) -> Remarks:
    """The clauses that are the same for everybody."""
    for claim, good, rank, why in _FIXED:
        values = asked_for(place.entry.condition, claim)
        if values is None:
            yield Remark(rank, place.key, f"{claim} is not asked for: {why}", _ALWAYS)
            continue
        bad = sorted(value for value in values - {good} if KNOWN[claim].fits(value))
        if bad:
            what = f"{claim} may be {escaped(', '.join(bad))}: {why}"
            yield Remark(rank, place.key, what, f"ask for {good}")


def _status(place: _Place) -> Remarks:
    values = asked_for(place.entry.condition, COMPLIANCE_STATUS)
    if values is None:
        what = f"{COMPLIANCE_STATUS} is not asked for: nobody vouches for what was launched, and "
        what += "the host chooses that and HOST_DATA"
        yield Remark("danger", place.key, what, _ALWAYS)
        return
    for value in sorted(values - STATUSES.keys()):
        what = f"no service calls a machine {shown(value)}"
        yield Remark("danger", place.key, what, f"one of {', '.join(STATUSES)}")


def _simulated(place: _Place) -> Remarks:
    simulated = is_simulated(place.entry)
    if simulated:
        yield Remark(
            "danger",
            f"{place.key}.authority",
            "simulated: it proves nothing about hardware",
            "for trials alone; no model of anybody's belongs under this key",
        )
    values = asked_for(place.entry.condition, COMPLIANCE_STATUS) or frozenset()
    if values and simulated != (SIMULATED_COMPLIANT in values):
        what = "a status that this authority never gives: simulated and real never mix"
        yield Remark("danger", place.key, what, "name the attestation service of the platform")


def _slash(place: _Place) -> Remarks:
    if place.entry.authority.endswith("/"):
        yield Remark(
            "note",
            f"{place.key}.authority",
            "ends in a slash, which the issuer in tokens does not; a vault that compares "
            "them byte by byte never releases",
            "leave it out",
        )


def _contradictions(place: _Place) -> Remarks:
    for claim in dict.fromkeys(plain_name(clause) for _, clause in place.clauses):
        if asked_for(place.entry.condition, claim) == frozenset():
            what = f"{escaped(claim)} would have to have two values at once: never released"
            yield Remark("danger", place.key, what, "several values belong into an anyOf")


def _known_policies(place: _Place) -> Remarks:
    for key, clause in place.clauses:
        digest = execution_policy(clause)
        if digest is None:
            continue
        if name := permissive_name(digest):
            yield Remark("danger", key, f"{name}: anything gets the key", "name a strict one")
        elif digest == NO_POLICY:
            yield Remark("danger", key, "no execution policy: anything gets the key", "name one")


def _values(place: _Place) -> Remarks:
    """Values that a claim never has, though they look as if it could."""
    for key, clause in place.clauses:
        form = KNOWN.get(plain_name(clause))
        if form is not None and not form.fits(clause.value):
            what = f"{escaped(clause.name)} is never {shown(clause.value)}: never met"
            yield Remark("danger", key, what, _form_hint(form, clause))


def _form_hint(form: Form, clause: Equals) -> str:
    if form is BOOLEAN:
        return 'write "true" or "false"; 0, 1 and other spellings are something else'
    if form is NUMBER:
        return f"{form.said}: numbers are compared as JSON text, so 0.0 and 00 are not 0"
    if form is NO_VALUE:
        return f"write {escaped(clause.name)}.MEMBER"
    return f"write {form.said}"


def _spelling(place: _Place) -> Remarks:
    for key, clause in place.clauses:
        if not isinstance(clause.value, str):
            what = f"{shown(clause.value)} is not in quotes; it is compared as text"
            hint = f'write "{json_text(clause.value)}", as all published policies do'
            yield Remark("note", key, what, hint)


def _strange(place: _Place) -> Remarks:
    """Claims that no token has."""
    for key, clause in place.clauses:
        name = plain_name(clause)
        if name in KNOWN or name in FLEETING or _chosen(clause):
            continue
        close = difflib.get_close_matches(name, KNOWN, 1, 0.85)
        if close or name.startswith(SNP):
            hint = f"did you mean {close[0]}?" if close else "see an attestation token's claims"
            what = f"{escaped(clause.name)} is in no token we know: never met"
            yield Remark("danger", key, what, hint)


def _chosen(clause: Equals) -> str:
    """The claim that is chosen, wherever the token has it; "" for others."""
    first = clause.name.removeprefix(NESTED).partition(".")[0]
    return first if first in _CHOSEN else ""


def _chosen_by_the_asker(place: _Place) -> Remarks:
    for key, clause in place.clauses:
        if chosen := _chosen(clause):
            hint = "what the guest is, other clauses have to say"
            yield Remark("doubt", key, _CHOSEN[chosen], hint)


def _fleeting(place: _Place) -> Remarks:
    for key, clause in place.clauses:
        if plain_name(clause) in FLEETING:
            what = f"{escaped(clause.name)} is another one in each token: released once, or never"
            yield Remark("danger", key, what, "leave it out")


def _pinned_firmware(place: _Place) -> Remarks:
    for key, clause in place.clauses:
        if plain_name(clause).removeprefix(SNP) in SVNS:
            what = f"{escaped(clause.name)} is pinned: the next firmware update ends all releases"
            yield Remark("doubt", key, what, 'the grammar has no "at least": leave it out')


def _several_authorities(policy: ReleasePolicy) -> Remarks:
    count = len(policy.authorities)
    if count > 1:
        what = f"{count} parts: a token that meets one of them suffices"
        yield Remark("note", "anyOf", what, "each of them is as weak as the key")


def _no_floor() -> Remarks:
    yield Remark(
        "note",
        "policy",
        "no least firmware: the grammar compares for equality alone, so what is compliant decides",
        f"Azure's service has its own rules; a trust service of ours asks for the firmware "
        f"recommended on {floors.DATE} before it says compliant",
    )


_LOOKS: tuple[Callable[[_Place], Remarks], ...] = (
    _software,
    _state,
    _status,
    _simulated,
    _slash,
    _contradictions,
    _known_policies,
    _values,
    _spelling,
    _strange,
    _chosen_by_the_asker,
    _fleeting,
    _pinned_firmware,
)

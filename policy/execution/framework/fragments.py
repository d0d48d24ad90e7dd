"""Loading a fragment: asked before its text is looked at, and again once that is a module.

The first time issuer and feed are known, the version in the signed header and the receipts; the
second time the text's own version as well. What it then contributes is what its entry includes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sealserve.policy.execution.framework import fill, versions
from sealserve.policy.execution.framework.checks import Check, Considered, Outcome
from sealserve.policy.execution.framework.policy import PLATFORM_RULES, TRUST_LISTS
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.state import Candidate, Included, State
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    Fields,
    holds,
    items,
    member,
    same,
    shown,
)
from sealserve.policy.execution.rego import Binding, Module, Parameter

_NAMESPACE = "namespace"
_ANY_RECEIPT = "*"
_TRUST_LIST = "TTL:"
_NEWEST = "0.5.0"
_PARAMETERS = "parameters_api"  # where a fragment declares what its parameters are by default


@dataclass(frozen=True)
class Loaded:
    """A fragment as a module, with values for its parameters."""

    module: Module
    parameters: Fields

    def rule(self, name: str) -> object:
        """The value of a rule; UNDEFINED where it is missing, or computed from what is missing."""
        found = self.module.rules.get(name)
        return UNDEFINED if found is None else self._resolved(found.value)

    def _resolved(self, value: object) -> object:
        if isinstance(value, Parameter):
            return self._parameter(value.name)
        if isinstance(value, Binding):
            return UNDEFINED
        if isinstance(value, list):
            made = [self._resolved(each) for each in value]
            return UNDEFINED if UNDEFINED in made else made
        if isinstance(value, dict):
            members = {name: self._resolved(each) for name, each in value.items()}
            return UNDEFINED if UNDEFINED in members.values() else members
        return value

    def _parameter(self, name: str) -> object:
        if name in self.parameters:
            return self.parameters[name]
        return member(self.rule(_PARAMETERS), name, "default")

    @property
    def framework_version(self) -> object:
        """None where it is missing."""
        found = (self.rule("framework_version"), self.rule("framework_svn"))
        return next((value for value in found if value is not UNDEFINED), None)


# ---- before the text is a module


def check(asked: Question) -> Outcome:
    """Whether some entry admits this issuer and feed; with the parameters it may be loaded with."""
    entries = asked.world.fragments()
    considered = tuple(Considered(each.label, before_loading(each, asked)) for each in entries)
    if not any(each.held for each in considered):
        return Outcome(False, (*considered, *_nobody(considered, asked)))
    return Outcome(True, considered, {"parameters": _parameters(asked)})


def before_loading(entry: Candidate, asked: Question) -> tuple[Check, ...]:
    return (
        _equal("issuer", entry, asked, "load fragments of the issuers that the policy names"),
        _equal("feed", entry, asked, "load fragments of the feeds that the policy names"),
        _header(entry, asked),
        *(_receipt(wanted, asked) for wanted in _receipts(entry)),
    )


def _nobody(considered: tuple[Considered, ...], asked: Question) -> tuple[Considered, ...]:
    if considered:
        return ()
    seen = shown(asked.told("issuer", "feed"))
    hint = "a policy that names no fragments loads none"
    return (Considered("", (Check("fragments", False, seen, "an entry for it", hint),)),)


def _equal(name: str, entry: Candidate, asked: Question, hint: str) -> Check:
    seen, wanted = asked.get(name), member(entry.fields, name)
    held = same(seen, wanted)
    return Check(name, held, shown(seen), shown(wanted), "" if held else hint)


def _header(entry: Candidate, asked: Question) -> Check:
    svn, minimum = header_svn(asked), member(entry.fields, "minimum_svn")
    held = svn is UNDEFINED or versions.svn_reaches(svn, minimum)
    return Check(
        "minimum_svn",
        held,
        f"{shown(svn)} in the header",
        f"{shown(minimum)} or more",
        "" if held else "load a newer version of the fragment",
    )


def _receipts(entry: Candidate) -> list[object]:
    return items(member(entry.fields, "required_receipts"))


def _receipt(wanted: object, asked: Question) -> Check:
    """wanted: `*` for any, `TTL:` and the subject of a trust list, or a ledger."""
    receipts = items(asked.get("receipts"))
    return Check(
        "required_receipts",
        _is_met(wanted, receipts),
        shown([member(each, "issuer") for each in receipts if isinstance(each, dict)]),
        shown(wanted),
        "register the fragment with this ledger, and load its trust list first",
        f"missing receipt from {wanted}",
    )


def _is_met(wanted: object, receipts: list[object]) -> bool:
    if wanted == _ANY_RECEIPT:
        return bool(receipts)
    if isinstance(wanted, str) and wanted.startswith(_TRUST_LIST):
        subject = wanted.removeprefix(_TRUST_LIST)
        return any(subject in items(member(each, "ttl_subjects")) for each in receipts)
    return any(same(member(each, "issuer"), wanted) for each in receipts)


def admits(entry: Candidate, asked: Question) -> bool:
    return all(same(asked.get(name), member(entry.fields, name)) for name in ("issuer", "feed"))


def header_svn(asked: Question) -> object:
    """The version in the signed header, UNDEFINED where there is none."""
    if not holds(asked.get("has_header_svn")):
        return UNDEFINED
    return asked.get("header_svn")


def _parameters(asked: Question) -> list[object]:
    """Sets of parameters to load with, each once: those of loaded fragments, then the policy's."""
    world = asked.world
    entries = [*world.state.fragment_parameters, *(e.fields for e in world.policy.fragments())]
    found = [
        member(entry, "parameters")
        for entry in entries
        if admits(Candidate("", entry), asked) and holds(member(entry, "parameters"))
    ]
    return [each for index, each in enumerate(found) if each not in found[:index]] or [{}]


# ---- when it is one


def load(asked: Question, loaded: Loaded) -> Outcome:
    """Whether the module may stay, and what it then contributes."""
    entries = [each for each in asked.world.fragments() if admits(each, asked)]
    considered = tuple(Considered(e.label, _second(e, asked, loaded)) for e in entries)
    fitting = [e for e, told in zip(entries, considered, strict=True) if told.held]
    made = [(_included(loaded, each), _adds_module(each)) for each in fitting]
    if not made:
        return Outcome(False, considered)
    if any(each != made[0] for each in made):
        return Outcome(False, (*considered, _conflict(fitting)), conflict=True)
    return _contributed(asked, loaded, considered, *made[0])


def _conflict(fitting: list[Candidate]) -> Considered:
    included = [member(entry.fields, "includes") for entry in fitting]
    hint = "give the policy one entry for this issuer and feed, or the same includes to all"
    return Considered("", (Check("includes", False, shown(included), "one and the same", hint),))


def _contributed(
    asked: Question,
    loaded: Loaded,
    considered: tuple[Considered, ...],
    included: Included,
    adds_module: bool,
) -> Outcome:
    key = str(asked.get("issuer")), str(asked.get("feed"))
    offered = [
        {name: member(each, name) for name in ("issuer", "feed", "parameters")}
        for each in items(loaded.rule("fragments"))
        if holds(member(each, "parameters"))
    ]

    def change(state: State) -> None:
        state.included.setdefault(key, []).insert(0, included)
        state.fragment_parameters += [e for e in offered if e not in state.fragment_parameters]
        state.fragment_parameters.sort(key=lambda each: json.dumps(each, sort_keys=True))

    return Outcome(True, considered, {"add_module": adds_module}, change)


def _second(entry: Candidate, asked: Question, loaded: Loaded) -> tuple[Check, ...]:
    minimum = member(entry.fields, "minimum_svn")
    header, body = header_svn(asked), loaded.rule("svn")
    named = holds(body)
    told = body if named else header
    return (
        Check(
            "minimum_svn",
            told is not UNDEFINED and versions.svn_reaches(told, minimum),
            shown(told),
            f"{shown(minimum)} or more",
            "load a newer version of the fragment",
        ),
        Check(
            "svn",
            header is UNDEFINED or not named or equal_svn(header, body),
            f"{shown(body)} in the text",
            f"{shown(header)}, as in the header",
            "sign the fragment anew with one version",
        ),
        Check(
            "framework_version",
            versions.compare(loaded.framework_version, versions.FRAMEWORK_VERSION) in (-1, 0),
            shown(loaded.framework_version),
            f"{versions.FRAMEWORK_VERSION} or less",
            "write the fragment for a version of the framework that the guest has",
        ),
    )


def equal_svn(header: object, body: object) -> bool:
    one, other = versions.number(header), versions.number(body)
    return one is not None and one == other


def _adds_module(entry: Candidate) -> bool:
    return _NAMESPACE in items(member(entry.fields, "includes"))


_FILLED: Mapping[str, fill.Fill] = {
    "containers": fill.container,
    "fragments": fill.fragment,
    "external_processes": fill.external_process,
}


def _included(loaded: Loaded, entry: Candidate) -> Included:
    """What the entry lets the fragment contribute, filled by the fragment's own version."""
    version = loaded.framework_version
    prefix = f"{member(entry.fields, 'feed')} "
    made: Included = {}
    for name in items(member(entry.fields, "includes")):
        if name in _FILLED:
            how = _FILLED[str(name)]
            raw = loaded.rule(str(name))
            made[str(name)] = fill.filled(f"{prefix}{name}", raw, version, how) or []
        elif name in (PLATFORM_RULES, TRUST_LISTS):
            raw = fill.since(_NEWEST, version, loaded.rule(str(name)))
            made[str(name)] = [
                Candidate(fill.label(f"{prefix}{name}", index, each), each)
                for index, each in enumerate(items(raw))
                if isinstance(each, dict)
            ]
    return made

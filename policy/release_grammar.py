"""Everything in a release policy that no vault reads, where the parser stops at the first of it.

Operators and spellings that other grammars have (`notEquals`, `condition` and `value`) are named
with the way out. What this finds, `ReleasePolicy.parse` refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from sealserve.native.errors import ConfigError
from sealserve.policy.release import ReleasePolicy, escaped, read_json, shown
from sealserve.policy.remarks import Remark, Remarks

_OPERATORS: Final = ("allOf", "anyOf")
_EARLY: Final = {"condition", "value"}
_KNOWN: Final = "the grammar has allOf, anyOf and equals, and nothing else"
MOST: Final = 50  # remarks; somebody's file may hold a thousand


def faults(data: bytes, file: str) -> tuple[Remark, ...]:
    """What is outside the grammar, none for a policy that `ReleasePolicy.parse` reads.

    Raises ConfigError for what is no JSON at all.
    """
    try:
        ReleasePolicy.parse(data, file=file)
    except ConfigError as error:
        found = tuple(islice(_top(read_json(data, file)), MOST))
        return found or (_fault(error.key, error.reason, _KNOWN),)
    return ()


def _top(value: object) -> Remarks:
    if not isinstance(value, Mapping):
        yield _fault("", f"seen {shown(value)}; a policy is an object", _KNOWN)
        return
    if value.get("version") != "1.0.0":
        what = f"seen {shown(value['version'])}" if "version" in value else "missing"
        yield _fault("version", what, 'write "version": "1.0.0"')
    for name in sorted(value.keys() - {"version", "anyOf"}):
        yield _fault(escaped(name), "no member of a policy", "it has version and anyOf")
    for place, entry in _entries(value.get("anyOf"), "anyOf"):
        yield from _block(entry, place)


def _block(value: object, place: str) -> Remarks:
    if not isinstance(value, Mapping):
        yield _fault(place, f"seen {shown(value)}; wanted an authority's object", _KNOWN)
        return
    if "authority" not in value:
        yield _fault(place, "no authority: whose tokens?", "name the attestation service")
    yield from _operator(value, place, {"authority"})


def _operator(value: Mapping[str, object], place: str, others: set[str]) -> Remarks:
    given = [name for name in _OPERATORS if name in value]
    unknown = sorted(value.keys() - {*_OPERATORS, *others})
    for name in unknown:
        yield _fault(f"{place}.{escaped(name)}", "an operator that no vault knows", _KNOWN)
    if len(given) > 1 or not (given or unknown):
        what = "both allOf and anyOf" if given else "neither allOf nor anyOf"
        yield _fault(place, what, "write exactly one; the other may stand inside it")
    for name in given:
        for inner, part in _entries(value[name], f"{place}.{name}"):
            yield from _condition(part, inner)


def _condition(value: object, place: str) -> Remarks:
    if not isinstance(value, Mapping):
        yield _fault(place, f"seen {shown(value)}; wanted a condition's object", _KNOWN)
    elif "claim" in value or "equals" in value:
        yield from _comparison(value, place)
    else:
        yield from _operator(value, place, set())


def _comparison(value: Mapping[str, object], place: str) -> Remarks:
    others = value.keys() - {"claim", "equals"}
    if others == _EARLY and "claim" in value:
        hint = 'write {"claim": …, "equals": …}'
        yield _fault(place, "the spelling of early samples: condition and value", hint)
        return
    for name in sorted(others):
        yield _fault(f"{place}.{escaped(name)}", "an operator that no vault knows", _KNOWN)
    if "equals" not in value and not others:
        yield _fault(place, "a claim that is compared with nothing", "add equals")
    if "claim" not in value:
        yield _fault(place, "equals without a claim", "add claim")
    if "equals" in value and not isinstance(value["equals"], str | int | float | bool):
        what = f"seen {shown(value['equals'])}; wanted text, a number or a boolean"
        yield _fault(f"{place}.equals", what, "one comparison for each value, in an anyOf")


def _entries(value: object, place: str) -> Iterator[tuple[str, object]]:
    """The members of a list by their places; something else is left to the parser to name."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield f"{place}[{index}]", entry


def _fault(key: str, what: str, hint: str) -> Remark:
    return Remark("danger", key or "policy", what, hint)

"""`[parameters('n')]` and `[variables('n')]` of an ARM template; no other function of ARM is known.

Strict profiles put values in before anything is read: a reference that is the whole text keeps its
value's type, one inside a longer text becomes text. What has no value, or is another expression,
comes out as `Unresolved`, and whoever needs it refuses it. confcom does otherwise: `confcom`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sealserve.policy.execution.complaints import Place, Told, Unresolved
from sealserve.policy.execution.lookup import find, spelling

_REFERENCE = re.compile(r"\[(parameters|variables)\(\s*'([^']+)'\s*\)\]")
_MAX_DEPTH = 100  # a container's own values lie about 8 deep
_MAX_VALUES = 20_000  # of one container, its references put in
_MAX_CHARACTERS = 64 * 1024  # of a text after replacing: a policy is at most some of these


@dataclass(frozen=True)
class References:
    """parameters: name to declaration (`defaultValue`, and `value` once there is one)."""

    parameters: Mapping[str, object] = field(default_factory=dict)
    variables: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, template: object, given: object, place: Place) -> References:
        """given: the parameter file, or None. place: of the whole file."""
        declared = find(template, "parameters")
        variables = find(template, "variables")
        parameters = dict(declared) if isinstance(declared, dict) else {}
        if given:
            _give(parameters, given, place)
        return cls(parameters, variables if isinstance(variables, dict) else {})

    def resolved(self, value: object) -> object:
        """The same JSON value with every reference in it replaced."""
        return _Resolution(self).value(value, 0)

    def lookup(self, kind: str, name: str, text: str) -> object:
        """What is declared under this name, unresolved; text: where it is asked for."""
        if kind == "variables":
            key = spelling(dict(self.variables), name)
            if key is None:
                hint = "add it to the template's variables"
                return Unresolved(text, f"a variable {name!r}", hint)
            return self.variables[key]
        key = spelling(dict(self.parameters), name)
        if key is None:
            hint = "declare it in the template's parameters"
            return Unresolved(text, f"a parameter {name!r}", hint)
        declared = self.parameters[key]
        for member in ("value", "secureValue", "defaultValue"):
            if isinstance(declared, dict) and (found := spelling(declared, member)) is not None:
                return declared[found]
        return NoValue(text, name)


class _Resolution:
    """One replacement, with bounds: variables may name each other, and each of them many."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._left = _MAX_VALUES

    def value(self, value: object, depth: int) -> object:
        """depth: of lists, objects and references that lie around it."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return Unresolved(
                f"{value}"[:80],
                f"references at most {_MAX_DEPTH} deep, and {_MAX_VALUES} values of them",
                "is there a circle among the template's variables?",
            )
        if isinstance(value, dict):
            return {key: self.value(member, depth + 1) for key, member in value.items()}
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        return self._text(value, depth) if isinstance(value, str) else value

    def _text(self, text: str, depth: int) -> object:
        if text.startswith("[["):
            return text[1:]  # ARM's escape for a text that begins with a bracket
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self._referred(whole[1], whole[2], text, depth)
        inside = self._inside(text, depth)
        if inside == text and text.startswith("[") and text.endswith("]"):
            return Unresolved(
                text,
                "a value, parameters('…') or variables('…')",
                "no other function of ARM is computed here: put the result into a parameter, or "
                "write [[ if the text really begins with a bracket",
            )
        return inside

    def _inside(self, text: str, depth: int) -> object:
        """References inside a longer text; ARM itself would leave them, people mean them."""
        parts, at, size = [], 0, 0
        for match in _REFERENCE.finditer(text):
            value = self._referred(match[1], match[2], text, depth)
            if isinstance(value, Unresolved):
                return value
            parts += [text[at : match.start()], _as_text(value)]
            at = match.end()
            size += len(parts[-1])
            if size > _MAX_CHARACTERS:
                return Unresolved(
                    text,
                    f"at most {_MAX_CHARACTERS} characters",
                    "do the template's variables grow one another? write the text itself",
                )
        return "".join([*parts, text[at:]])

    def _referred(self, kind: str, name: str, text: str, depth: int) -> object:
        return self.value(self._references.lookup(kind, name, text), depth + 1)


@dataclass(frozen=True)
class NoValue(Unresolved):
    """A declared parameter that nobody gave a value: a variable of the environment may be open."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(
            text,
            f"a value for the parameter {name!r}",
            "give it in --parameters, or a defaultValue in the template",
        )


def _give(parameters: dict[str, object], given: object, place: Place) -> None:
    """Put the file's values beside the declarations."""
    values = find(given, "parameters")
    if not isinstance(values, dict) or not values:
        place.at("parameters").refuse(
            values, "values in the parameter file", 'write {"parameters": {"NAME": {"value": …}}}'
        )
        return
    for name, entry in values.items():
        key = name if name in parameters else spelling(parameters, name)
        if key is None or not (parameters[key] or place.strict):
            place.at("parameters").at(name).refuse(
                Told("a value in the parameter file"),
                "a parameter that the template declares",
                "declare it, or take it out of the parameter file",
            )
            continue
        if key != name and not place.strict:  # confcom ends in a traceback
            place.at("parameters").at(name).refuse(
                name, f"the template's spelling, {key!r}", "spell it as the template does"
            )
            continue
        parameters[key] = _with_value(parameters[key], entry, place)


def _with_value(declared: object, entry: object, place: Place) -> dict[str, object]:
    """A declaration with the value of a parameter file's entry.

    An entry may name a secret in a vault instead: no default counts then, the value is not known.
    """
    if place.strict:
        members = entry if isinstance(entry, dict) else {}
        found = spelling(members, "value") or spelling(members, "secureValue")
        return {"value": members[found]} if found else {}
    members = declared if isinstance(declared, dict) else {}
    return {**members, "value": find(entry, "value") or find(entry, "secureValue")}


def _as_text(value: object) -> str:
    """Numbers and truth values as Python writes them, as confcom does; text as it is."""
    return f"{value}"

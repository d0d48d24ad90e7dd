"""What confcom puts in place of references: one text at a time, at the end, in few fields.

Its faults are part of its bytes: the first reference of a text alone is replaced, with the blanks
in front of it; `parameters` anywhere in a text makes a parameter of it; a variable's rule is
replaced as a whole, NAME=VALUE. Other sources than templates declare nothing.
"""

from __future__ import annotations

import dataclasses
import re

from sealserve.policy.execution.complaints import Place, Told, shown
from sealserve.policy.execution.deployments.references import References
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.wanted import Process, Variable, Wanted

_REFERENCE = re.compile(r"\[(?:parameters|variables)\(\s*'([^./]+?)'\s*\)\]")
_REPLACED = re.compile(r"\s*\[\s*(?:parameters|variables)\(\s*'[^./]+?'\s*\)\]")
_SEARCHED = 16 * 1024  # characters of a text: both patterns look far ahead for each bracket
_MAX_CHARACTERS = 1024 * 1024  # of a text after replacing: no policy is longer


class StoppedError(Exception):
    """Where confcom, or our patience, ends. The arguments are what was seen and wanted."""

    def complain(self, place: Place) -> None:
        seen, wanted = self.args
        place.refuse(Told(shown(seen)), wanted, "declare it in the template's parameters")


def has_value(text: str, references: References) -> bool:
    """Whether something else comes in place of the first reference here, if there is one."""
    return _first(_REFERENCE, text) is None or _value(text, references) != text


def replaced_in(wanted: Wanted, references: References, place: Place) -> Wanted:
    """The same container after the replacement, in the fields confcom looks at."""
    try:
        return dataclasses.replace(
            wanted,
            name=_replaced(wanted.name, references),
            image=_replaced(wanted.image, references),
            command=_replaced(wanted.command, references),
            working_dir=_replaced(wanted.working_dir, references),
            variables=[_variable(entry, references) for entry in wanted.variables],
            mounts=[
                dataclasses.replace(mount, destination=_replaced(mount.destination, references))
                for mount in wanted.mounts
            ],
            processes=[
                Process(_replaced(each.command, references), _replaced(each.signals, references))
                for each in wanted.processes
            ],
        )
    except StoppedError as error:
        error.complain(place)
        return wanted


def _variable(variable: Variable, references: References) -> Variable:
    pattern = f"{_replaced(variable.pattern, references)}"
    name, _, value = pattern.partition("=")
    return dataclasses.replace(variable, name=name, value=value)


def _replaced(value: object, references: References) -> object:
    if isinstance(value, dict):
        return {key: _replaced(member, references) for key, member in value.items()}
    if isinstance(value, list):
        return [_replaced(item, references) for item in value]
    if not isinstance(value, str):
        return value
    found = _value(value, references)
    match = _first(_REPLACED, value)
    return _put(value, match[0], f"{found}") if match else found


def _put(text: str, reference: str, value: str) -> str:
    if text.count(reference) * len(value) > _MAX_CHARACTERS:
        raise StoppedError(reference, f"at most {_MAX_CHARACTERS} characters in its place")
    return text.replace(reference, value)


def _value(text: str, references: References) -> object:
    """Of the first reference; the text itself where there is none, or no value."""
    match = _first(_REFERENCE, text)
    if match is None:
        return text
    if "parameters" not in text:
        found = find(dict(references.variables), match[1])
        return text if found is None else found
    declared = find(dict(references.parameters), match[1])
    if not isinstance(declared, dict):
        raise StoppedError(text, f"a declared parameter, {shown(match[1])!r} is none")
    found = find(declared, "value" if "value" in declared else "defaultValue")
    return text if found is None else found


def _first(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return pattern.search(text, 0, _SEARCHED)

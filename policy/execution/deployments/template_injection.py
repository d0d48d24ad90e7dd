"""Puts policies into an ARM template, and leaves every other byte as it is.

The edit is checked: the new text has to read as the old one with the policies in their places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sealserve.policy.execution.deployments import json_places
from sealserve.policy.execution.deployments.json_places import Place
from sealserve.policy.execution.deployments.text_edit import Edit, applied, line_end, require_same
from sealserve.policy.execution.generate import Generated
from sealserve.policy.execution.lookup import spelling

_PROPERTIES = "confidentialComputeProperties"
_POLICY = "ccePolicy"


def into_template(text: str, policies: Sequence[Generated]) -> str:
    """The template with each group's policy, base64, where the platform looks for it."""
    document: Any = json_places.loads(text)
    whole = json_places.places(text)
    edits = [_template_edit(text, document, whole, made) for made in policies]
    changed = applied(text, edits)
    for made in policies:
        _put(document, made)
    require_same(json_places.loads(changed), document)
    return changed


def _put(document: Any, made: Generated) -> None:
    """The same edit on the value."""
    properties = _properties(document, made)
    key = spelling(properties, _PROPERTIES) or _PROPERTIES
    if not isinstance(properties.get(key), dict):
        properties[key] = {}
    inner = properties[key]
    inner[spelling(inner, _POLICY) or _POLICY] = made.base64


def _properties(document: Any, made: Generated) -> dict[str, Any]:
    resource = document
    for step in made.group.path:
        resource = resource[step]
    members: dict[str, Any] = resource[spelling(resource, "properties") or "properties"]
    return members


def _template_edit(text: str, document: Any, whole: Place, made: Generated) -> Edit:
    properties = _properties(document, made)
    resource = whole.at(made.group.path)
    place = resource.members[spelling(dict(resource.members), "properties") or "properties"]
    value = json.dumps(made.base64)
    key = spelling(properties, _PROPERTIES)
    if key is None:
        return _added(text, place, _PROPERTIES, f'{{"{_POLICY}": {value}}}', nested=True)
    inner = place.members[key]
    if not isinstance(properties[key], dict) or not properties[key]:
        return Edit(inner.start, inner.end, _object_text(text, place, value))
    present = spelling(properties[key], _POLICY)
    if present is not None:
        old = inner.members[present]
        return Edit(old.start, old.end, value)
    return _added(text, inner, _POLICY, value)


def _added(text: str, place: Place, key: str, value: str, *, nested: bool = False) -> Edit:
    """A member behind the last one, on a line of its own where the others have theirs."""
    last = max(place.members.values(), key=lambda member: member.end)
    indent = _indent(text, place)
    if nested:
        value = _object_text(text, place, value.removeprefix(f'{{"{_POLICY}": ')[:-1])
    between = ", " if indent is None else f",{line_end(text)}{indent}"
    return Edit(last.end, last.end, f'{between}"{key}": {value}')


def _object_text(text: str, place: Place, value: str) -> str:
    """An object that holds the policy, laid out as members of `place` are."""
    indent = _indent(text, place)
    if indent is None:
        return f'{{"{_POLICY}": {value}}}'
    outer = _indent_of_line(text, place.start)
    step = indent[len(outer) :] if indent.startswith(outer) and indent != outer else "  "
    end = line_end(text)
    return f'{{{end}{indent}{step}"{_POLICY}": {value}{end}{indent}}}'


def _indent(text: str, place: Place) -> str | None:
    """What stands in front of the last member, if that has a line of its own."""
    at = max(place.keys.values())
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return before if not before.strip() and "\n" in text[place.start : at] else None


def _indent_of_line(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]

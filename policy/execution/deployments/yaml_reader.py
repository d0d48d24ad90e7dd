"""YAML read with one meaning and bounded work: limits first, no aliases, no key twice.

PyYAML (MIT) scans and composes; what nodes mean is decided here. A value is text, a number, a truth
value or nothing, as confcom's safe loader reads them; dates and other types stay text.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.complaints import shown

_MEND = "mend it there; `kubectl apply --dry-run=client -f FILE` says whether it is read"
_NO_POD = "no pod is like that: is it the right file?"
MAX_YAML_BYTES = 256 * 1024  # PyYAML takes some seconds for it; a pod has a few KiB
_MAX_NODES = 20_000
_MAX_DEPTH = 48  # a CronJob's probes lie about 20 deep
_TYPED = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


@dataclass(frozen=True)
class Document:
    """value: as JSON would have it. node: the same with places in the text."""

    value: object
    node: yaml.Node


def read_documents(text: str, *, file: str = "") -> list[Document]:
    """All documents of a file, in order. Raises ConfigError with file and line."""
    if len(text.encode(errors="replace")) > MAX_YAML_BYTES:
        raise ConfigError(
            f"is longer than {MAX_YAML_BYTES} bytes", file=file, hint="give one pod a file"
        )
    try:
        _check_limits(text, file)
        nodes = [*yaml.compose_all(text, Loader=yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(
            f"not YAML: {shown(error.problem or '')}", file=file, line=line, hint=_MEND
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not YAML: {shown(str(error))}", file=file, hint=_MEND) from None
    return [Document(_value(node, file), node) for node in nodes]


def member(node: object, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value of a mapping, if the node is one that has them."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((pair for pair in pairs if pair[0].value == name), None)


def _check_limits(text: str, file: str) -> None:
    """Before anything recurses."""
    depth = count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _error(
                "an alias", event, file, "write out what it stands for: aliases can hide anything"
            )
        if isinstance(event, yaml.NodeEvent):
            count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise _error(f"nested deeper than {_MAX_DEPTH} levels", event, file, _NO_POD)
        if count > _MAX_NODES:
            raise _error(f"more than {_MAX_NODES} values", event, file, _NO_POD)


def _value(node: yaml.Node, file: str) -> object:
    if isinstance(node, yaml.MappingNode):
        return _members(node, file)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, file) for item in node.value]
    return _scalar(node, file)


def _members(node: yaml.MappingNode, file: str) -> dict[str, object]:
    members: dict[str, object] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
            raise _error("a key that is not text", key, file, "write out what it stands for")
        if key.value in members:
            hint = "leave one of them: readers differ in which counts"
            raise _error(f"key {shown(key.value)} appears twice", key, file, hint)
        members[key.value] = _value(value, file)
    return members


def _scalar(node: yaml.Node, file: str) -> object:
    if node.tag not in _TYPED:
        text: str = node.value
        if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
            hint = "write the whole character, as \\U0001F600"
            raise _error("half of a character", node, file, hint)
        return text
    try:
        made: object = yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError, LookupError, yaml.YAMLError):
        hint = "put it into quotes if it is text"
        raise _error(f"{shown(node.value)} is not a value we read", node, file, hint) from None
    return made


def _error(message: str, place: yaml.Event | yaml.Node, file: str, hint: str) -> ConfigError:
    mark = place.start_mark
    return ConfigError(message, file=file, line=mark.line + 1 if mark else 0, hint=hint)

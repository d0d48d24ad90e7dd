"""From the bytes of a deployment's files to its pieces. Opens nothing; raises ConfigError alone.

What a file is, its name and its content say together: a folder holds other JSON and TOML as well.
"""

from __future__ import annotations

import tomllib
from typing import Any, Literal

from sealserve.native.errors import ConfigError
from sealserve.policy.deployment.pieces import Commands, Template
from sealserve.policy.execution import policy_file
from sealserve.policy.execution.complaints import Complaints
from sealserve.policy.execution.deployments import json_places
from sealserve.policy.execution.deployments.references import References
from sealserve.policy.execution.deployments.template import read_template
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.values import texts
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.normal import entries
from sealserve.policy.execution.policy_file import PolicyFile
from sealserve.policy.execution.wanted import Group

Kind = Literal["template", "parameters", "policy", "release_policy", "trust", "sealed", "other"]

_BY_NAME: dict[str, Kind] = {".rego": "policy", ".sealed": "sealed"}


def kind_by_name(name: str) -> Kind | None:
    """What a file is by its name alone; None where its content decides."""
    suffix = name.lower()[name.rfind(".") :] if "." in name else ""
    return None if suffix in (".json", ".toml") else _BY_NAME.get(suffix, "other")


def kind_by_content(data: bytes, *, file: str) -> Kind:
    """What a file in JSON or TOML is. Raises ConfigError for what is neither."""
    return _toml_kind(data, file) if file.lower().endswith(".toml") else _json_kind(data, file)


def _toml_kind(data: bytes, file: str) -> Kind:
    """A trust file has tables that no other file of ours has."""
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError("is not TOML", file=file) from error
    return "trust" if {"platform", "software"} & document.keys() else "other"


def _json_kind(data: bytes, file: str) -> Kind:
    document = json_places.read(data, file=file)
    if not isinstance(document, dict):
        return "other"
    if find(document, "resources") is not None:
        return "template"
    if "anyOf" in document:
        return "release_policy"
    return "parameters" if "parameters" in document else "other"


def template(data: bytes, given: bytes | None, *, file: str, group: str = "") -> Template:
    """One group of a template. given: the parameter file.

    group: its name, where there are several. Raises ConfigError for a group without a policy, for
    a container that cannot be read, and where it is not clear which group is meant.
    """
    carried = policy_file.read_all(data, file=file)
    complaints = Complaints(strict=True)
    document = json_places.read(data, file=file)
    values = None if given is None else json_places.read(given, file=file)
    groups = read_template(document, values, complaints, lambda _: True)
    complaints.check(file)
    if len(groups) != len(carried):
        raise ConfigError("has a group inside another resource, which is not read here", file=file)
    pairs = [
        (policy, entry)
        for policy, entry in zip(carried, groups, strict=True)
        if group in ("", policy.group, entry.name)
    ]
    if len(pairs) != 1:
        names = ", ".join(entry.name for entry in groups)
        raise ConfigError(
            f"has {len(pairs)} groups that are meant, of {names}",
            file=file,
            hint="choose one with --group",
        )
    policy, entry = pairs[0]
    resource = _resource(document, entry)
    references = References.read(document, values, complaints.place(""))
    sku = references.resolved(find(find(resource, "properties"), "sku"))
    return Template(
        policy=policy,
        sku=sku.lower() if isinstance(sku, str) else "",
        identity=isinstance(find(resource, "identity"), dict),
        commands=_written(entry),
        allowed=_allowed(policy),
    )


def commands(policy: PolicyFile) -> Commands:
    """What each container of a policy starts with. Raises ConfigError for one that is no data."""
    containers = entries(Policy.parse(policy.text, file=policy.where))
    return tuple(
        (
            each.name if isinstance(each.name, str) else each.label,
            tuple(texts(each.field("command")) or ()),
        )
        for each in containers
    )


def _allowed(policy: PolicyFile) -> Commands | None:
    try:
        return commands(policy)
    except ConfigError:  # whoever asks for the commands of the deployed policy is told
        return None


def _written(group: Group) -> Commands:
    return tuple(
        (str(wanted.name), tuple(map(str, wanted.command)))
        for wanted in group.containers
        if isinstance(wanted.command, list)
    )


def _resource(document: object, group: Group) -> object:
    found: Any = document
    for step in group.path:
        found = found[step]
    return found

"""How a newer guest reads an older policy: known fields only, and values for what came later.

hcsshim framework.rego, "backwards compatibility". An object that lacks a field it should have
vanishes without a word, which is why `lost` exists: it says which field that was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, Fields, items, member

_ALWAYS = (
    "command",
    "env_rules",
    "layers",
    "mounts",
    "allow_elevated",
    "working_dir",
    "exec_processes",
    "allow_stdio_access",
)
_ANYBODY: Fields = {"pattern": "", "strategy": "any"}
# What a policy from before this framework version means by its silence.
_SINCE: Mapping[str, tuple[str, object]] = {
    "no_new_privileges": ("0.2.0", False),
    "user": (
        "0.2.1",
        {"group_idnames": [_ANYBODY], "umask": "0022", "user_idname": _ANYBODY},
    ),
    "capabilities": ("0.2.2", None),
    "seccomp_profile_sha256": ("0.2.3", ""),
}
# Until here a stopped container was killed without asking: these signals were always possible.
SIGNALS_LISTED = "0.4.1"
ALWAYS_SENT = (9, 15)
MAX_NAME = 80  # characters of a container's name in its label

Fill = Callable[[object, str], Fields]


def container(raw: object, version: str) -> Fields:
    """Every field of a container; UNDEFINED where one is missing."""
    filled: Fields = {name: member(raw, name) for name in _ALWAYS}
    filled["signals"] = _signals(raw, version)
    for name, (since, before) in _SINCE.items():
        filled[name] = before if versions.below(version, since) else member(raw, name)
    return filled


def external_process(raw: object, _version: str) -> Fields:
    """Every field of an external process; UNDEFINED where one is missing."""
    names = ("command", "env_rules", "working_dir", "allow_stdio_access")
    return {name: member(raw, name) for name in names}


def fragment(raw: object, _version: str) -> Fields:
    """Every field of a fragment's entry; what only ever restricts counts in any version."""
    return {
        **{name: member(raw, name) for name in ("issuer", "feed", "minimum_svn", "includes")},
        "required_receipts": _or_else(member(raw, "required_receipts"), []),
        "parameters": _or_else(member(raw, "parameters"), {}),
    }


def filled(key: str, raw: object, version: object, fill: Fill) -> list[Candidate] | None:
    """The objects of a list as this guest reads them; None if it reads none of that version.

    key: what the list is called, for the names of what stands in it.
    """
    order = versions.compare(version, versions.FRAMEWORK_VERSION)
    if order is None or order > 0:
        return None
    made = []
    for index, item in enumerate(items(raw)):
        fields = item if order == 0 else fill(item, str(version))
        if isinstance(fields, dict) and UNDEFINED not in fields.values():
            made.append(Candidate(label(key, index, item), fields))
    return made


def label(key: str, index: int, raw: object) -> str:
    """What people call one object of a list: its place, and its name if it has one."""
    for field in ("name", "id", "feed"):
        name = member(raw, field)
        if isinstance(name, str) and name:
            return f"{key}[{index}] ({name[:MAX_NAME]})"
    return f"{key}[{index}]"


def lost(raw: object, version: object) -> list[str]:
    """Fields for whose lack a container of an older policy counts as not there."""
    if not versions.below(version, versions.FRAMEWORK_VERSION):
        return []
    fields = container(raw, str(version))
    return [name for name, value in fields.items() if value is UNDEFINED]


def since(name: str, version: object, value: object) -> object:
    """A rule that means nothing in policies from before it was invented."""
    return value if versions.at_least(version, name) else UNDEFINED


def _signals(raw: object, version: str) -> object:
    signals = member(raw, "signals")
    if not versions.below(version, SIGNALS_LISTED):
        return signals
    return [*signals, *ALWAYS_SENT] if isinstance(signals, list) else UNDEFINED


def _or_else(value: object, default: object) -> object:
    return default if value is UNDEFINED else value

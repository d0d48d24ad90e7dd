"""The execution policy of one process: what `generate --process` writes and the simulator enforces.

A policy in confcom's text with one container and nothing else in play: the command, the working
directory, the user and the environment rules are free, every other field has one value. Whatever
the profile does not fix has no meaning for a process (layers, mounts) or would loosen it (debug
flags).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sealserve.native.errors import ConfigError, printable
from sealserve.policy.execution import environment
from sealserve.policy.execution.environment import EnvRule
from sealserve.policy.execution.patterns import UnusableError, as_guest, compiled
from sealserve.policy.execution.platform import any_user
from sealserve.policy.execution.start import UMASK, Decider, Start, User
from sealserve.policy.execution.text import (
    API_VERSION,
    FRAMEWORK_VERSION,
    MAX_POLICY_BYTES,
    NORMAL_FLAGS,
    Fields,
    PolicyText,
    parse,
)

# For people and tools; the framework ignores both (hcsshim pkg/securitypolicy/framework.rego).
_LABEL = "process"

_PROFILE: Mapping[str, object] = {
    "allow_elevated": False,
    "allow_stdio_access": True,
    "capabilities": None,
    "exec_processes": [],
    "layers": [],
    "mounts": [],
    "no_new_privileges": False,
    "seccomp_profile_sha256": "",
    "signals": [],
}
_OTHER_START = (
    "start exactly what the policy says, or write a policy for this start with "
    "`sealserve policy generate --process`: clients and keys then have to accept it"
)
_MAX_SHOWN = 300  # characters of a value: a policy may have a megabyte
_FREE = frozenset({"command", "env_rules", "working_dir", "user", "id", "name"})


@dataclass(frozen=True)
class ExecutionPolicy:
    """One process that may run. `sha256` is what HOST_DATA will hold."""

    text: bytes
    command: tuple[str, ...]
    env_rules: tuple[EnvRule, ...]
    working_dir: str

    @classmethod
    def parse(cls, data: bytes, *, file: str = "") -> ExecutionPolicy:
        """Read a policy of the process profile.

        Raises ConfigError that names file, line and key for any other text or value. A policy with
        patterns needs google-re2.
        """
        text = parse(data, file=file)
        place = _Place(file, 1 + data[: data.find(b"\ncontainers :=")].count(b"\n") + 1)
        _check_head(text, file)
        if len(text.containers) != 1:
            raise place.error(f"{len(text.containers)} containers; a process policy has one", "")
        container = text.containers[0]
        _check_profile(container, place)
        _check_user(container, place)
        return cls(
            text=data,
            command=_command(container, place),
            env_rules=_env_rules(container, place),
            working_dir=_working_dir(container, place),
        )

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the exact bytes of the text: 32 bytes."""
        return hashlib.sha256(self.text).digest()

    def may_start(
        self,
        command: Sequence[str],
        environment_: Mapping[str, str],
        working_dir: str,
        user: User,
    ) -> Mapping[str, str]:
        """Ask what a guest would do with this start; a process is a container without layers.

        Returns the environment the process may have: variables that match no rule are dropped.
        Raises PolicyViolation with every condition that failed, both sides; a variable's value is
        never quoted.
        """
        start = Start(command, environment_, working_dir, user)
        return Decider.parse(self.text).ask(start, hint=_OTHER_START).environment


def generate_process(
    command: Sequence[str], *, env_rules: Sequence[str | EnvRule] = (), working_dir: str = "/"
) -> bytes:
    """Write the policy under which exactly `command` may run, as bytes whose SHA-256 is HOST_DATA.

    env_rules: `NAME=VALUE`, `re2:PATTERN` (anchors are added), or rules; PATH, TERM and their like
    are not added. Raises ConfigError for what could never start.
    """
    rules = [environment.rule(entry) if isinstance(entry, str) else entry for entry in env_rules]
    container: Fields = {
        **_PROFILE,
        "command": list(command),
        "env_rules": [entry.fields() for entry in rules],
        "id": _LABEL,
        "name": _LABEL,
        "user": any_user(),
        "working_dir": working_dir,
    }
    for check in (_command, _env_rules, _working_dir):
        check(container, _Place("", 0))
    if repeated := _first_repeated(rules):
        raise ConfigError(
            f"{repeated.pattern!r} is given twice", key="env_rules", hint="once is enough"
        )
    text = PolicyText(containers=[container]).encode()
    if len(text) > MAX_POLICY_BYTES:
        raise ConfigError(
            f"a policy of {len(text)} bytes; at most {MAX_POLICY_BYTES} are read",
            hint="allow fewer variables",
        )
    return text


@dataclass(frozen=True)
class _Place:
    """Where the container stands, for messages."""

    file: str
    line: int

    def error(self, message: str, key: str, *, hint: str = "") -> ConfigError:
        path = f"containers[0].{_shown(key)}" if key else "containers"
        return ConfigError(message, file=self.file, line=self.line, key=path, hint=hint)

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Say where unusable text stands."""
        try:
            yield
        except UnusableError as error:
            raise self.error(_shown(str(error)), key, hint=error.hint) from None


def _check_head(text: PolicyText, file: str) -> None:
    wanted: Mapping[str, object] = {
        "api_version": API_VERSION,
        "framework_version": FRAMEWORK_VERSION,
        "fragments": [],
        **NORMAL_FLAGS,
    }
    seen: Mapping[str, object] = {
        "api_version": text.api_version,
        "framework_version": text.framework_version,
        "fragments": list(text.fragments),
        **text.flags,
    }
    for key, value in seen.items():
        if key not in wanted or _json(value) != _json(wanted[key]):
            raise ConfigError(
                f"seen {_shown(_json(value))}; a process policy has {_json(wanted.get(key))}",
                file=file,
                key=key,
            )


def _check_profile(container: Fields, place: _Place) -> None:
    for key in sorted(container.keys() - _PROFILE.keys() - _FREE):
        raise place.error("not a field of a process policy", key)
    for key, value in _PROFILE.items():
        if key not in container:
            raise place.error("missing", key)
        if _json(container[key]) != _json(value):  # as JSON: 0 is not false
            raise place.error(
                f"seen {_shown(_json(container[key]))}; a process policy has {_json(value)}", key
            )
    for key in ("id", "name"):
        if not isinstance(container.get(key, ""), str):
            raise place.error("expected text", key)


def _command(container: Fields, place: _Place) -> tuple[str, ...]:
    command = container.get("command")
    if not isinstance(command, list) or not command or not _all_text(command):
        raise place.error(
            f"seen {_shown(_json(command))}; expected a list of words, the program first",
            "command",
            hint="without a command nothing could ever start",
        )
    with place.at("command"):
        for word in command:
            environment.check_text(word)
    if not command[0]:
        raise place.error("the program's name is empty", "command")
    return tuple(command)


def _env_rules(container: Fields, place: _Place) -> tuple[EnvRule, ...]:
    rules = container.get("env_rules")
    if not isinstance(rules, list):
        raise place.error("expected a list", "env_rules")
    return tuple(_env_rule(entry, index, place) for index, entry in enumerate(rules))


def _env_rule(entry: object, index: int, place: _Place) -> EnvRule:
    key = f"env_rules[{index}]"
    if not isinstance(entry, dict) or entry.keys() != {"pattern", "required", "strategy"}:
        raise place.error("expected pattern, required and strategy, nothing else", key)
    if entry["strategy"] not in ("string", "re2"):
        raise place.error(
            f"seen {_shown(_json(entry['strategy']))}; string or re2", f"{key}.strategy"
        )
    if not isinstance(entry["required"], bool):
        raise place.error("expected true or false", f"{key}.required")
    if not isinstance(entry["pattern"], str):
        raise place.error("expected text", f"{key}.pattern")
    made = EnvRule(entry["pattern"], entry["strategy"], entry["required"])
    with place.at(f"{key}.pattern"):
        environment.check(made)
    return made


def _working_dir(container: Fields, place: _Place) -> str:
    working_dir = container.get("working_dir")
    if not isinstance(working_dir, str) or not working_dir.startswith("/"):
        raise place.error(
            f"seen {_shown(_json(working_dir))}; expected an absolute path", "working_dir"
        )
    with place.at("working_dir"):
        environment.check_text(working_dir)
    return working_dir


def _check_user(container: Fields, place: _Place) -> None:
    user = container.get("user")
    if not isinstance(user, dict) or user.keys() != {"group_idnames", "umask", "user_idname"}:
        raise place.error("expected group_idnames, umask and user_idname, nothing else", "user")
    if user["umask"] != UMASK:
        seen = _shown(_json(user["umask"]))
        raise place.error(f"seen {seen}; a process starts with {UMASK}", "user.umask")
    groups = user["group_idnames"]
    if not isinstance(groups, list):
        raise place.error("expected a list", "user.group_idnames")
    _check_person(user["user_idname"], "user.user_idname", place)
    for index, group in enumerate(groups):
        _check_person(group, f"user.group_idnames[{index}]", place)


def _check_person(entry: object, key: str, place: _Place) -> None:
    if not isinstance(entry, dict) or entry.keys() != {"pattern", "strategy"}:
        raise place.error("expected pattern and strategy, nothing else", key)
    if entry["strategy"] not in ("any", "id", "name", "re2"):
        seen = _shown(_json(entry["strategy"]))
        raise place.error(f"seen {seen}; any, id, name or re2", f"{key}.strategy")
    if not isinstance(entry["pattern"], str):
        raise place.error("expected text", f"{key}.pattern")
    if entry["strategy"] == "re2":
        with place.at(f"{key}.pattern"):
            compiled(as_guest(entry["pattern"]))


def _first_repeated(rules: Sequence[EnvRule]) -> EnvRule | None:
    return next((entry for index, entry in enumerate(rules) if entry in rules[:index]), None)


def _all_text(items: Sequence[object]) -> bool:
    return all(isinstance(item, str) for item in items)


def _json(value: object) -> str:
    """For messages and comparison; half characters from a command line must not raise here."""
    return json.dumps(value, sort_keys=True)


def _shown(text: str) -> str:
    """A policy is somebody else's: no word of it may fill a screen or move a cursor."""
    kept = printable(text[:_MAX_SHOWN])
    return kept if len(text) <= _MAX_SHOWN else f"{kept}…"

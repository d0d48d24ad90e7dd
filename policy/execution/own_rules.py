"""Policies with rules of their own: what a guest does around the engine that runs them.

Such a policy is a program. The steps around it are the guest's (hcsshim pkg/securitypolicy,
securitypolicyenforcer_rego.go, and internal/regopolicyinterpreter for what it remembers):

    1. what the policy says of the point
    2. nothing, although its API version has the point: an error, and denied
    3. nothing, and older than the point: the default, or the framework's rule where it is asked
    4. what comes back as `metadata` is remembered; denied: the policy is asked for the reason

The rules themselves are run by an engine that is not the guest's (`rego_engine`).
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.framework import Check, Considered, Decision, versions
from sealserve.policy.execution.framework.guest import DATA, Guest
from sealserve.policy.execution.framework.points import POINTS, Point
from sealserve.policy.execution.framework.values import UNDEFINED, Fields, items, member, shown
from sealserve.policy.execution.rego_engine import Engine, EngineError
from sealserve.policy.execution.requests import Requests, Step
from sealserve.policy.execution.simulation import Answer

MAX_STEPS: Final = 1000  # each is two processes that read the policy, a tenth of a second in all
MAX_FRAMEWORK_BYTES: Final = 1024 * 1024  # the real one has 60 KB

_FRAMEWORK = re.compile(rb"\bdata\s*\.\s*framework\b|\bdata\s*\[\s*[\"`]framework[\"`]")
_FRAMEWORK_PACKAGE = re.compile(r"\s*(?:#[^\n]*\n\s*)*package\s+framework\s*\n")
_VERSION_MARK: Final = "@@FRAMEWORK_VERSION@@"  # what hcsshim's build puts its version for


def modules(policy: bytes, framework: bytes | None, *, file: str = "") -> dict[str, str]:
    """The modules of one guest, by name. framework: its framework.rego, None without one.

    Raises ConfigError for bytes that are no text or no such module, and for a policy that asks the
    framework where there is none.
    """
    if framework is None and _FRAMEWORK.search(policy):
        raise ConfigError(
            "has rules of its own beside the framework's, whose text is not here",
            file=file,
            hint=f"give the guest's framework.rego with --framework: pkg/securitypolicy of "
            f"microsoft/hcsshim, version {versions.FRAMEWORK_VERSION} of the framework",
        )
    found = {"policy.rego": _text(policy, file)}
    if framework is not None:
        found["framework.rego"] = _framework(framework)
    return found


def _framework(data: bytes) -> str:
    text = _text(data, "--framework")
    if not _FRAMEWORK_PACKAGE.match(text):
        raise ConfigError(
            "is not the framework: seen no `package framework` at its beginning",
            file="--framework",
            hint="framework.rego of microsoft/hcsshim, pkg/securitypolicy",
        )
    return text.replace(_VERSION_MARK, versions.FRAMEWORK_VERSION)


def _text(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", file=file, hint="save it as UTF-8") from None


def simulate(
    engine: Engine, requests: Requests, *, framework: bool, file: str = ""
) -> list[Answer]:
    """Ask every request in order. framework: whether the policy is read beside the framework.

    file: the policy's, for errors. Raises ConfigError for what the engine cannot read, for more
    steps than `MAX_STEPS`, for one with a fragment, and for a policy of another framework version
    than this guest's beside the framework.
    """
    if len(requests.steps) > MAX_STEPS:
        raise ConfigError(
            f"{len(requests.steps)} steps; at most {MAX_STEPS} are asked of {engine.name}",
            key="steps",
            hint="ask in several files, each from the guest's start on",
        )
    for index, step in enumerate(requests.steps):
        _require_no_fragment(index, step)
    guest = OwnGuest(engine, requests.guest)
    guest.require_readable(file)
    if framework:
        guest.require_framework_version(file)
    return [
        Answer(index, step, guest.ask(step.point, step.request))
        for index, step in enumerate(requests.steps)
    ]


def _require_no_fragment(index: int, step: Step) -> None:
    if step.fragment is not None:
        raise ConfigError(
            "a fragment cannot be loaded under a policy with rules of its own here",
            key=f"steps[{index}]",
            hint="leave this step out: only the guest's own engine can load a fragment into it",
        )


@dataclass
class OwnGuest:
    """One guest under one policy of its own rules, and what it remembers."""

    engine: Engine
    guest: Guest
    remembered: dict[str, object] = field(
        default_factory=lambda: {"operatingsystem": {"ostype": "linux"}}
    )

    def require_readable(self, file: str) -> None:
        """Raises ConfigError for what the engine refuses as a whole."""
        try:
            _ = self.api_version
        except EngineError as error:
            raise ConfigError(
                f"{self.engine.name} cannot read it either: {error}",
                file=file,
                hint="is it Rego at all? `opa check` says what is wrong with it",
            ) from error

    def require_framework_version(self, file: str) -> None:
        """Whatever fills older policies compares versions, which this engine does not do right.

        It would let through what a guest denies. Raises ConfigError.
        """
        seen = self._version("framework_version", "framework_svn")
        if seen != versions.FRAMEWORK_VERSION:
            raise ConfigError(
                f"seen {shown(seen)}; beside the framework, {self.engine.name} is only asked of "
                f"policies of {versions.FRAMEWORK_VERSION!r}, because it compares versions wrongly",
                file=file,
                key="framework_version",
                hint="write the policy for this framework version, or ask a guest",
            )

    def ask(self, name: str, request: Fields) -> Decision:
        """Decide one request; what the engine cannot answer is denied."""
        try:
            return self._ask(name, request)
        except EngineError as error:
            return self._error(name, f"{self.engine.name}: {error}")

    def _ask(self, name: str, request: Fields) -> Decision:
        point, version = POINTS.get(name), self.api_version
        if version is UNDEFINED:
            return self._error(name, "policy does not define api_version")
        if point is None or not versions.is_semver(version):
            return self._error(name, "unknown enforcement point")
        said = self._query(f"data.policy.{name}", request)
        if said is not UNDEFINED:
            return self._decided(name, request, {**point.defaults(), **_object(said)}, "policy")
        if versions.at_least(version, point.since):
            return self._error(name, "rule is missing from policy")
        return self._older(name, point, request)

    def _older(self, name: str, point: Point, request: Fields) -> Decision:
        """The policy was written before there was this point."""
        if point.older != "framework":
            return self._decided(name, request, point.defaults(), "default")
        said = self._query(f"data.framework.{name}", request)
        if said is UNDEFINED:
            return self._error(name, f"left to data.framework.{name}; --framework brings its text")
        return self._decided(name, request, _object(said), "framework")

    def _decided(self, name: str, request: Fields, result: Fields, source: str) -> Decision:
        operations = result.pop("metadata", [])
        problem = self._remember(operations)
        if problem:
            return self._error(name, problem)
        allowed = result.pop("allowed", None)
        if not isinstance(allowed, bool):
            return self._error(name, "the rule's value has no allowed")
        reasons = () if allowed else self._reasons(name, request)
        return Decision(
            point=name,
            allowed=allowed,
            source=source,  # type: ignore[arg-type]
            rule=self._says(name, source),
            result=result,
            reasons=reasons,
            considered=() if allowed else self._considered(name, "allowed is false"),
        )

    def _reasons(self, name: str, request: Fields) -> tuple[str, ...]:
        """The guest denies without a reason where the policy has none to tell."""
        try:
            told = self._query("data.policy.reason", {**request, "rule": name})
        except EngineError:
            return ()
        return tuple(text for text in items(member(told, "errors")) if isinstance(text, str))

    def _remember(self, operations: object) -> str:
        """Change what is remembered, all of it or nothing; what is wrong with it, or ""."""
        if not isinstance(operations, list):
            return "the rule's metadata is no list"
        changed = copy.deepcopy(self.remembered)
        for each in operations:
            problem = _change(changed, each)
            if problem:
                return f"metadata: {problem}"
        self.remembered = changed
        return ""

    @cached_property
    def api_version(self) -> object:
        """As the policy says, UNDEFINED where it does not. Raises EngineError."""
        return self._version("api_version", "api_svn")

    def _version(self, name: str, deprecated: str) -> object:
        found = (self._query(f"data.policy.{each}", {}) for each in (name, deprecated))
        return next((each for each in found if each is not UNDEFINED), UNDEFINED)

    def _query(self, query: str, request: Fields) -> object:
        data: Fields = {name: _plain(getattr(self.guest, ours)) for name, ours in DATA.items()}
        return self.engine.ask(query, request, {**data, "metadata": self.remembered})

    def _says(self, name: str, source: str) -> str:
        if source == "default":
            return f"the default of {name}, for a policy that is older than the point"
        whose = f"data.framework.{name}" if source == "framework" else f"the policy's rule {name}"
        return f"{whose}, run by {self.engine.name}: not the guest's own engine"

    def _error(self, name: str, message: str) -> Decision:
        return Decision(
            point=name,
            allowed=False,
            source="",
            rule=self._says(name, "policy"),
            result={},
            policy_error=message,
            considered=self._considered(name, message),
        )

    def _considered(self, name: str, seen: str) -> tuple[Considered, ...]:
        hint = f"read the rule {name} of the policy: nothing here can say which of its terms failed"
        return (Considered("", (Check(name, False, seen, "allowed is true", hint),)),)


def _object(value: object) -> Fields:
    """A rule's value, nothing where it is no object."""
    return dict(value) if isinstance(value, dict) else {}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _change(remembered: dict[str, object], operation: object) -> str:
    """One operation on a map (or, with its type, a set): what is wrong with it, or ""."""
    name, action = member(operation, "name"), member(operation, "action")
    kind = member(operation, "type")
    if not isinstance(name, str) or action not in ("add", "update", "remove"):
        return "an operation without name and action"
    if kind not in (UNDEFINED, "map"):
        return f"an operation on a {shown(kind)}, which only fragments make"
    key, value = member(operation, "key"), member(operation, "value")
    entries = remembered.setdefault(name, {})
    if not isinstance(key, str) or not isinstance(entries, dict):
        return f"an operation on {name} without a key"
    if action == "remove":
        entries.pop(key, None)
        return ""
    if value is UNDEFINED:
        return f"{name}[{key}] without a value"
    if action == "add" and key in entries:
        return f"{name}[{key}] is there already"
    entries[key] = value
    return ""

"""A policy as the framework reads it: versions, flags, lists, and what each point is bound to."""

from __future__ import annotations

from collections.abc import Iterator

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import rego
from sealserve.policy.execution.framework import fill, versions
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, holds, items, member
from sealserve.policy.execution.rego import Binding, Module, Parameter

PACKAGE = "policy"
_REASONS = ("errors", "error_objects", "reason")
_CAPABILITY_DROPPING = "allow_capability_dropping"
PLATFORM_RULES = "platform_rules"
TRUST_LISTS = "transparency_trust_lists"
# What the framework reads out of a policy, and can therefore not be asked for.
_DATA = frozenset(
    {"api_version", "api_svn", "framework_version", "framework_svn", PLATFORM_RULES, TRUST_LISTS}
    | {"containers", "fragments", "external_processes"}
)
_NEWEST = "0.5.0"  # the framework that brought the two above


class Policy:
    """What one policy text says; it knows no request."""

    def __init__(self, module: Module) -> None:
        """Raises ConfigError for a module that is no policy, or not data alone."""
        if module.package != PACKAGE:
            raise ConfigError(
                f"seen package {module.package[:60]!r}; a policy is package 'policy'",
                file=module.file,
                line=1,
                hint="a fragment is judged by the policy that imports it",
            )
        self.module = module
        _require_data(module)

    @classmethod
    def parse(cls, data: bytes, *, file: str = "") -> Policy:
        """Read a policy in any layout that is data. Raises ConfigError with file and line."""
        return cls(rego.parse(data, file=file))

    def rule(self, name: str) -> object:
        """The value of a rule, UNDEFINED where the text has none."""
        found = self.module.rules.get(name)
        return UNDEFINED if found is None else found.value

    @property
    def api_version(self) -> object:
        """None where it is missing."""
        return self._version("api_version", "api_svn")

    @property
    def framework_version(self) -> object:
        """None where it is missing."""
        return self._version("framework_version", "framework_svn")

    def _version(self, name: str, deprecated: str) -> object:
        found = (self.rule(name), self.rule(deprecated))
        return next((value for value in found if value is not UNDEFINED), None)

    def allows(self, flag: str) -> bool:
        """Whether a flag is set; dropping capabilities means something from 0.2.2 on."""
        if flag == _CAPABILITY_DROPPING and not versions.at_least(self.framework_version, "0.2.2"):
            return False
        return holds(self.rule(flag))

    def containers(self) -> list[Candidate]:
        """Those this guest reads; none of a policy that is ahead of it."""
        return self._filled("containers", fill.container)

    def fragments(self) -> list[Candidate]:
        """Entries of the list of fragments that may be loaded."""
        return self._filled("fragments", fill.fragment)

    def external_processes(self) -> list[Candidate]:
        """Processes beside the containers."""
        return self._filled("external_processes", fill.external_process)

    def platform_rules(self) -> list[object]:
        """Environment rules and mounts for every container."""
        return items(fill.since(_NEWEST, self.framework_version, self.rule(PLATFORM_RULES)))

    def trust_lists(self) -> list[object]:
        """Entries of the list of transparency trust lists."""
        return items(fill.since(_NEWEST, self.framework_version, self.rule(TRUST_LISTS)))

    def vanished(self) -> list[tuple[str, list[str]]]:
        """Containers that this guest does not see, each with the fields it misses in them."""
        found = [
            (fill.label("containers", index, raw), fill.lost(raw, self.framework_version))
            for index, raw in enumerate(items(self.rule("containers")))
        ]
        return [(label, fields) for label, fields in found if fields]

    def layers(self) -> Iterator[object]:
        """Every layer of every container, those that this guest does not read included."""
        for container in items(self.rule("containers")):
            yield from items(member(container, "layers"))

    def _filled(self, name: str, how: fill.Fill) -> list[Candidate]:
        return fill.filled(name, self.rule(name), self.framework_version, how) or []

    def reasons(self, framework: list[str]) -> list[str]:
        """The texts a denial carries; framework: what the built-in rules would say."""
        reason = self.rule("reason")
        errors = member(reason, "errors")
        if Binding("reason") == reason or Binding("errors") == errors:
            return framework
        return [text for text in items(errors) if isinstance(text, str)]


def is_binding_to(value: object, point: str) -> bool:
    """Whether a point is left to the framework's rule of the same name."""
    return value == Binding(point)


def _require_data(module: Module) -> None:
    for name, rule in module.rules.items():
        for used in references(rule.value):
            if not _may_use(name, rule.value, used):
                raise rego.OwnRulesError(
                    f"is computed from {_told(used)}, not data",
                    file=module.file,
                    line=rule.line,
                    key=name,
                    hint=rego.OWN_RULES,
                )


def _may_use(name: str, value: object, used: Binding | Parameter) -> bool:
    """Whether a rule of this name is bound to the framework's, or gives its reasons."""
    if not isinstance(used, Binding) or name in _DATA or name.startswith("allow_"):
        return False
    if name == "reason":
        return used.name in _REASONS
    return used is value and used.name == name


def references(value: object) -> Iterator[Binding | Parameter]:
    """Everything in a value that is not data itself."""
    if isinstance(value, Binding | Parameter):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from references(inner)


def _told(used: Binding | Parameter) -> str:
    if isinstance(used, Parameter):
        return f"parameter({used.name[:60]!r})"
    return f"data.framework.{used.name[:60]}"

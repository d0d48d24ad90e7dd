"""The guest's agent asking a policy: point by point, with what it remembers in between.

    1. what the policy says of the point
    2. nothing, although its API version has the point: an error, and denied
    3. nothing, and older than the point: the default, or the framework's rule where it is asked
    4. allowed: what the guest remembers changes; denied: the policy is asked for the reason

hcsshim pkg/securitypolicy, securitypolicyenforcer_rego.go and framework.rego.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import patterns, rego
from sealserve.policy.execution.framework import (
    containers,
    flags,
    fragment_reasons,
    fragments,
    mounting,
    reasons,
    trust_lists,
    unasked,
    versions,
)
from sealserve.policy.execution.framework.checks import Considered, Outcome
from sealserve.policy.execution.framework.fragments import Loaded
from sealserve.policy.execution.framework.guest import Guest
from sealserve.policy.execution.framework.points import POINTS, Point
from sealserve.policy.execution.framework.policy import Policy, is_binding_to
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.values import UNDEFINED, Fields, shown
from sealserve.policy.execution.framework.world import World

Source = Literal["policy", "framework", "default", ""]
Rule = Callable[[Question], Outcome]

LOAD_FRAGMENT = "load_fragment"
# Packages that the guest keeps for itself (hcsshim: parseNamespace).
_RESERVED_PACKAGES = ("framework", "api", "policy", "metadata")

RULES: Mapping[str, Rule] = {
    "mount_device": mounting.mount_device,
    "mount_overlay": mounting.mount_overlay,
    "create_container": containers.create_container,
    "unmount_device": mounting.unmount_device,
    "exec_in_container": containers.exec_in_container,
    "exec_external": containers.exec_external,
    "shutdown_container": containers.shutdown_container,
    "signal_container_process": containers.signal_container_process,
    "unmount_overlay": mounting.unmount_overlay,
    "plan9_mount": mounting.plan9_mount,
    "plan9_unmount": mounting.plan9_unmount,
    "get_properties": flags.get_properties,
    "dump_stacks": flags.dump_stacks,
    "runtime_logging": flags.runtime_logging,
    "scratch_mount": mounting.scratch_mount,
    "scratch_unmount": mounting.scratch_unmount,
    "rw_mount_device": mounting.rw_mount_device,
    "rw_unmount_device": mounting.rw_unmount_device,
    "mount_blockdev": mounting.no_block_devices,
    "unmount_blockdev": mounting.no_block_devices,
    "load_transparency_trust_list": trust_lists.load_trust_list,
    "host_network": flags.host_network,
    **{name: flags.windows_only for name, point in POINTS.items() if point.windows},
}


@dataclass(frozen=True)
class Decision:
    """The answer to one request.

    source: who gave it; "" if nobody could. rule: which rule that was, in words. result: what comes
    back beside `allowed`. reasons: the guest's words for a denial. policy_error: why the policy
    could not be asked. considered: every candidate with its conditions.
    """

    point: str
    allowed: bool
    source: Source
    rule: str
    result: Mapping[str, object]
    reasons: tuple[str, ...] = ()
    policy_error: str = ""
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True)
class Fragment:
    """A fragment that a host hands in, its signature checked.

    header_svn: the version in its signed header, None where that has none. receipts: objects with
    issuer and ttl_subjects, of those that were found valid.
    """

    text: str
    issuer: str
    feed: str
    header_svn: object = None
    receipts: tuple[object, ...] = ()


@dataclass(frozen=True)
class FragmentDecision:
    """The answer to a fragment: asked first without its text, then once per set of parameters.

    check: None if the text is no module at all. loads: up to the first that was denied.
    """

    allowed: bool
    check: Decision | None
    parameters: tuple[object, ...] = ()
    loads: tuple[Decision, ...] = ()
    policy_error: str = ""


class Enforcer:
    """One guest under one policy. Requests change what it remembers, as in a guest."""

    def __init__(self, policy: Policy, guest: Guest | None = None) -> None:
        """Raises ConfigError where patterns cannot be matched, google-re2 being absent."""
        try:
            patterns.require_engine()
        except patterns.UnusableError as error:
            raise ConfigError(str(error), hint=error.hint) from error
        self._world = World(policy, guest or Guest())

    def ask(self, point: str, request: Fields) -> Decision:
        """Decide one request. Fragments have a text and are asked with `load`."""
        return self._ask(point, request, RULES.get(point, flags.windows_only), None)

    def load(self, fragment: Fragment) -> FragmentDecision:
        """Decide a fragment.

        Raises ConfigError for one that is admitted and has rules of its own.
        """
        package = _package(fragment.text)
        if not package or package in _RESERVED_PACKAGES:
            return FragmentDecision(False, None, policy_error=_namespace_error(package))
        request: Fields = {
            "issuer": fragment.issuer,
            "feed": fragment.feed,
            "namespace": package,
            "fragment_loaded": False,
            "has_header_svn": fragment.header_svn is not None,
            "receipts": [*fragment.receipts],
        }
        if fragment.header_svn is not None:
            request["header_svn"] = fragment.header_svn
        return self._load(fragment.text, request)

    def _load(self, text: str, request: Fields) -> FragmentDecision:
        check = self._ask(LOAD_FRAGMENT, request, fragments.check, None)
        if not check.allowed:
            return FragmentDecision(False, check)
        module = rego.parse(text.encode(), file="fragment")
        found = check.result.get("parameters", [{}])
        parameters = tuple(found) if isinstance(found, list) else ({},)
        loads: list[Decision] = []
        for chosen in parameters:
            loaded = Loaded(module, chosen if isinstance(chosen, dict) else {})
            loads.append(self._ask_again(request, loaded))
            if not loads[-1].allowed:
                break
        allowed = all(each.allowed for each in loads)
        return FragmentDecision(allowed, check, parameters, tuple(loads))

    def _ask_again(self, request: Fields, loaded: Loaded) -> Decision:
        def rule(asked: Question) -> Outcome:
            return fragments.load(asked, loaded)

        return self._ask(LOAD_FRAGMENT, {**request, "fragment_loaded": True}, rule, loaded)

    def _ask(self, name: str, request: Fields, rule: Rule, loaded: Loaded | None) -> Decision:
        policy, point = self._world.policy, POINTS.get(name)
        if policy.api_version is None:
            return self._error(name, "policy does not define api_version")
        if point is None or not versions.is_semver(policy.api_version):
            return self._error(name, "unknown enforcement point")
        said = policy.rule(name)
        if said is UNDEFINED and versions.at_least(policy.api_version, point.since):
            return self._error(name, "rule is missing from policy", self._says(name, point))
        framework = rule(Question(request, self._world))
        if is_binding_to(said, name) or (said is UNDEFINED and point.older == "framework"):
            source: Source = "framework" if said is UNDEFINED else "policy"
            return self._of_framework(name, request, framework, source, loaded)
        answer = said if isinstance(said, dict) else {}
        source = "default" if said is UNDEFINED else "policy"
        if said is not UNDEFINED and not isinstance(answer.get("allowed"), bool):
            return self._error(name, "the rule's value has no allowed", self._says(name, point))
        result = {**point.defaults(), **answer}
        return self._decided(name, request, result, source, framework, loaded)

    def _of_framework(
        self,
        name: str,
        request: Fields,
        framework: Outcome,
        source: Source,
        loaded: Loaded | None,
    ) -> Decision:
        if framework.conflict:
            message = "entries that include different things fit the same fragment"
            considered = framework.considered
            return Decision(
                name, False, "", message, {}, policy_error=message, considered=considered
            )
        if framework.allowed and framework.change:
            framework.change(self._world.state)
        answer = {"allowed": framework.allowed, **(framework.result or {})}
        result = {**POINTS[name].defaults(), **answer}
        return self._decided(name, request, result, source, framework, loaded)

    def _decided(
        self,
        name: str,
        request: Fields,
        result: Fields,
        source: Source,
        framework: Outcome,
        loaded: Loaded | None,
    ) -> Decision:
        allowed = result["allowed"] is True
        told = [] if allowed else self._reasons(name, request, framework, loaded)
        asked = source == "framework" or is_binding_to(self._world.policy.rule(name), name)
        return Decision(
            point=name,
            allowed=allowed,
            source=source,
            rule=self._says(name, POINTS[name]),
            result={key: value for key, value in result.items() if key != "allowed"},
            reasons=tuple(told),
            considered=framework.considered if asked else self._unasked(name, allowed),
        )

    def _reasons(
        self, name: str, request: Fields, framework: Outcome, loaded: Loaded | None
    ) -> list[str]:
        asked = Question(request, self._world)
        if name == LOAD_FRAGMENT:
            told = reasons.with_versions(fragment_reasons.of(asked, loaded), self._world)
        else:
            told = reasons.of(name, asked, framework)
        return self._world.policy.reasons(told)

    def _unasked(self, name: str, allowed: bool) -> tuple[Considered, ...]:
        return () if allowed else unasked.told(name, self._world.policy)

    def _error(self, name: str, message: str, rule: str = "") -> Decision:
        considered = unasked.told(name, self._world.policy)
        rule = rule or message
        return Decision(name, False, "", rule, {}, policy_error=message, considered=considered)

    def _says(self, name: str, point: Point) -> str:
        """Which rule decides a point, in words."""
        policy = self._world.policy
        rule = policy.module.rules.get(name)
        if rule is not None:
            bound = is_binding_to(rule.value, name)
            value = f"data.framework.{name}" if bound else shown(rule.value)
            return f"line {rule.line} of the policy: {name} := {value}"
        version = f"API {policy.api_version}"
        if versions.at_least(policy.api_version, point.since):
            return f"a policy of {version} has to have a rule {name}, and this one has none"
        older = {"allow": "allowed", "deny": "denied", "framework": "left to data.framework"}
        return (
            f"{name} exists since API {point.since}; for an older policy, as this one of "
            f"{version}, it is {older[point.older]}"
        )


def _package(text: str) -> str:
    """The fragment's package, which has to stand in its first line; "" where it does not."""
    words = text.partition("\n")[0].split()
    named = len(words) == 2 and words[0] == "package" and words[1].isidentifier()
    return words[1] if named and words[1].isascii() else ""


def _namespace_error(package: str) -> str:
    if not package:
        return "namespace: the first line has to be `package NAME`"
    reserved = ", ".join(_RESERVED_PACKAGES)
    return f"namespace: {package} is the guest's own; any name but {reserved} will do"

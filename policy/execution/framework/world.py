"""A guest under a policy: what may still happen, out of the policy and what was loaded since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sealserve.policy.execution.framework.guest import Guest
from sealserve.policy.execution.framework.policy import PLATFORM_RULES, TRUST_LISTS, Policy
from sealserve.policy.execution.framework.state import Candidate, State
from sealserve.policy.execution.framework.values import Fields, items, member


@dataclass
class World:
    """Policy, guest and state together: what a rule may look at beside the request."""

    policy: Policy
    guest: Guest = field(default_factory=Guest)
    state: State = field(default_factory=State)

    def containers(self) -> list[Candidate]:
        """Those of the policy, then of fragments; once per platform rule if there are any."""
        raw = [*self.policy.containers(), *self._included("containers")]
        rules = self._platform_rules()
        if not rules:
            return raw
        return [_with_rule(each, rule, index) for each in raw for index, rule in enumerate(rules)]

    def fragments(self) -> list[Candidate]:
        """What may be loaded."""
        return [*self.policy.fragments(), *self._included("fragments")]

    def external_processes(self) -> list[Candidate]:
        """What may run beside containers."""
        return [*self.policy.external_processes(), *self._included("external_processes")]

    def trust_lists(self) -> list[object]:
        """Transparency trust lists that are welcome."""
        loaded = (each.fields for each in self._included(TRUST_LISTS))
        return [*self.policy.trust_lists(), *loaded]

    def layers(self) -> Iterator[object]:
        """Every layer that may be mounted."""
        yield from self.policy.layers()
        for container in self._included("containers"):
            yield from items(member(container.fields, "layers"))

    def _platform_rules(self) -> list[object]:
        loaded = (each.fields for each in self._included(PLATFORM_RULES))
        return [*self.policy.platform_rules(), *loaded]

    def _included(self, name: str) -> list[Candidate]:
        feeds = self.state.included
        return [each for key in sorted(feeds) for made in feeds[key] for each in made.get(name, [])]


def _with_rule(container: Candidate, rule: object, index: int) -> Candidate:
    """A container that may be started on one kind of platform."""
    added: Fields = {
        name: [*items(container.fields.get(name)), *items(member(rule, name))]
        for name in ("env_rules", "mounts")
    }
    label = f"{container.label} with platform_rules[{index}]"
    return Candidate(label, {**container.fields, **added})

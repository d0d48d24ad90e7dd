"""The framework's rules, natively and with state: what a guest answers under a policy."""

from sealserve.policy.execution.framework.checks import Check, Considered
from sealserve.policy.execution.framework.enforcer import (
    Decision,
    Enforcer,
    Fragment,
    FragmentDecision,
)
from sealserve.policy.execution.framework.guest import Guest
from sealserve.policy.execution.framework.policy import Policy

__all__ = [
    "Check",
    "Considered",
    "Decision",
    "Enforcer",
    "Fragment",
    "FragmentDecision",
    "Guest",
    "Policy",
]

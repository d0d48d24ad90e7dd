"""Denials in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sealserve.native.errors import printable
from sealserve.policy.execution.denial import Denial
from sealserve.policy.execution.framework.values import Fields, shown

_NO_REASON = (
    "the guest gives no reason: each condition is met by some container, all of them by none"
)


def explain(denials: Sequence[Denial]) -> str:
    """What was asked, and what each of the guest's reasons means."""
    return "\n".join(printable(line) for denial in denials for line in _told(denial))


def _told(denial: Denial) -> Iterator[str]:
    yield "denied by the policy of the machine"
    for reason in denial.reasons:
        yield f"  reason    {reason.text}"
        if reason.meaning:
            yield f"            {reason.meaning}"
            yield f"            hint: {reason.hint}"
    if denial.policy_error:
        yield f"  reason    the policy could not be asked: {denial.policy_error}"
    if denial.is_empty and "reason" not in denial.truncated:
        yield f"  reason    {_NO_REASON}"
        yield "            hint: `sealserve policy simulate` tells the conditions per container"
    for name, value in sorted(denial.request.items()):
        yield f"  asked     {name}: {shown(value)}"
    if denial.truncated:
        yield f"  left out  {', '.join(denial.truncated)}"


def document(denial: Denial) -> Fields:
    """As JSON."""
    return {
        "decision": "deny",
        "input": denial.request,
        "errors": [asdict(reason) for reason in denial.reasons],
        "policy_error": denial.policy_error,
        "truncated": list(denial.truncated),
        "candidates": denial.candidates,
    }

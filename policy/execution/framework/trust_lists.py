"""Loading a transparency trust list: whose keys a receipt may be signed with (framework 0.5.0)."""

from __future__ import annotations

from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.checks import Check, Considered, Outcome
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.values import Fields, items, member, same, shown

_ANY_LEDGER = "*"


def load_trust_list(asked: Question) -> Outcome:
    """Whether a signed list of ledgers is welcome, and which of its ledgers."""
    offered = items(asked.get("ledgers"))
    fitting = [each for each in asked.world.trust_lists() if _is_welcome(each, asked)]
    allowed = [ledger for each in fitting for ledger in items(member(each, "allowed_ledgers"))]
    names = {str(each) for each in offered if _ANY_LEDGER in allowed or each in allowed}
    checks = (
        Check(
            "transparency_trust_lists",
            bool(fitting),
            shown(asked.told("issuer", "subject", "svn")),
            "an entry with this issuer and subject, and a minimum_svn that this reaches",
            "the policy names every trust list it believes",
            "no TTL candidate matches the provided TTL's issuer, subject and svn",
        ),
        Check(
            "allowed_ledgers",
            bool(names),
            shown(offered),
            f"one of {shown(allowed)}",
            "the policy names the ledgers that this trust list may speak for",
            "The provided TTL does not contain any ledgers it is allowed to load"
            if fitting
            else "",
        ),
    )
    result: Fields | None = {"allowed_ledgers": sorted(names)} if names else None
    return Outcome(bool(names), (Considered("", checks),), result)


def _is_welcome(entry: object, asked: Question) -> bool:
    return all(
        same(member(entry, name), asked.get(name)) for name in ("issuer", "subject")
    ) and versions.svn_reaches(asked.get("svn"), member(entry, "minimum_svn"))

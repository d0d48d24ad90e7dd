"""Every check of a deployment, in order."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable

from sealserve.policy import trust_lint
from sealserve.policy.deployment import models, platforms, presence, software, vaults
from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side, ranked
from sealserve.policy.deployment.pieces import Deployment

Check = Callable[[Deployment], Disagreements]


def judge(
    deployment: Deployment, today: datetime.date, known: Iterable[Disagreement] = ()
) -> tuple[Disagreement, ...]:
    """Everything that does not fit together, ranked. today: in UTC.

    known: what whoever read the files found on the way; it stands first within its rank.
    """
    found = (each for check in CHECKS for each in check(deployment))
    return ranked([*known, *found, *_expiry(deployment, today)])


def _expiry(deployment: Deployment, today: datetime.date) -> Disagreements:
    """The only date in these files; keys in a vault have their own (`key show`)."""
    trust = deployment.trust
    for remark in trust_lint.expiry(trust, today) if trust else ():
        sides = (Side(f"{trust.file}, {remark.key}" if trust else "", f"{today} is today"),)
        yield Disagreement(remark.rank, "expires", remark.what, sides, remark.hint)


CHECKS: tuple[Check, ...] = (
    presence.missing,
    presence.command,
    software.everything,
    software.policy_file,
    software.released,
    software.accepted,
    software.left_over,
    software.commands,
    models.sealed_roots,
    models.file_names,
    models.unserved,
    models.trusted_roots,
    models.trusted_unserved,
    vaults.slots,
    vaults.authorities,
    vaults.managed_identity,
    vaults.identities,
    platforms.template_kind,
    platforms.confidential,
    platforms.authority_kind,
    platforms.endorsement,
    platforms.unendorsed,
    platforms.endorsed_version,
    platforms.measurements,
)

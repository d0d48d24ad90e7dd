"""What this attestation service calls compliant: the machine, whatever software it runs.

The client's own checks decide (`policy.appraise`), against recommended firmware, a revocation list
that is not old, and the launch: on a real machine one that the configured issuer endorsed, on a
simulated one the measurement of the platform's release. Debug mode and VMPL have claims of their
own, which release policies name; what may run is HOST_DATA's business. Without a launch that
somebody vouches for, HOST_DATA says nothing, because the host chooses both.
"""

from __future__ import annotations

from datetime import datetime

from sealserve.attestation import LINES, Claims
from sealserve.attestation.simulated import MEASUREMENT
from sealserve.keys.connection import SIMULATED
from sealserve.native.errors import PolicyViolation
from sealserve.policy import Trust, appraise, revocation
from sealserve.policy.expectations import (
    Danger,
    Guest,
    Hardware,
    Kind,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
)
from sealserve.policy.floors import RECOMMENDED
from sealserve.policy.release_build import COMPLIANT, SIMULATED_COMPLIANT

_SIMULATED_LAUNCH = MeasuredLaunch((Noted(MEASUREMENT, "simulated platform"),))
_NOT = "not-compliant"
_FLOORS = {name: tcb for tables in RECOMMENDED.values() for name, tcb in tables.items()}


def status(claims: Claims, launch: UvmLaunch | None, now: datetime) -> dict[str, object]:
    """The claim `x-ms-compliance-status`: the one that releases ask for, or what is amiss.

    launch: whose endorsements count on real machines; without it nothing is said of them, and no
    release that asks for a status is granted.
    """
    if claims.platform == SIMULATED:
        return _judged(claims, _SIMULATED_LAUNCH, "simulated", SIMULATED_COMPLIANT, now)
    return {} if launch is None else _judged(claims, launch, "aci", COMPLIANT, now)


def _judged(
    claims: Claims, launch: MeasuredLaunch | UvmLaunch, kind: Kind, good: str, now: datetime
) -> dict[str, object]:
    try:
        appraise(claims, _expected(claims, launch, kind), now=now)
    except PolicyViolation as violation:
        codes = ", ".join(finding.code for finding in violation.findings)
        return {"x-ms-compliance-status": f"{_NOT}: {codes}"}
    return {"x-ms-compliance-status": good}


def _expected(claims: Claims, launch: MeasuredLaunch | UvmLaunch, kind: Kind) -> Trust:
    return Trust(
        name="compliant",
        kind=kind,
        simulated_root_sha256=None,  # `verify` has been there
        hardware=Hardware(
            lines=LINES,
            floors=_FLOORS,
            max_crl_age_days=revocation.RECOMMENDED_DAYS,
        ),
        launch=launch,
        guest=Guest(),
        policies=(Noted(claims.report.host_data, ""),),
        models={},
        danger=Danger(allow_debug=True, allow_vmpl=(1, 2, 3)),
        expires=None,
        file="",
    )

"""What this attestation service calls compliant: the machine, whatever software it runs.

The client's own checks decide (`policy.appraise`), against recommended firmware and the launch
measurement of the simulated platform's release. Debug mode and VMPL have claims of their own, which
release policies name; what may run is HOST_DATA's business. Without a measurement HOST_DATA says
nothing, because the host chooses both.
"""

from __future__ import annotations

from datetime import datetime

from sealserve.attestation import LINES, Claims
from sealserve.attestation.simulated import MEASUREMENT
from sealserve.keys.connection import SIMULATED
from sealserve.native.errors import PolicyViolation
from sealserve.policy import Trust, appraise
from sealserve.policy.expectations import Danger, Guest, Hardware, MeasuredLaunch, Noted
from sealserve.policy.floors import RECOMMENDED
from sealserve.policy.release import SIMULATED_COMPLIANT
from sealserve.policy.trust_text import MAX_CRL_AGE_DAYS

_NOT = "not-compliant"
_FLOORS = {name: tcb for tables in RECOMMENDED.values() for name, tcb in tables.items()}


def status(claims: Claims, now: datetime) -> dict[str, object]:
    """The claim `x-ms-compliance-status`: the one that releases ask for, or what is amiss.

    Nothing for real machines yet: their launch is known only through an endorsement of it.
    """
    if claims.platform != SIMULATED:
        return {}
    try:
        appraise(claims, _expected(claims), now=now)
    except PolicyViolation as violation:
        codes = ", ".join(finding.code for finding in violation.findings)
        return {"x-ms-compliance-status": f"{_NOT}: {codes}"}
    return {"x-ms-compliance-status": SIMULATED_COMPLIANT}


def _expected(claims: Claims) -> Trust:
    return Trust(
        name="compliant",
        kind="simulated",
        simulated_root_sha256=None,  # `verify` has been there
        hardware=Hardware(
            lines=LINES,
            floors=_FLOORS,
            max_crl_age_days=MAX_CRL_AGE_DAYS,
        ),
        launch=MeasuredLaunch((Noted(MEASUREMENT, "simulated platform"),)),
        guest=Guest(),
        policies=(Noted(claims.report.host_data, ""),),
        models={},
        danger=Danger(allow_debug=True, allow_vmpl=(1, 2, 3)),
        expires=None,
        file="",
    )

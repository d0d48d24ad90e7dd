"""What evidence has to meet where nobody wrote down more: the least that a verdict can mean.

No debug, no migration agent, VMPL 0; an endorsement of the launch, if there is one, has to be of
Azure's production issuer and of version 100 or later. Which machine, which firmware, which
software: nothing is said of it, so a verdict by this alone lists what was not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sealserve.attestation.verify import Statement
from sealserve.policy import guest_checks
from sealserve.policy.expectations import Danger, Guest, Hardware, UvmLaunch
from sealserve.policy.outcome import Check
from sealserve.policy.trust import Trust

# The issuer of Azure's production endorsements: its root (SHA-256 of "Microsoft Supply Chain RSA
# Root CA 2022") and the key usage of utility VM images. Versions in production start at 100:
# microsoft/confidential-aci-examples, docs/Confidential_ACI_SCHEME.md.
UVM_ISSUER: Final = (
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
)
UVM_FEED: Final = "ContainerPlat-AMD-UVM"
UVM_MINIMUM_SVN: Final = 100

# It accepts no line, no execution policy and no model: whoever appraises with it, refuses.
TRUST: Final = Trust(
    name="no trust file",
    kind="snp",
    simulated_root_sha256=None,
    hardware=Hardware(lines=(), floors={}, max_crl_age_days=0, chips=(), vlek_providers=()),
    launch=UvmLaunch(UVM_ISSUER, UVM_FEED, UVM_MINIMUM_SVN),
    guest=Guest(),
    policies=(),
    models={},
    danger=Danger(),
    expires=None,
    file="",
)


def checks(statement: Statement) -> Sequence[Check]:
    """Those that apply to what the evidence says."""
    launch = guest_checks.LAUNCH if asks_for_issuer(statement) else ()
    return (*guest_checks.ALWAYS, *launch)


def asks_for_issuer(statement: Statement) -> bool:
    """There is an endorsement, of a real machine: nobody is known to endorse simulated ones."""
    return statement.endorsement is not None and statement.platform != "simulated"

"""Everything that can be wrong with a machine, by name, one thing at a time.

Each fault changes one dial of the blueprint, so that one check of the verifier, or of a client's
trust, has a machine on which only that check fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.faults import (
    chain,
    endorsement,
    genuine,
    leaf,
    optional,
    report,
)
from sealserve.attestation.simulated.faults.dials import Fault, checked

__all__ = ["FAULTS", "Fault", "apply"]

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        **genuine.FAULTS,
        **optional.FAULTS,
        **report.FAULTS,
        **leaf.FAULTS,
        **chain.FAULTS,
        **endorsement.FAULTS,
    }
)


def apply(faults: Collection[str], plan: Blueprint) -> Blueprint:
    """The blueprint with these faults.

    ValueError for a name that is not in FAULTS, and for a fault that such a machine cannot have.
    """
    for name in faults:
        plan = checked(name, FAULTS, plan).change(plan)
    return plan

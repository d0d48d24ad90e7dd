"""A machine that is not one: AMD's formats without AMD's hardware, under a root of its own."""

from sealserve.attestation.simulated.blueprint import MEASUREMENT
from sealserve.attestation.simulated.endorser import FEED, SVN, SimulatedEndorser, UvmForm
from sealserve.attestation.simulated.faults import FAULTS, Fault
from sealserve.attestation.simulated.frames import SOCKET_VARIABLE
from sealserve.attestation.simulated.machine import Machine, require_possible
from sealserve.attestation.simulated.model import MODELS, Model
from sealserve.attestation.simulated.platform import BANNER, run
from sealserve.attestation.simulated.provider import CSP_ID, SimulatedProvider
from sealserve.attestation.simulated.root import SimulatedRoot

__all__ = [
    "BANNER",
    "CSP_ID",
    "FAULTS",
    "FEED",
    "MEASUREMENT",
    "MODELS",
    "SOCKET_VARIABLE",
    "SVN",
    "Fault",
    "Machine",
    "Model",
    "SimulatedEndorser",
    "SimulatedProvider",
    "SimulatedRoot",
    "UvmForm",
    "require_possible",
    "run",
]

"""A machine that is not one: AMD's formats without AMD's hardware, under a root of its own."""

from sealserve.attestation.simulated.blueprint import MEASUREMENT
from sealserve.attestation.simulated.container import (
    Bind,
    Container,
    podman_tells,
    require_podman,
)
from sealserve.attestation.simulated.endorser import FEED, SVN, SimulatedEndorser, UvmForm
from sealserve.attestation.simulated.faults import FAULTS, Fault
from sealserve.attestation.simulated.frames import SOCKET_VARIABLE
from sealserve.attestation.simulated.machine import Machine, require_possible
from sealserve.attestation.simulated.model import MODELS, Model
from sealserve.attestation.simulated.platform import (
    BANNER,
    Command,
    MayStart,
    Startable,
    run,
)
from sealserve.attestation.simulated.provider import CSP_ID, SimulatedProvider
from sealserve.attestation.simulated.root import SimulatedRoot

__all__ = [
    "BANNER",
    "Bind",
    "Command",
    "Container",
    "CSP_ID",
    "FAULTS",
    "FEED",
    "MEASUREMENT",
    "MODELS",
    "SOCKET_VARIABLE",
    "SVN",
    "Fault",
    "Machine",
    "MayStart",
    "Model",
    "SimulatedEndorser",
    "SimulatedProvider",
    "SimulatedRoot",
    "Startable",
    "UvmForm",
    "podman_tells",
    "require_podman",
    "require_possible",
    "run",
]

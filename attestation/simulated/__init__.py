"""A machine that is not one: AMD's formats without AMD's hardware, under a root of its own.

Names load on first use: the workload's side needs the form of a request alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "BANNER": "platform",
    "Bind": "container",
    "CSP_ID": "provider",
    "Command": "platform",
    "Container": "container",
    "FAULTS": "faults",
    "FEED": "endorser",
    "Fault": "faults",
    "MEASUREMENT": "blueprint",
    "MODELS": "model",
    "Machine": "machine",
    "MayStart": "platform",
    "Model": "model",
    "SOCKET_VARIABLE": "frames",
    "SVN": "endorser",
    "SimulatedEndorser": "endorser",
    "SimulatedProvider": "provider",
    "SimulatedRoot": "root",
    "Startable": "platform",
    "UvmForm": "endorser",
    "podman_tells": "container",
    "require_podman": "container",
    "require_possible": "machine",
    "run": "platform",
}

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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealserve.attestation.simulated' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sealserve.attestation.simulated.{home}"), name)

"""Where evidence comes from on this machine."""

from sealserve.attestation.devices.detect import Detection, Look, detect, look
from sealserve.attestation.devices.hardware import HardwareSource, Standing
from sealserve.attestation.devices.simulated import SimulatedSource

__all__ = ["Detection", "HardwareSource", "Look", "SimulatedSource", "Standing", "detect", "look"]

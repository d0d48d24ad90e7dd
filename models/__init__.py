"""A model at rest: sealing it, checking it, opening it. The format is in SPEC.md.

Needs neither numpy nor onnx to import: only `seal` looks into models, and imports onnx then.
"""

from sealserve.models.open import OpenedModel, Place, open_model
from sealserve.models.rewrap import rewrap
from sealserve.models.seal import seal
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import Opener, RawKey, Recipient, Slot
from sealserve.models.unseal import unseal
from sealserve.models.verify import inspect, verify

__all__ = [
    "OpenedModel",
    "Opener",
    "Place",
    "RawKey",
    "Recipient",
    "SealedModel",
    "Slot",
    "inspect",
    "open_model",
    "rewrap",
    "seal",
    "unseal",
    "verify",
]

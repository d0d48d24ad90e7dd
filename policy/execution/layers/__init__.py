"""Layers of container images: the root that a guest computes of each (hcsshim, tar2ext4)."""

from sealserve.policy.execution.layers.convert import Layer, convert
from sealserve.policy.execution.layers.refused import RefusedError

__all__ = ["Layer", "RefusedError", "convert"]

"""Names of `tritonclient.grpc` over verified channels: see `sealserve.inference.client.triton`."""

from sealserve.inference.client.triton import *  # noqa: F403
from sealserve.inference.client.triton import __all__ as __all__

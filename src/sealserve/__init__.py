"""sealserve: an encrypted model, served and predicted over a channel that proves what it is.

Names load on first use, so that `import sealserve` costs nothing, opens no socket and writes no
file, and a client never needs the packages of a server.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# ONNX Runtime 1.29 and later reports home from its bare import unless this stands in the
# environment first (microsoft/onnxruntime#27379); no part of sealserve may import it without.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sealserve.inference.client import (
        AsyncClient,
        Client,
        check,
        connect,
        connect_async,
    )
    from sealserve.keys import recipient
    from sealserve.models import SealedModel, seal, unseal, verify
    from sealserve.native.errors import SealserveError
    from sealserve.policy import Trust, Verdict

_HOMES = {
    "AsyncClient": "sealserve.inference.client",
    "Client": "sealserve.inference.client",
    "SealedModel": "sealserve.models",
    "SealserveError": "sealserve.native.errors",
    "Trust": "sealserve.policy",
    "Verdict": "sealserve.policy",
    "check": "sealserve.inference.client",
    "connect": "sealserve.inference.client",
    "connect_async": "sealserve.inference.client",
    "recipient": "sealserve.keys",
    "seal": "sealserve.models",
    "unseal": "sealserve.models",
    "verify": "sealserve.models",
}

__all__ = [
    "AsyncClient",
    "Client",
    "SealedModel",
    "SealserveError",
    "Trust",
    "Verdict",
    "check",
    "connect",
    "connect_async",
    "recipient",
    "seal",
    "unseal",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealserve' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

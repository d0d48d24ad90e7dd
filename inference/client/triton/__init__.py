"""The client in the shape of `tritonclient.grpc`, for programs that were written for that.

    from sealserve import tritonclient; grpcclient = tritonclient.trusting("trust.toml")

is the one line that takes the place of `import tritonclient.grpc as grpcclient`. Names, arguments
and errors are those of NVIDIA's library, of which nothing is needed here; what it has and servers
of ours never do (shared memory, traces, log settings, loading) is not here. Certificates are
ignored: what a server has to prove stands in the trust file.
"""

from sealserve.inference.client.triton.client import CallContext, InferenceServerClient
from sealserve.inference.client.triton.errors import InferenceServerException
from sealserve.inference.client.triton.tensors import (
    InferInput,
    InferRequestedOutput,
    InferResult,
    np_to_triton_dtype,
    triton_to_np_dtype,
)
from sealserve.inference.client.triton.trusting import trusting

__all__ = [
    "CallContext",
    "InferInput",
    "InferRequestedOutput",
    "InferResult",
    "InferenceServerClient",
    "InferenceServerException",
    "np_to_triton_dtype",
    "triton_to_np_dtype",
    "trusting",
]

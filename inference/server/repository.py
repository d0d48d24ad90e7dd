"""The repository: which models there are. Loading and unloading is the operator's.

What is served is decided by the command line: files and the roots they may have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sealserve.inference.server.registry import NotOfferedError
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.native.errors import InputError

READY: Final = "READY"
UNAVAILABLE: Final = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the index. state: READY or UNAVAILABLE, as Triton spells them."""

    name: str
    version: str
    state: str = READY
    reason: str = ""


def encode_index(
    request: pb.RepositoryIndexRequest, entries: Iterable[Entry]
) -> pb.RepositoryIndexResponse:
    """The index, or those of it that are ready. InputError where a repository is named."""
    require_no_repository(request.repository_name)
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )
            for entry in entries
            if entry.state == READY or not request.ready
        ]
    )


async def refuse_control(_data: memoryview, _context: Any) -> bytes:
    """Loading and unloading on a port that others reach."""
    raise NotOfferedError(
        "models are loaded and unloaded on the operator's own socket (--model-control), not here"
    )


def require_no_repository(name: str) -> None:
    """InputError for a request that names one."""
    if name:
        raise InputError(f"there is one repository, without a name; {name[:64]!r} is none")

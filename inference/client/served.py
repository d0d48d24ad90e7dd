"""Which of the models a trust file accepts a server really has: under which name and version.

Evidence names the roots that are served, and no names: those only the server itself can tell, once
it is verified. The same questions for both clients, and without I/O.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import grpc

from sealserve.inference.client.verification import Verified
from sealserve.inference.wire.names import MODEL_ROOT_KEY
from sealserve.inference.wire.spec import ModelMetadata, TensorSpec
from sealserve.policy import Trust

Probe = tuple[str, str, bytes]  # name, version ("" is the server's choice), root that is expected
Told = tuple[bytes, ModelMetadata]  # who has that name and version
Steps = Generator["Probe | Served", "Told | None", None]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is accepted, under the name and version by which the server has it."""

    name: str
    version: str
    root: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """absent: names of the trust file that nothing accepted is served under, and why."""

    models: tuple[ServedModel, ...]
    absent: Mapping[str, str]


def survey(trust: Trust, verified: Verified) -> Steps:
    """Yields what to ask the server next and takes what it told; the last yield is the result."""
    models: list[ServedModel] = []
    absent: dict[str, str] = {}
    accepted = verified.accepted(trust)
    for name in trust.models:
        if name not in accepted:
            absent[name] = "the server has none of its roots"
            continue
        told = yield from _versions(name, accepted[name][0])
        here = [model for model in told if model.root in trust.models[name]]
        models += here
        if not told:
            absent[name] = "the server has its root, but under another name"
        elif not here:
            absent[name] = "the server has that name, but with another root"
    yield Served(tuple(models), absent)


def _versions(name: str, root: bytes) -> Generator[Probe, Told | None, list[ServedModel]]:
    """Every version of that name, with whatever root."""
    default = yield (name, "", root)
    if default is None:
        return []
    versions = default[1].versions or ("",)
    if len(versions) == 1:
        return [_model(name, versions[0], default)]
    found = []
    for version in versions:
        told = yield (name, version, root)
        if told is not None:
            found.append(_model(name, version, told))
    return found


def root_of(error: grpc.RpcError, verified: Verified) -> bytes:
    """The other root that a server named when it refused ours; raises the error if there is none.

    Only a root that its evidence names is worth asking for.
    """
    named = [str(v) for k, v in error.trailing_metadata() or () if k == MODEL_ROOT_KEY]
    known = [root for root in verified.roots if [root.hex()] == named]
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION and known:
        return known[0]
    raise error


def unknown_model(error: grpc.RpcError) -> bool:
    """Whether the server has no model of that name and version."""
    return error.code() is grpc.StatusCode.NOT_FOUND


def _model(name: str, version: str, told: Told) -> ServedModel:
    root, metadata = told
    return ServedModel(name, version, root, metadata.inputs, metadata.outputs)

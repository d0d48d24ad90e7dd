"""The models of one server, found by name and version, and under their own root only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sealserve.inference.server.config import ModelOptions
from sealserve.inference.server.runtime import PLATFORM, Session
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.native.errors import ConfigError, SealserveError


class UnknownModelError(SealserveError):
    """No model of that name and version is served here (gRPC: NOT_FOUND)."""


class RootMismatchError(SealserveError):
    """The caller verified another root than the one served (gRPC: FAILED_PRECONDITION)."""


class NotDoneError(SealserveError):
    """What an operator asked for cannot be done as things are (gRPC: FAILED_PRECONDITION)."""


class NotOfferedError(SealserveError):
    """A call of the protocol that is not answered here (gRPC: UNIMPLEMENTED)."""


@dataclass(frozen=True, slots=True)
class ServedSession:
    """One model as it runs. root: of the sealed file it came from.

    shares_runs: its owner says that rows leave each other alone, and a test found nothing else.
    run_seconds: what one row takes, infinite where nobody knows.
    """

    name: str
    version: str
    root: bytes
    session: Session
    options: ModelOptions = field(default_factory=ModelOptions)
    shares_runs: bool = False
    run_seconds: float = math.inf


class Registry:
    """All models of a server. Of several versions the first on the command line is the default."""

    def __init__(self, models: Iterable[ServedSession]) -> None:
        self._models: dict[str, dict[str, ServedSession]] = {}
        for model in models:
            versions = self._models.setdefault(model.name, {})
            if model.version in versions:
                raise ConfigError(
                    f"two sealed files are {model.name!r} version {model.version!r}",
                    key="FILE",
                    hint="seal one of them with another --version",
                )
            versions[model.version] = model

    def __iter__(self) -> Iterator[ServedSession]:
        return (model for versions in self._models.values() for model in versions.values())

    def find(self, name: str, version: str) -> ServedSession:
        """The model of that name; an empty version is the default one."""
        versions = self._models.get(name, {})
        model = versions.get(version) if version else next(iter(versions.values()), None)
        if model is None:
            wanted = f"{name[:128]!r} version {version[:64]!r}" if version else f"{name[:128]!r}"
            raise UnknownModelError(f"no model {wanted} is served here")
        return model

    def metadata(self, model: ServedSession) -> ModelMetadata:
        """What the protocol tells of a model."""
        return ModelMetadata(
            name=model.name,
            versions=tuple(self._models[model.name]),
            platform=PLATFORM,
            inputs=model.session.inputs,
            outputs=model.session.outputs,
        )


def require_root(model: ServedSession, named: Iterable[str], *, required: bool) -> None:
    """RootMismatchError unless the caller meant this model's root.

    named: every value of the metadata key, hexadecimal. required: none at all is refused too.
    """
    roots = set(named)
    if not roots and required:
        raise RootMismatchError(
            f"this server wants the root a caller verified; model {model.name!r} has "
            f"{model.root.hex()}"
        )
    if roots - {model.root.hex()}:
        raise RootMismatchError(f"model {model.name!r} has the root {model.root.hex()}")


def require_root_among(model: ServedSession, named: frozenset[str], *, required: bool) -> None:
    """As `require_root`, for a call that may use several models and names a root of each."""
    require_root(model, {model.root.hex()} & named or named, required=required)

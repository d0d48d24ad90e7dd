"""From sealed files to models that can answer: opened, verified against their roots, loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sealserve.inference.server.config import ServedModel, ServerConfig, file_bytes
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.memory import Memory
from sealserve.inference.server.release import TimedOpener
from sealserve.models import Opener, inspect, open_model
from sealserve.native.errors import IntegrityError

if TYPE_CHECKING:
    from sealserve.inference.server.registry import Registry, ServedSession


@dataclass(frozen=True, slots=True)
class Opened:
    """The models, and how long their keys and their opening took, in seconds."""

    registry: Registry
    release_seconds: float
    open_seconds: float


def weights_bytes(config: ServerConfig) -> int:
    """Room for all weights: none is larger than its sealed file. ConfigError if one is missing."""
    return sum(file_bytes(model.path, "FILE") for model in config.models)


def open_all(
    config: ServerConfig,
    opener: Opener,
    memory: Memory,
    decrypted: Callable[[], None] = lambda: None,
) -> Opened:
    """Open every model of the configuration, one after the other.

    decrypted: called when the weights of one are, before the runtime prepacks them.
    Raises what `models.open_model` raises, and FormatError for a model nobody can serve.
    """
    timed = TimedOpener(opener)
    started = time.monotonic()
    released = 0.0
    models = []
    for number, model in enumerate(config.models):
        models.append(_open(model, timed, memory, number, config, decrypted))
        released += timed.seconds
    from sealserve.inference.server.registry import Registry  # ONNX Runtime comes with it

    config.require_served([model.name for model in models])
    return Opened(Registry(models), released, time.monotonic() - started - released)


def _open(
    model: ServedModel,
    opener: TimedOpener,
    memory: Memory,
    number: int,
    config: ServerConfig,
    decrypted: Callable[[], None],
) -> ServedSession:
    started = time.monotonic()
    place = memory.place(number)
    root = _root(model)
    with open_model(Path(model.path), root, opener, place, ahead=True) as opened:
        decrypted()
        sealed = opened.sealed
        options = config.options_of(sealed.name)
        from sealserve.inference.server.runtime import Session  # not before all is decrypted

        # A copy that cannot be wiped: the runtime takes no other buffer (SECURITY.md).
        session = Session(
            bytes(opened.graph),
            place,
            weights_bytes=sum(opened.weights.values()),
            threads=options.threads or config.limits.threads,
            early=config.early,
        )
    log(
        Event.MODEL_OPENED,
        model=sealed.name,
        version=sealed.version,
        root=root.hex(),
        release_seconds=round(opener.seconds, 4),
        open_seconds=round(time.monotonic() - started - opener.seconds, 4),
    )
    from sealserve.inference.server.preparing import prepared
    from sealserve.inference.server.registry import ServedSession

    served = ServedSession(sealed.name, sealed.version, root, session, options)
    # What is exchanged soon is not worth warming up, and no test would hold for what follows.
    return served if config.early else prepared(served, declared=sealed.batch_independent)


def _root(model: ServedModel) -> bytes:
    """Which of its roots the file has to be opened under: 32 bytes from the command line.

    Of several it is the one that the file claims for itself, which says which one is meant and
    proves nothing. IntegrityError if it claims another one.
    """
    if len(model.roots) == 1:
        return bytes.fromhex(model.roots[0])
    claimed = inspect(model.path).root.hex()
    if claimed not in model.roots:
        raise IntegrityError(
            f"{model.path}: root is {claimed}; wanted one of {', '.join(model.roots)}",
            hint="it was altered, or is a version that is not allowed here; get it again",
        )
    return bytes.fromhex(claimed)

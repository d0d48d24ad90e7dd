"""Runs that take no longer than handing them to a thread would: they run on the event loop.

A thread costs some 100 us on the way there and back, several times what a model of a few numbers
takes. But whoever holds the event loop holds up every caller, so only messages that are short, or
few rows of many numbers, for models that were quick in trials may, a run that nevertheless goes on
is interrupted and begun again in a thread, and a model that was slow once stays away from the loop
for a while.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from sealserve.inference.server.batching import Outputs
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.server.runtime import Interruption
from sealserve.inference.wire.infer import IncomingRequest, InferRequest
from sealserve.inference.wire.spec import ANY_SIZE
from sealserve.native.errors import SealserveError

MAX_RUN_SECONDS: Final = 200e-6  # of one row, when the model was loaded
MAX_MESSAGE_BYTES: Final = 16 * 1024
# Of a message that is numbers beside that, as they stand in memory. A run may take about as long as
# they took the event loop to come, through TLS and HTTP/2.
MAX_NUMBER_BYTES: Final = 1024 * 1024
SECONDS_PER_BYTE: Final = 0.5e-9
SLOW_SECONDS: Final = 0.005  # of the processor's time, which others on a busy machine do not add to
_AWAY_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.05  # a run that sees two ticks is interrupted


class BriefRuns:
    """Used from one event loop; a thread watches over it from its first run on."""

    def __init__(self) -> None:
        self._interruption = Interruption()
        self._steps = 0  # odd while something runs
        self._away: dict[bytes, float] = {}  # until when, by root
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def may(self, model: ServedSession, incoming: IncomingRequest) -> bool:
        """Whether a message for this model is to be run here. It need not be checked yet."""
        fits = _is_short(model, incoming) or _is_few_rows(model, incoming)
        return fits and self._away.get(model.root, 0.0) <= time.monotonic()

    def run(self, model: ServedSession, request: InferRequest) -> Outputs | None:
        """Its outputs, or None if it took too long: a thread has to do it."""
        if self._watcher is None:
            self._watcher = threading.Thread(
                target=self._watch, name="sealserve-watch", daemon=True
            )
            self._watcher.start()
        began = time.thread_time()
        self._steps += 1
        try:
            outputs = model.session.run(request, self._interruption)
        except SealserveError:
            if not self._interruption.is_set:
                raise
            outputs = None
        finally:
            self._steps += 1
            if time.thread_time() - began > SLOW_SECONDS:
                self._away[model.root] = time.monotonic() + _AWAY_SECONDS
            if self._interruption.is_set:
                self._interruption.clear()
        return outputs

    def close(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        seen = 0
        while not self._ended.wait(_TICK_SECONDS):
            if self._steps == seen and seen % 2:
                self._interruption.set()
            seen = self._steps


def _is_short(model: ServedSession, incoming: IncomingRequest) -> bool:
    return model.run_seconds <= MAX_RUN_SECONDS and incoming.message_bytes <= MAX_MESSAGE_BYTES


def _is_few_rows(model: ServedSession, incoming: IncomingRequest) -> bool:
    """Whether a longer message is nothing but numbers, and no more work than its rows are."""
    numbers = incoming.number_bytes
    seconds = max(MAX_RUN_SECONDS, numbers * SECONDS_PER_BYTE)
    return (
        numbers <= MAX_NUMBER_BYTES
        and incoming.message_bytes - numbers <= MAX_MESSAGE_BYTES
        and all(ANY_SIZE not in spec.shape[1:] for spec in model.session.inputs)
        and _rows(model, incoming) * model.run_seconds <= seconds
    )


def _rows(model: ServedSession, incoming: IncomingRequest) -> int:
    counted = {spec.name for spec in model.session.inputs if ANY_SIZE in spec.shape[:1]}
    return max(
        (shape[0] for name, _, shape in incoming.shapes if name in counted and shape), default=1
    )

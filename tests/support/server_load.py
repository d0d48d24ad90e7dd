"""Clients that verified a server and keep asking it, each over a channel of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from sealserve.inference.client import Client, connect
from sealserve.native.errors import UnavailableError
from sealserve.policy import Trust
from support.at_work import at_work
from support.models_onnx import batch
from support.server_case import until

CLIENTS = 3
TRIES = 3


@dataclass
class Load:
    """What came of it. failed: what a client gave up of.

    interrupted: a client each time it was told UNAVAILABLE, and asked the same again.
    """

    answered: np.ndarray  # how many calls of each client
    answers: list[bytes] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def goes_on(self, calls: int = 8) -> None:
        """Wait until each client has so many more answers, or one gave up."""
        before = self.answered.copy()
        until(lambda: (self.answered - before).min() >= calls or bool(self.failed))

    def ask(self, number: int, target: str, trust: Trust, model: str) -> None:
        try:
            with connect(target, trust) as client:
                while not self.over.is_set():
                    self._ask(number, client, model)
        except Exception as error:  # the test says that there is none
            self.failed.append(error)

    def _ask(self, number: int, client: Client, model: str) -> None:
        for _ in range(TRIES):
            try:
                self.answers.append(client.predict(model, batch())["y"].tobytes())
            except UnavailableError:
                self.interrupted.append(number)
            else:
                self.answered[number] += 1
                return
        raise AssertionError(f"no answer {TRIES} times in a row")


@contextmanager
def load(target: str, trust: Trust, model: str, clients: int = CLIENTS) -> Iterator[Load]:
    """So many clients at work until the block ends; then every call has had its end."""
    result = Load(answered=np.zeros(clients, int))
    jobs = [partial(result.ask, number, target, trust, model) for number in range(clients)]
    with at_work(result.over, jobs):
        result.goes_on()
        yield result

"""Threads that work beside a test, until its block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def at_work(over: threading.Event, jobs: Iterable[Callable[[], None]]) -> Iterator[None]:
    """Each job in a thread of its own. At the end `over` tells them, and they are waited for."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()

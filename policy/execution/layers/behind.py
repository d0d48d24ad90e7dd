"""Hashing on a second thread, behind whoever fills the buffers, and given up when that is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self


class HashesBehind:
    """Used with `with`: what was not hashed yet when it is left, never is."""

    def __init__(self) -> None:
        self._hasher = ThreadPoolExecutor(1)  # its thread starts with the first piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._hasher.shutdown(cancel_futures=True)

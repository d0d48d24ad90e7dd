from types import TracebackType
from typing import Self

from sealserve.native.verity import TrustedTree

class CheckedCopy:
    def __init__(
        self,
        fd: int,
        *,
        payload_offset: int,
        payload_bytes: int,
        data_bytes: int,
        tree: TrustedTree,
        threads: int = 2,
    ) -> None: ...
    @property
    def checked_bytes(self) -> int: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

from typing import Any

from typing_extensions import Buffer

def lay_files(
    window: Buffer,
    batch: Buffer,
    used: int,
    block: int,
    folder: bytes,
    children: dict[bytes, Any],
    number: int,
    most: int,
) -> tuple[int, int, bytes]: ...

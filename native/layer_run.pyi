from typing_extensions import Buffer

def lay_files(
    window: Buffer,
    batch: Buffer,
    used: int,
    block: int,
    folder: bytes,
    children: dict[bytes, object],
    number: int,
    most: int,
) -> tuple[int, int, bytes]: ...

from typing_extensions import Buffer

BLOCK_BYTES: int
NO_TIME: int

class Header:
    name: bytes
    link: bytes
    kind: int
    gnu: bool
    mode: int
    uid: int
    gid: int
    size: int
    device_major: int
    device_minor: int
    modified: int
    accessed: int
    changed: int
    modified_ns: int
    accessed_ns: int
    changed_ns: int
    attributes: dict[bytes, bytes] | None
    def __init__(self, *, name: bytes = b"", kind: int = 0, mode: int = 0) -> None: ...

def read_header(data: Buffer, offset: int) -> Header | None: ...
def read_number(field: Buffer) -> int: ...
def split_path(path: bytes) -> tuple[bytes, bytes]: ...

from typing_extensions import Buffer

from sealserve.native.cobblestone import Message

UNIT_PLAIN_BYTES: int

def pages_of(plain_bytes: int, *, last: bool) -> int: ...
def seal_unit(
    fd: int,
    offset: int,
    message: Message,
    first_chunk: int,
    plain: Buffer,
    digests: Buffer,
    *,
    last: bool,
) -> int: ...

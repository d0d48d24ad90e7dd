from typing_extensions import Buffer

from sealserve.native.tar import Header

INODE_BYTES: int
AREA_BYTES: int

def write_inode(
    table: Buffer,
    number: int,
    about: Header,
    mode: int,
    size: int,
    links: int,
    blocks: int,
    flags: int,
    attribute_block: int,
    area: bytes,
) -> None: ...
def directory_blocks(
    table: Buffer, number: int, parent: int, children: list[tuple[int, bytes]]
) -> bytes: ...

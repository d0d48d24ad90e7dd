from dataclasses import dataclass

from typing_extensions import Buffer

BLOCK_BYTES: int
DIGEST_BYTES: int
MAX_DATA_BYTES: int

@dataclass(frozen=True)
class Tree:
    root: bytes
    area: bytes

def tree_size(data_bytes: int) -> int: ...
def root_of(area: Buffer, data_bytes: int) -> bytes: ...

class TreeBuilder:
    def update(self, data: Buffer) -> None: ...
    def finish(self) -> Tree: ...

class TrustedTree:
    @staticmethod
    def load(area: Buffer, data_bytes: int, root: Buffer) -> TrustedTree: ...
    @property
    def root(self) -> bytes: ...
    @property
    def data_bytes(self) -> int: ...
    def check(self, offset: int, data: Buffer) -> None: ...

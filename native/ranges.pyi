from typing_extensions import Buffer

from sealserve.native.cobblestone import Message
from sealserve.native.verity import TrustedTree

class Ranges:
    def __init__(
        self,
        fd: int,
        *,
        payload_offset: int,
        payload_bytes: int,
        data_bytes: int,
        tree: TrustedTree,
        message: Message,
    ) -> None: ...
    @property
    def plain_bytes(self) -> int: ...
    def read_into(self, start: int, out: Buffer) -> None: ...

"""A sealed file as a load sees it: a page of header, one message, padding, its tree behind."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sealserve.native.cobblestone import HEADER_BYTES, SALT_BYTES, Message, sealed_size
from sealserve.native.verity import TreeBuilder, TrustedTree

PAGE = 4096
CONTEXT = b"benchmark"


class Layout(TypedDict):
    payload_offset: int
    payload_bytes: int
    data_bytes: int


@dataclass(frozen=True)
class Sealed:
    """path: of the file. key, root: hexadecimal, so that it travels as JSON."""

    path: str
    key: str
    root: str
    payload_offset: int
    payload_bytes: int
    data_bytes: int
    area_bytes: int

    @property
    def layout(self) -> Layout:
        """As the native core is told."""
        return {
            "payload_offset": self.payload_offset,
            "payload_bytes": self.payload_bytes,
            "data_bytes": self.data_bytes,
        }

    def open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def message(self, fd: int) -> Message:
        header = os.pread(fd, HEADER_BYTES, self.payload_offset)
        return Message.of(bytes.fromhex(self.key), header, CONTEXT)

    def derived(self, fd: int) -> tuple[bytes, int]:
        """AES key and base nonce (C2SP chunked-encryption, Key derivation)."""
        salt = os.pread(fd, SALT_BYTES, self.payload_offset)
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + CONTEXT
        secrets = HKDFExpand(SHA512(), length=44, info=info).derive(bytes.fromhex(self.key))
        return secrets[:32], int.from_bytes(secrets[32:])

    def tree(self, fd: int) -> TrustedTree:
        area = os.pread(fd, self.area_bytes, self.data_bytes)
        return TrustedTree.load(area, self.data_bytes, bytes.fromhex(self.root))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(path: Path) -> Sealed:
        return Sealed(**json.loads(path.read_text()))


def seal(folder: Path, plain_bytes: int) -> Sealed:
    key = os.urandom(32)
    message = Message.new(key, CONTEXT)
    chunks = bytearray(sealed_size(plain_bytes) - HEADER_BYTES)
    message.seal_into(0, os.urandom(plain_bytes), chunks, last=True)
    start = PAGE - HEADER_BYTES
    data = bytes(start) + message.header + bytes(chunks)
    data += bytes(-len(data) % PAGE)
    builder = TreeBuilder()
    builder.update(data)
    tree = builder.finish()
    path = folder / "sealed"
    path.write_bytes(data + tree.area)
    return Sealed(
        path=str(path),
        key=key.hex(),
        root=tree.root.hex(),
        payload_offset=start,
        payload_bytes=sealed_size(plain_bytes),
        data_bytes=len(data),
        area_bytes=len(tree.area),
    )

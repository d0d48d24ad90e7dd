"""Sealed files to attack: one honest file, its regions, and files around anything one likes."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from onnx import ModelProto

from sealserve.models import RawKey, Recipient, SealedModel, archive, seal, slot_area
from sealserve.models import format as layout
from sealserve.models.archive import Entry
from sealserve.models.key import key_id
from sealserve.models.seal import write
from sealserve.native.cobblestone import sealed_size
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import TreeBuilder

KEY = bytes(range(1, 33))
PAGE = 4096
NO_SLOTS = slot_area.encode_area(())
GRAPH = b"not looked at by whoever opens"


@dataclass(frozen=True)
class Regions:
    """The bytes of a sealed file, cut where SPEC.md draws its lines."""

    front: bytes  # 0 … P
    message: bytes
    padding: bytes  # to V
    tree: bytes  # superblock page and levels, to K
    slots: bytes

    @classmethod
    def of(cls, data: bytes) -> Regions:
        front = data[: layout.header_bytes(data[: layout.PREFIX_BYTES])]
        shape = layout.geometry(len(front), layout.decode_header(front).payload_size)
        return cls(
            front,
            data[len(front) : shape.payload_end],
            data[shape.payload_end : shape.data_bytes],
            data[shape.data_bytes : shape.slots_offset],
            data[shape.slots_offset :],
        )

    @property
    def covered(self) -> bytes:
        """What the tree covers."""
        return self.front + self.message + self.padding

    @property
    def data(self) -> bytes:
        return self.covered + self.tree + self.slots

    def with_honest_tree(self) -> tuple[bytes, bytes]:
        """The file and its root, the tree grown again over what is there now."""
        builder = TreeBuilder()
        builder.update(self.covered)
        grown = builder.finish()
        return replace(self, tree=grown.area).data, grown.root


@dataclass
class FolderPlace:
    """A Place that is a folder on disk and remembers what it was told."""

    folder: Path
    told: list[str] = field(default_factory=list)
    _fds: list[int] = field(default_factory=list)

    @property
    def directory(self) -> str:
        return str(self.folder)

    def wants(self, name: str) -> bool:
        return True

    def create(self, name: str, size: int) -> int:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fds.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return self._fds[-1]

    def finish(self) -> None:
        self.told.append("finish")
        self._close()

    def wipe(self) -> None:
        self.told.append("wipe")
        self._close()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def seal_model(
    model: ModelProto | Path,
    out: Path,
    *,
    keys: Sequence[Recipient | RawKey] | None = None,
    name: str = "net",
    version: str = "1.0",
    batch_independent: bool = False,
) -> SealedModel:
    """Seal with the test's raw key unless told otherwise. A model in memory is saved first."""
    if isinstance(model, ModelProto):
        path = out.with_name(f"{out.name}.source.onnx")
        path.write_bytes(model.SerializeToString())
        sealed = seal_model(
            path, out, keys=keys, name=name, version=version, batch_independent=batch_independent
        )
        path.unlink()
        return sealed
    keys = [RawKey(KEY)] if keys is None else keys
    return seal(
        model, out, keys=keys, name=name, version=version, batch_independent=batch_independent
    )


def header_for(plain_bytes: int) -> layout.Header:
    with SecretBuffer.from_bytes(KEY) as key:
        return layout.Header(
            batch_independent=False,
            created="2026-01-02T03:04:05Z",
            key_id=key_id(key),
            name="forged",
            payload_size=sealed_size(plain_bytes),
            version="1",
        )


def seal_archive(out: Path, plain: bytes) -> SealedModel:
    """A sealed file, perfect but for the archive inside, which is whatever it is."""
    with SecretBuffer.from_bytes(KEY) as key:
        return write(out, header_for(len(plain)), key, [plain], [])


def file_around(out: Path, plain_bytes: int, encrypt: Callable[[bytes], bytes]) -> bytes:
    """Write a file around whatever message `encrypt` makes of a context; returns its root."""
    front = layout.encode_header(header_for(plain_bytes))
    message = encrypt(layout.CONTEXT + sha256(front).digest())
    padding = bytes(-(len(front) + len(message)) % PAGE)
    data, root = Regions(front, message, padding, b"", NO_SLOTS).with_honest_tree()
    out.write_bytes(data)
    return root


def superblock(blocks: int) -> bytes:
    """What `veritysetup format` writes before a tree over this many blocks."""
    sizes = struct.pack("<IIQH", PAGE, PAGE, blocks, 32)
    head = b"verity\0\0" + struct.pack("<II", 1, 1) + bytes(16) + b"sha256".ljust(32, b"\0")
    return (head + sizes).ljust(PAGE, b"\0")


def entries_of(contents: dict[str, bytes]) -> list[Entry]:
    return [Entry(name, len(data), zlib.crc32(data)) for name, data in contents.items()]


def archive_of(contents: dict[str, bytes], listed: list[Entry] | None = None) -> bytes:
    """An archive in the one encoding, with names and order as given. listed: what the directory
    says instead."""
    placed = archive.place(entries_of(contents))
    body = b"".join(archive.local_header(item) + contents[item.entry.name] for item in placed)
    return body + archive.directory(placed if listed is None else archive.place(listed))


def honest_contents() -> dict[str, bytes]:
    return {
        "model.onnx": GRAPH,
        "manifest.json": b'{"files":[],"version":1}',
        "weights/00000": bytes(range(256)) * 40,
        "weights/small": b"s" * 2000,
        "labels.txt": b"yes\nno\n",
    }

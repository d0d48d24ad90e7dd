"""Splits an ONNX model into the graph and the weights of a sealed model (SPEC section 6)."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sealserve.models import names, tensors, wire
from sealserve.models.content import Content, FileRange, Piece, SourceFile, read
from sealserve.native.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

# SPEC section 6. A tensor of this size or more is a file of its own, unlinked once it is mapped.
OWN_ENTRY_BYTES = 1 << 20
SHARED_ENTRY_BYTES = wire.LEAST_BYTES
SHARED_ALIGNMENT = 64  # a cache line, and the widest vector there is
# What a tensor's pointer takes, with 4 bytes more of length in each of 100 messages around it.
_GROWTH_BYTES = 512


@dataclass(slots=True)
class Split:
    """A model, split. graph: bytes of model.onnx. files: the owner's, by name, as the model
    refers to them. Weights: entries by name, in order."""

    graph: bytes
    weights: dict[str, Content]
    files: dict[str, SourceFile]


def split(path: Path) -> Split:
    """Read a model file and find its weights. Raises InputError."""
    folder = _Folder(path)
    light_bytes, model = _parse(folder.files[path.name], path.name)
    weights, inside = _Weights(), _Inside(light_bytes)
    for tensor, movable in tensors.all_tensors(model):
        _settle(tensor, movable, weights, inside, folder)
    inside.read(path)
    return Split(model.SerializeToString(deterministic=True), weights.entries(), folder.files)


class _Folder:
    """The files a model may refer to: those below its own folder, and nothing they link to."""

    def __init__(self, model: Path) -> None:
        self._root = model.parent.resolve()
        self.files: dict[str, SourceFile] = {model.name: SourceFile.of(model)}

    def locate(self, location: str) -> SourceFile:
        """The file that a tensor's `location` names. Raises InputError."""
        if location not in self.files:
            self.files[location] = self._find(location)
        return self.files[location]

    def _find(self, location: str) -> SourceFile:
        parts = PurePosixPath(location).parts
        if not parts or "\0" in location or location.startswith("/") or ".." in parts:
            raise InputError(f"external data at {location[:120]!r}: not a path below the model")
        file = SourceFile.of(self._root / location)
        if not file.path.is_relative_to(self._root):
            raise InputError(
                f"external data at {location[:120]!r} leads out of the model's folder",
                hint="copy the folder with its links resolved: `cp -rL`",
            )
        return file


@dataclass(slots=True)
class _Weights:
    """Gathers where tensors go. A range that two tensors share goes there once."""

    own: list[Content] = field(default_factory=list)
    small: list[Piece] = field(default_factory=list)
    small_bytes: int = 0
    placed: dict[Piece, tuple[str, int]] = field(default_factory=dict)

    def add(self, piece: Piece, size: int) -> tuple[str, int]:
        """The entry and the offset that these bytes get."""
        if piece not in self.placed:
            self.placed[piece] = (
                self._own(piece) if size >= OWN_ENTRY_BYTES else self._share(piece, size)
            )
        return self.placed[piece]

    def entries(self) -> dict[str, Content]:
        """Entries by name, in the order of the archive."""
        entries = {names.numbered(i): content for i, content in enumerate(self.own)}
        return {**entries, names.SMALL: tuple(self.small)} if self.small else entries

    def _own(self, piece: Piece) -> tuple[str, int]:
        self.own.append((piece,))
        return names.numbered(len(self.own) - 1), 0

    def _share(self, piece: Piece, size: int) -> tuple[str, int]:
        padding = -self.small_bytes % SHARED_ALIGNMENT
        offset = self.small_bytes + padding
        self.small += [bytes(padding), piece] if padding else [piece]
        self.small_bytes = offset + size
        return names.SMALL, offset


@dataclass(slots=True)
class _Inside:
    """External data that no runtime looks for outside the graph: read once they are known to fit.

    size: at most what the graph will take.
    """

    size: int
    pieces: list[tuple[TensorProto, FileRange]] = field(default_factory=list)

    def add(self, tensor: TensorProto, piece: FileRange) -> None:
        self.size += piece.size
        self.pieces.append((tensor, piece))

    def read(self, path: Path) -> None:
        """Put them where they belong. Raises InputError before anything is read."""
        if self.size > names.MAX_GRAPH_BYTES:
            raise InputError(
                f"{path}: the graph takes up to {self.size} bytes with the tensors that have to"
                f" stand in it; at most {names.MAX_GRAPH_BYTES} are possible",
                hint="only initializers and Constant nodes can have their weights outside",
            )
        for tensor, piece in self.pieces:
            tensors.put_inline(tensor, read(piece))


def _settle(
    tensor: TensorProto, movable: bool, weights: _Weights, inside: _Inside, folder: _Folder
) -> None:
    """Give one tensor its place: an entry of its own, the shared one, or the graph."""
    size = tensors.byte_size(tensor)
    outside = tensors.external_range(tensor, folder.locate) if tensors.is_external(tensor) else None
    inside.size += _GROWTH_BYTES
    if movable and size is not None and size >= SHARED_ENTRY_BYTES:
        piece = tensors.inline_bytes(tensor, size) if outside is None else outside
        tensors.point_to(tensor, *weights.add(piece, size), size)
    elif outside is not None:
        inside.add(tensor, outside)


def _parse(file: SourceFile, name: str) -> tuple[int, ModelProto]:
    """The model, its large tensors pointing into its own file, and the bytes it takes like that."""
    # onnx is for owners only: importing this module must not need it.
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    if not 0 < file.size <= names.MAX_GRAPH_BYTES:
        raise InputError(
            f"{file.path} has {file.size} bytes; a model file has 1 to {names.MAX_GRAPH_BYTES}",
            hint="larger models keep their weights in external data files",
        )
    fd = file.open()
    try:
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            light = wire.lighten(view, name)
    finally:
        os.close(fd)
    try:
        model = ModelProto.FromString(light)
    except DecodeError as error:
        raise InputError(f"{file.path} is not an ONNX model: {error}") from error
    if not model.HasField("graph") or not model.ir_version:
        raise InputError(f"{file.path} is not an ONNX model: it has no graph")
    return len(light), model

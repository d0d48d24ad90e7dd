"""What goes into a sealed model: the entries of its archive, gathered from a model or a folder."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sealserve.models import names
from sealserve.models.archive import Entry
from sealserve.models.content import (
    Advance,
    Content,
    FileRange,
    SourceFile,
    read,
    size_of,
    stream,
    whole,
)
from sealserve.models.graph import split
from sealserve.native.errors import ConfigError, InputError

# Private keys as PEM (RFC 7468, and as OpenSSH and PGP write them), ours among them, and the token
# of a connection.toml.
_SECRET = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----"
    rb"|\A# How to reach a sealserve trust service"
)
_SEARCHED_BYTES = 64 * 1024  # a key behind a chain of certificates is found, a dump not read


class _Original(msgspec.Struct, frozen=True):
    name: str
    sha256: str
    size: int


class _Manifest(msgspec.Struct, frozen=True):
    files: list[_Original]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Package:
    """Everything to be sealed. originals: the owner's files by name, the model first.

    graph: bytes of model.onnx. rest: the entries behind the manifest, by name, in order.
    """

    originals: Mapping[str, SourceFile]
    graph: bytes
    rest: Mapping[str, Content]

    @property
    def original_bytes(self) -> int:
        """Bytes that `manifest` reads."""
        return sum(file.size for file in self.originals.values())

    @property
    def entry_bytes(self) -> int:
        """Bytes of all entries, but for the manifest's."""
        return len(self.graph) + sum(map(size_of, self.rest.values()))

    @property
    def others(self) -> list[str]:
        """The files that are neither the model nor its weights."""
        return [name for name in self.rest if not names.is_reserved(name)]

    def manifest(self, advance: Advance) -> bytes:
        """manifest.json: reads every original once. Raises InputError."""
        files = [
            _Original(name, _sha256(file, advance), file.size)
            for name, file in self.originals.items()
        ]
        return msgspec.json.encode(_Manifest(files), order="sorted")

    def contents(self, manifest: bytes) -> dict[str, Content]:
        """Every entry by name, in the archive's order."""
        return {names.GRAPH: (self.graph,), names.MANIFEST: (manifest,), **self.rest}


def collect(source: Path) -> Package:
    """Look at a model file, or a folder with one model and other files.

    Raises ConfigError if there is nothing of the kind, InputError for what cannot be sealed.
    """
    try:
        is_folder, exists = source.is_dir(), source.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ConfigError(f"no model at {source}: {error.strerror}") from error
    if is_folder:
        return _package(_model_in(source), list(_files_below(source)))
    if not exists:
        raise ConfigError(
            f"no model at {source}", hint="name an .onnx file, or a folder with one in it"
        )
    return _package(source, [])


def entries(contents: Mapping[str, Content], advance: Advance) -> list[Entry]:
    """Names, sizes and checksums: reads everything once. Raises InputError."""
    return [Entry(name, size_of(c), _crc32(c, advance)) for name, c in contents.items()]


def _package(model: Path, below: list[tuple[str, SourceFile]]) -> Package:
    _check_original_names([model.name])
    parts = split(model)
    used = {file.path for file in parts.files.values()}
    others = {name: file for name, file in below if file.path not in used}
    rest = {**parts.weights, **{name: whole(others[name]) for name in sorted(others)}}
    _check_names(others, rest)
    _check_secrets(others)
    first = model.name
    originals = {first: parts.files[first]}
    everything = {**parts.files, **others}
    originals.update({name: everything[name] for name in sorted(everything) if name != first})
    _check_original_names(originals)
    return Package(originals, parts.graph, rest)


def _model_in(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix == ".onnx")
    if len(found) == 1:
        return found[0]
    listed = ", ".join(path.name for path in found) or "none"
    raise InputError(
        f"{folder} has to hold one .onnx file; there: {listed}",
        hint="name the model file itself to seal it without the other files",
    )


def _files_below(folder: Path) -> Iterator[tuple[str, SourceFile]]:
    root = folder.resolve()
    for here, folders, files in os.walk(root, onerror=_cannot_list):
        for name in [*files, *(name for name in folders if Path(here, name).is_symlink())]:
            path = Path(here, name)
            file = SourceFile.of(path)
            if not file.path.is_relative_to(root):
                raise InputError(
                    f"{path} leads out of the folder that is sealed",
                    hint="copy the folder with its links resolved: `cp -rL`",
                )
            yield path.relative_to(root).as_posix(), file


def _cannot_list(error: OSError) -> None:
    raise InputError(f"cannot read {error.filename}: {error.strerror}") from error


def _check_names(others: Mapping[str, SourceFile], rest: Mapping[str, Content]) -> None:
    for name in others:
        if names.is_reserved(name):
            raise InputError(
                f"the folder has a file {name!r}; that name is reserved", hint="rename the file"
            )
        if wrong := names.problem(name):
            raise InputError(f"file name {name[:120]!r} is {wrong}", hint="rename the file")
    if 2 + len(rest) > names.MAX_ENTRIES:
        raise InputError(f"{2 + len(rest)} files to seal; at most {names.MAX_ENTRIES} are possible")


def _check_secrets(others: Mapping[str, SourceFile]) -> None:
    """A key that lies beside a model was hardly meant for everybody who may open it."""
    for name, file in others.items():
        if _SECRET.search(read(FileRange(file, 0, min(file.size, _SEARCHED_BYTES)))):
            raise InputError(
                f"the folder has a private key or an access token in {name!r}",
                hint="whoever opens the model would get it: move it out of the folder, or name the "
                "model file itself to seal it without the other files",
            )


def _check_original_names(originals: Iterable[str]) -> None:
    for name in originals:
        if not name.isprintable():  # half characters from undecodable file names among them
            raise InputError(f"file name {name[:120]!r} has characters that cannot be printed")


def _sha256(file: SourceFile, advance: Advance) -> str:
    digest = hashlib.sha256()
    for block in stream(whole(file), advance):
        digest.update(block)
    return digest.hexdigest()


def _crc32(content: Content, advance: Advance) -> int:
    crc = 0
    for block in stream(content, advance):
        crc = zlib.crc32(block, crc)
    return crc

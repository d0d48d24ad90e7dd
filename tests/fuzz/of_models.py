"""The sealed file, from outside in."""

from __future__ import annotations

import struct
from contextlib import suppress

from cryptography.cobblestone import Cobblestone256Encryptor

from fuzz.ground import BUNDLE, VECTORS, same, scratch
from sealserve.models import RawKey, Slot, archive, inspect, open_model, package, slot_area
from sealserve.models import format as layout
from sealserve.native.errors import (
    FormatError,
    InputError,
    IntegrityError,
)
from support.fuzz_mutations import Target
from support.models_onnx import classifier, point_outside, small
from support.models_sealed import (
    KEY,
    PAGE,
    FolderPlace,
    Regions,
    archive_of,
    file_around,
    header_for,
    honest_contents,
)


def header() -> Target:
    def run(data: bytes) -> None:
        same(layout.encode_header(layout.decode_header(data)), data)

    return Target(run, [layout.encode_header(header_for(1000))], (FormatError, IntegrityError))


def header_text() -> Target:
    """The JSON inside, its frame put right."""

    def run(text: bytes) -> None:
        front = struct.pack("<16sII", layout.MAGIC, 1, len(text)) + text
        padded = front + bytes(-(len(front) + 56) % 4096)
        same(layout.encode_header(layout.decode_header(padded)), padded)

    seed = layout.encode_header(header_for(1000))
    return Target(run, [seed[24 : 24 + layout.json_length(seed)]], (FormatError,))


SLOTS = [
    Slot("hpke", "a" * 32, "X25519", bytes(80)),
    Slot("hpke", "b" * 32, "MLKEM768-X25519", bytes(1168)),
    Slot("azure", BUNDLE, "RSA-OAEP-256", bytes(384)),
]


def slots() -> Target:
    def run(data: bytes) -> None:
        same(slot_area.encode_area(slot_area.decode_area(data)), data)

    seeds = [slot_area.encode_area(SLOTS[:count]) for count in range(4)]
    return Target(run, seeds, (FormatError, IntegrityError))


def slots_text() -> Target:
    """The JSON inside, its frame put right."""

    def run(text: bytes) -> None:
        area = struct.pack("<16sII", b"sealserve/slots\n", 1, len(text)) + text
        padded = area + bytes(-len(area) % 4096)
        same(slot_area.encode_area(slot_area.decode_area(padded)), padded)

    text = slot_area.encode_area(SLOTS)[24:].rstrip(b"\0")
    return Target(run, [text, b'{"slots":[]}'], (FormatError,))


def directory() -> Target:
    """End and central directory of an archive whose entries take what they took."""
    plain = archive_of(honest_contents())
    end = archive.decode_end(plain[-archive.END_BYTES :], len(plain))

    def run(data: bytes) -> None:
        size = end.directory_offset + len(data)
        found = archive.decode_end(data[-archive.END_BYTES :], size)
        start = found.directory_offset - end.directory_offset
        records = data[start : start + found.directory_bytes] if start >= 0 else b""
        same(archive.directory(archive.decode_directory(records, found)), data[max(start, 0) :])

    return Target(run, [plain[end.directory_offset :]], (FormatError,))


def opened(data: bytes) -> None:
    """Open a file with the tests' key, under the root its own tree has."""
    path, folder = scratch() / "opened.sealed", scratch() / "place"
    path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    place = FolderPlace(folder)
    try:
        with open_model(path, None, RawKey(KEY), place) as model:
            assert {name for name in model.files if (folder / name).is_file()} == {*model.files}
    except BaseException:
        assert not list(folder.iterdir())
        raise
    finally:
        place.wipe()


def inner_archive() -> Target:
    """An archive sealed by somebody who has the key."""

    def run(plain: bytes) -> None:
        def encrypt(context: bytes) -> bytes:
            encryptor = Cobblestone256Encryptor(KEY, context)
            return encryptor.update(plain) + encryptor.finalize()

        path = scratch() / "inner.sealed"
        file_around(path, len(plain), encrypt)
        opened(path.read_bytes())

    contents = {**honest_contents(), "weights/00000": b"w" * 300}
    return Target(run, [archive_of(honest_contents()), archive_of(contents)], (FormatError,))


def regrown(data: bytes) -> bytes:
    """The file with an honest tree, where there is a place for one."""
    with suppress(FormatError, IntegrityError):
        regions = Regions.of(data)
        if len(regions.covered) % PAGE == 0:
            return regions.with_honest_tree()[0]
    return data


def sealed_file() -> Target:
    """A whole file; half of the time an honest tree is grown over what was changed."""

    def run(data: bytes) -> None:
        if sum(data) % 2:
            data = regrown(data)
        (scratch() / "whole.sealed").write_bytes(data)
        inspect(scratch() / "whole.sealed")
        opened(data)

    seeds = [(VECTORS / f"models/{name}.sealed").read_bytes() for name in ("tiny", "shared")]
    return Target(run, seeds, (FormatError, IntegrityError))


def model() -> Target:
    """An ONNX model to be sealed, some of whose weights stand in a file beside it."""

    def run(data: bytes) -> None:
        folder = scratch() / "model"
        folder.mkdir(exist_ok=True)
        (folder / "w.bin").write_bytes(bytes(1 << 20))
        (folder / "net.onnx").write_bytes(data)
        found = package.collect(folder / "net.onnx")
        package.entries(found.contents(found.manifest(lambda more: None)), lambda more: None)

    external = point_outside(classifier(), location="w.bin", offset="0", length="1048576")
    seeds = [small().SerializeToString(), external.SerializeToString()]
    tokens = (b"\x08\x96\x01", b"\x0a\xff\xff\xff\xff\x07", b"w.bin", b"../w.bin", b"\x38" * 30)
    return Target(run, seeds, (InputError,), tokens)

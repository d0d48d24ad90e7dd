"""Archives that are not the one encoding of their entries, sealed by somebody who has the key."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest

from sealserve.models import RawKey, archive, names, unseal
from sealserve.models.archive import END_BYTES, Entry
from sealserve.native.errors import FormatError
from support.models_onnx import batch, classifier, point_outside, predict
from support.models_refusals import (
    Refusal,
    assert_opening_refused,
    assert_unseal_refused,
    raw_key,
)
from support.models_sealed import (
    KEY,
    archive_of,
    entries_of,
    honest_contents,
    seal_archive,
)

BAD_NAME = "the name is"
CLASH = "is there twice, or is a folder of another"
OUT_OF_PLACE = "is out of place"
FORM = "is not in the one form allowed"
END = "the archive's end records"
LOCAL = "local header is not the one of the directory"


def with_file(name: str) -> bytes:
    return archive_of({**honest_contents(), name: b"x"})


def in_order(*listed: str) -> bytes:
    contents = honest_contents()
    return archive_of({name: contents.get(name, b"x") for name in listed})


def twice(name: str) -> bytes:
    """An entry twice, each with data of its own."""
    contents = honest_contents()
    listed = [*entries_of(contents), Entry(name, 1, zlib.crc32(b"x"))]
    placed = archive.place(listed)
    data = [*contents.values(), b"x"]
    body = b"".join(archive.local_header(p) + d for p, d in zip(placed, data, strict=True))
    return body + archive.directory(placed)


def by_zipfile(method: int = zipfile.ZIP_STORED, size: int = 100) -> bytes:
    """The same entries, as Python's own module writes them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as written:
        for name in ("model.onnx", "manifest.json"):
            written.writestr(name, bytes(size))
    return out.getvalue()


def directory_edited(number: int, field: int, value: bytes) -> bytes:
    """An honest archive, but for one field of one record of its directory."""
    plain = bytearray(honest())
    at = record_offset(number) + field
    plain[at : at + len(value)] = value
    return bytes(plain)


def honest() -> bytes:
    return archive_of(honest_contents())


def directory_offset() -> int:
    return archive.place(entries_of(honest_contents()))[-1].end


def record_offset(number: int) -> int:
    names_before = list(honest_contents())[:number]
    return directory_offset() + sum(46 + len(name) + 28 for name in names_before)


def zip64_offset(number: int) -> int:
    """Of the size in a record's ZIP64 field, from the record on."""
    return 46 + len(list(honest_contents())[number]) + 4


def deflated_in_place() -> bytes:
    """A bomb in our own frame: the entry's method says deflate, its data expand a thousandfold."""
    contents = honest_contents()
    packed = zlib.compressobj(9, wbits=-15)
    contents["weights/00000"] = packed.compress(bytes(10_000_000)) + packed.flush()
    plain = bytearray(archive_of(contents))
    for item in archive.place(entries_of(contents)):
        if item.entry.name == "weights/00000":
            plain[item.start + 8 : item.start + 10] = struct.pack("<H", 8)
    at = plain.index(b"PK\1\2", plain.index(b"PK\1\2", plain.index(b"PK\1\2") + 1) + 1)
    plain[at + 10 : at + 12] = struct.pack("<H", 8)
    return bytes(plain)


def shifted() -> bytes:
    """A page of zeros before the second entry; every offset in the directory put right."""
    contents = honest_contents()
    placed = archive.place(entries_of(contents))
    page = bytes(4096)
    body = b"".join(
        (page if i == 1 else b"") + archive.local_header(p) + contents[p.entry.name]
        for i, p in enumerate(placed)
    )
    moved = [
        archive.Placed(p.entry, p.start + 4096 * (i > 0), p.data + 4096 * (i > 0))
        for i, p in enumerate(placed)
    ]
    return body + archive.directory(moved)


def overlapping() -> bytes:
    """The third entry claims the bytes of the fourth as well."""
    contents = honest_contents()
    listed = [
        Entry(e.name, e.size + 4096 if e.name == "weights/00000" else e.size, e.crc32)
        for e in entries_of(contents)
    ]
    placed = archive.place(entries_of(contents))
    claimed = [archive.Placed(e, p.start, p.data) for e, p in zip(listed, placed, strict=True)]
    body = b"".join(archive.local_header(p) + contents[p.entry.name] for p in placed)
    return body + archive.directory(claimed)


def with_comment() -> bytes:
    plain = honest()
    return plain[:-2] + struct.pack("<H", 5) + b"hello"


def all_directory() -> bytes:
    """One entry, and everything before the end records is its directory."""
    plain = bytearray(honest())
    end = len(plain) - END_BYTES
    plain[end + 24 : end + 56] = struct.pack("<QQQQ", 1, 1, end, 0)
    return bytes(plain)


def late_directory() -> bytes:
    """A page of zeros between the last entry and the directory, the end records put right."""
    plain, at = honest(), directory_offset()
    moved = bytearray(plain[:at] + bytes(4096) + plain[at:])
    end = len(moved) - END_BYTES
    moved[end + 48 : end + 56] = struct.pack("<Q", at + 4096)
    moved[end + 64 : end + 72] = struct.pack("<Q", end)
    return bytes(moved)


def counting(count: int) -> bytes:
    """End records that say so many entries."""
    plain = bytearray(honest())
    end = len(plain) - END_BYTES
    plain[end + 24 : end + 40] = struct.pack("<QQ", count, count)
    return bytes(plain)


DEEP = "/".join("abcdefghijklmnopq")
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute name": (lambda: with_file("/etc/passwd"), BAD_NAME),
    "parent folder": (lambda: with_file("../outside"), BAD_NAME),
    "parent folder inside": (lambda: with_file("a/../../outside"), BAD_NAME),
    "this folder": (lambda: with_file("./a"), BAD_NAME),
    "empty part": (lambda: with_file("a//b"), BAD_NAME),
    "a folder": (lambda: with_file("a/"), BAD_NAME),
    "no name": (lambda: with_file(""), BAD_NAME),
    "backslash": (lambda: with_file("a\\b"), BAD_NAME),
    "zero byte": (lambda: with_file("a\0b"), BAD_NAME),
    "line break": (lambda: with_file("a\n"), BAD_NAME),
    "colon": (lambda: with_file("C:a"), BAD_NAME),
    "256 bytes": (lambda: with_file("a" * 256), "a name of 256 bytes"),
    "17 folders": (lambda: with_file(DEEP), BAD_NAME),
    "beyond ASCII": (
        lambda: with_file("aaaaaaa").replace(b"aaaaaaa", "äöü".encode() + b"!"),
        "not ASCII",
    ),
    "model twice": (lambda: twice("model.onnx"), CLASH),
    "file twice": (lambda: twice("labels.txt"), CLASH),
    "a file that is a folder": (lambda: with_file("labels.txt/a"), CLASH),
    "a folder that is a file": (
        lambda: archive_of({**honest_contents(), "z/a": b"", "z": b""}),
        CLASH,
    ),
    "no model": (lambda: in_order("manifest.json"), "begins with"),
    "no manifest": (lambda: in_order("model.onnx"), "begins with"),
    "manifest first": (lambda: in_order("manifest.json", "model.onnx"), "begins with"),
    "tensor missing": (
        lambda: in_order("model.onnx", "manifest.json", "weights/00001"),
        OUT_OF_PLACE,
    ),
    "tensors swapped": (
        lambda: in_order("model.onnx", "manifest.json", "weights/00001", "weights/00000"),
        OUT_OF_PLACE,
    ),
    "shared before the tensors": (
        lambda: in_order("model.onnx", "manifest.json", "weights/small", "weights/00000"),
        OUT_OF_PLACE,
    ),
    "others before the tensors": (
        lambda: in_order("model.onnx", "manifest.json", "a.txt", "weights/00000"),
        OUT_OF_PLACE,
    ),
    "others not sorted": (
        lambda: in_order("model.onnx", "manifest.json", "b.txt", "a.txt"),
        OUT_OF_PLACE,
    ),
    "something else among the weights": (
        lambda: in_order("model.onnx", "manifest.json", "weights/more"),
        OUT_OF_PLACE,
    ),
    "a tensor of six digits": (
        lambda: in_order("model.onnx", "manifest.json", "weights/000000"),
        OUT_OF_PLACE,
    ),
    "a file in the manifest's place": (lambda: with_file("manifest.json/a"), CLASH),
    "zipfile, stored": (by_zipfile, END),
    "zipfile, deflated": (lambda: by_zipfile(zipfile.ZIP_DEFLATED), END),
    "bomb by zipfile": (lambda: by_zipfile(zipfile.ZIP_DEFLATED, 50_000_000), END),
    "bomb in our frame": (deflated_in_place, FORM),
    "version made by": (lambda: directory_edited(2, 4, b"\0\0"), FORM),
    "version needed": (lambda: directory_edited(2, 6, b"\x14\0"), FORM),
    "encrypted flag": (lambda: directory_edited(2, 8, b"\1\0"), FORM),
    "name in UTF-8 flag": (lambda: directory_edited(2, 8, b"\0\x08"), FORM),
    "method deflate": (lambda: directory_edited(2, 10, b"\x08\0"), FORM),
    "time": (lambda: directory_edited(2, 12, b"\1\0"), FORM),
    "date": (lambda: directory_edited(2, 14, b"\x22\0"), FORM),
    "CRC of the directory alone": (lambda: directory_edited(2, 16, b"\0\0\0\0"), LOCAL),
    "size outside ZIP64": (lambda: directory_edited(2, 20, struct.pack("<I", 10240)), FORM),
    "disk": (lambda: directory_edited(2, 34, b"\1\0"), FORM),
    "internal attributes": (lambda: directory_edited(2, 36, b"\1\0"), FORM),
    "a symbolic link": (lambda: directory_edited(2, 38, struct.pack("<I", 0xA1FF0000)), FORM),
    "an executable": (lambda: directory_edited(2, 38, struct.pack("<I", 0x81ED0000)), FORM),
    "offset outside ZIP64": (lambda: directory_edited(2, 42, bytes(4)), FORM),
    "another extra field": (lambda: directory_edited(2, 46 + 13, b"\2\0"), FORM),
    "offset of another entry": (
        lambda: directory_edited(2, zip64_offset(2) + 16, struct.pack("<Q", 0)),
        FORM,
    ),
    "size of a terabyte": (
        lambda: directory_edited(2, zip64_offset(2), struct.pack("<QQ", 1 << 40, 1 << 40)),
        "there are",
    ),
    "size of 2^64 - 1": (
        lambda: directory_edited(2, zip64_offset(2), b"\xff" * 16),
        "there are",
    ),
    "two sizes": (
        lambda: directory_edited(2, zip64_offset(2), struct.pack("<QQ", 10240, 10241)),
        FORM,
    ),
    "overlap": (overlapping, FORM),
    "gap": (shifted, FORM),
    "gap before the directory": (late_directory, "the archive's directory begins at"),
    "a directory as large as the archive": (all_directory, "bytes for 1 entries"),
    "bytes before": (lambda: bytes(4096) + honest(), END),
    "bytes behind": (lambda: honest() + b"x", END),
    "archive comment": (with_comment, END),
    "no entries": (lambda: archive.directory(()), "begins with"),
    "4 billion entries": (lambda: counting(1 << 32), "at most 16384"),
    "16385 entries": (lambda: counting(16385), "at most 16384"),
    "one entry too few": (lambda: counting(4), "bytes behind the archive's directory"),
    "one entry too many": (lambda: counting(6), "cut in entry 5"),
    "no archive": (lambda: b"", "its end alone takes"),
    "a few bytes": (lambda: b"PK\5\6", "its end alone takes"),
    "a text": (lambda: b"not an archive " * 1000, END),
    "a model without archive": (lambda: classifier().SerializeToString(), END),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_in_another_form_is_refused(case, tmp_path, capsys):
    make, says = ARCHIVES[case]
    path = tmp_path / "net.sealed"
    model = seal_archive(path, make())
    wanted = Refusal(FormatError, says)
    assert_opening_refused(path, model.root, raw_key(), wanted)
    assert_unseal_refused(path, model.root, wanted, capsys)


def test_the_honest_archive_opens(tmp_path):
    """So that each line of the table fails for its own reason."""
    model = seal_archive(tmp_path / "net.sealed", honest())
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY), root=model.root)
    for name, data in honest_contents().items():
        assert (tmp_path / "out" / name).read_bytes() == data


def local_places() -> dict[str, int]:
    """Every byte of the first local header and its name, and the borders of the others."""
    placed = archive.place(entries_of(honest_contents()))
    places = {f"local header of the first, byte {i}": i for i in range(30 + 10 + 20 + 6)}
    for item in placed:
        places[f"{item.entry.name}: signature"] = item.start
        places[f"{item.entry.name}: CRC"] = item.start + 14
        places[f"{item.entry.name}: alignment"] = item.start + 30 + len(item.entry.name) + 24
        places[f"{item.entry.name}: last zero before the data"] = item.data - 1
    return places


@pytest.mark.parametrize("place", local_places())
def test_a_local_header_is_compared_byte_by_byte(place, tmp_path):
    plain = bytearray(honest())
    plain[local_places()[place]] ^= 1
    path = tmp_path / "net.sealed"
    model = seal_archive(path, bytes(plain))
    assert_opening_refused(path, model.root, raw_key(), Refusal(FormatError, LOCAL))


def test_every_byte_of_directory_and_end_counts():
    """A changed bit gives another list of entries, or nothing that can be read."""
    plain = honest()
    start = directory_offset()
    read = read_directory(plain)
    for at in range(start, len(plain)):
        for bit in (1, 0x80):
            changed = bytearray(plain)
            changed[at] ^= bit
            try:
                other = read_directory(bytes(changed))
            except FormatError:
                continue
            assert other != read, f"byte {at - start} of the directory does not count"
            assert archive.directory(other) == changed[start:]


def read_directory(plain: bytes) -> tuple[archive.Placed, ...]:
    end = archive.decode_end(plain[-END_BYTES:], len(plain))
    stop = end.directory_offset + end.directory_bytes
    return archive.decode_directory(plain[end.directory_offset : stop], end)


def test_a_crc_is_for_other_peoples_tools(tmp_path):
    """SPEC section 6: tags have said more, so a consistent lie about it opens."""
    contents = honest_contents()
    listed = [Entry(e.name, e.size, 7) for e in entries_of(contents)]
    placed = archive.place(listed)
    body = b"".join(archive.local_header(p) + contents[p.entry.name] for p in placed)
    plain = body + archive.directory(placed)
    with zipfile.ZipFile(io.BytesIO(plain)) as opened:
        assert opened.testzip() == "model.onnx"
    seal_archive(tmp_path / "net.sealed", plain)
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY))


def test_a_graph_of_two_gibibytes_is_refused_by_its_size():
    with pytest.raises(FormatError, match="at most 2147483647"):
        names.check([("model.onnx", 1 << 31), ("manifest.json", 1)])
    names.check([("model.onnx", (1 << 31) - 1), ("manifest.json", 1)])


@pytest.mark.parametrize("name", ["a" * 255, "/".join("abcdefghijklmnop"), "-", "a b", "..."])
def test_names_at_the_limits_open(name, tmp_path):
    contents = {**honest_contents(), name: b"x"}
    del contents["labels.txt"]
    seal_archive(tmp_path / "net.sealed", archive_of(contents))
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY))
    assert (tmp_path / "out" / name).read_bytes() == b"x"


OUTSIDE = {
    "another folder": {"location": "../secret", "offset": "0", "length": "1048576"},
    "an absolute path": {"location": "/etc/passwd", "offset": "0", "length": "1048576"},
    "beyond the entry": {"location": "weights/00000", "offset": "4096", "length": "1048576"},
    "longer than the entry": {"location": "weights/00000", "offset": "0", "length": "1048580"},
    "far beyond": {"location": "weights/00000", "offset": str(1 << 62), "length": "1048576"},
    "no such entry": {"location": "weights/00001", "offset": "0", "length": "1048576"},
}


@pytest.mark.parametrize("places", OUTSIDE.values(), ids=OUTSIDE)
def test_a_graph_cannot_reach_out_of_its_entries(places, tmp_path):
    """The graph is the sealer's word; the runtime that reads it refuses what is outside."""
    (tmp_path / "secret").write_bytes(bytes(1 << 20))
    contents = honest_contents()
    contents["weights/00000"] = bytes(1 << 20)
    contents["model.onnx"] = point_outside(classifier(), **places).SerializeToString()
    seal_archive(tmp_path / "net.sealed", archive_of(contents))
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY))
    with pytest.raises(Exception, match=r"(?i)external|exceed|escape|path|bounds|exist"):
        predict(tmp_path / "out/model.onnx", batch())
    with pytest.raises(Exception, match=r"(?i)external|exceed|escape|path|bounds|exist"):
        predict(contents["model.onnx"], batch(), folder=str(tmp_path / "out"))

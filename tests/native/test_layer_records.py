"""Tar headers, paths, inodes and folders: the native routines and their plain twins agree."""

from __future__ import annotations

import tarfile
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealserve.native import ext4, layer_run, reference_layer, tar
from sealserve.native.tar import Header
from support.policy_layers import fixed

FIELDS = [name for name in dir(Header) if not name.startswith("_")]
NUMBERS = {"mode": (100, 8), "uid": (108, 8), "size": (124, 12), "modified": (136, 12)}


@pytest.fixture(params=[tar, reference_layer], ids=["native", "reference"])
def reading(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[ext4, reference_layer], ids=["native", "reference"])
def writing(request: pytest.FixtureRequest) -> Any:
    return request.param


def told(header: Header | None) -> dict[str, object] | None:
    return None if header is None else {name: getattr(header, name) for name in FIELDS}


def header_of(module: Any, block: bytes) -> object:
    try:
        return told(module.read_header(block, 0))
    except ValueError:
        return ValueError


def ustar(name: str = "a/b", **fields: object) -> bytearray:
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return bytearray(entry.tobuf(tarfile.USTAR_FORMAT))


def with_field(at: int, value: bytes) -> bytes:
    block = ustar()
    block[at : at + len(value)] = value
    return fixed(block)


def test_a_header_is_read(reading: ModuleType) -> None:
    block = bytearray(
        ustar(f"{'p' * 120}/{'n' * 50}", mode=0o4755, uid=70, gid=8, size=9, mtime=10)
    )
    header = reading.read_header(b"before" + block, 6)
    assert header.name == b"p" * 120 + b"/" + b"n" * 50
    assert (header.mode, header.uid, header.gid, header.size) == (0o4755, 70, 8, 9)
    assert (header.modified, header.accessed, header.kind) == (10, tar.NO_TIME, ord("0"))


def test_zeros_are_no_header(reading: ModuleType) -> None:
    assert reading.read_header(bytes(512), 0) is None


@pytest.mark.parametrize("data", [b"", bytes(511), b"x" * 512])
def test_what_is_no_header(reading: ModuleType, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        reading.read_header(data, 0)


def test_an_offset_outside(reading: ModuleType) -> None:
    for offset in (-1, 1, 512, 1 << 40):
        with pytest.raises(ValueError, match=r"."):
            reading.read_header(bytes(512), offset)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\x80\0\0\0\0\0\0\x07", 7),
        (b"\xff" * 8, -1),
        (b"\xbf" + b"\xff" * 7, (1 << 62) - 1),
        (b"\xc0" + b"\0" * 7, -(1 << 62)),
        (b"\x80\0\0\0\x7f" + b"\xff" * 7, (1 << 63) - 1),
        (b"\xff\xff\xff\xff\x80" + b"\0" * 7, -(1 << 63)),
        (b" 17 \0 \0", 15),
        (b"17\0garbage", 15),
        (b"\0\0 \0", 0),
        (b"777777777777", 0o777777777777),
    ],
)
def test_numbers(reading: ModuleType, field: bytes, value: int) -> None:
    assert reading.read_number(field) == value


@pytest.mark.parametrize(
    "field",
    [
        *(
            b"\x80\0\0\0\x80" + b"\0" * 7,
            b"\x80\0\0\x01" + b"\0" * 8,
            b"\xff\xff\xff\xff\0" + b"\0" * 7,
        ),
        *(b"8", b"1 7", b"-1", b"0x1", b"", b"1" * 13),
    ],
)
def test_what_is_no_number(reading: ModuleType, field: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        reading.read_number(field)


@settings(deadline=None)
@given(
    st.sampled_from([b"ustar\x0000", b"ustar  \0", b"ustar \0\0", bytes(8), b"ustarx00"]),
    st.sampled_from(
        [(100, 8), (108, 8), (124, 12), (136, 12), (329, 8), (345, 12), (357, 12), (345, 40)]
    ),
    st.binary(max_size=40) | st.sampled_from([b"\xff" * 12, b"\x80" + b"\0" * 11, b"0000017\0"]),
    st.sampled_from([b"", b"tar\0"]),
    st.booleans(),
)
def test_headers_agree(
    magic: bytes, place: tuple[int, int], value: bytes, end: bytes, right: bool
) -> None:
    block = ustar()
    block[257:265] = magic
    at, size = place
    block[at : at + len(value[:size])] = value[:size]
    block[512 - len(end) :] = end
    data = fixed(block) if right else bytes(block)
    assert header_of(tar, data) == header_of(reference_layer, data)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"", b".", b"..", b"...", b"a", b".a", b"bc"]), max_size=8))
def test_paths_agree(parts: list[bytes]) -> None:
    path = b"/".join(parts)
    assert tar.split_path(path) == reference_layer.split_path(path)


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-(1 << 40), 1 << 40) | st.just(tar.NO_TIME),
    st.integers(0, 999_999_999),
    st.binary(max_size=60),
)
def test_inodes_agree(number: int, owner: int, seconds: int, part: int, area: bytes) -> None:
    about = Header()
    about.uid, about.gid = owner, -owner >> 1
    about.modified, about.modified_ns = seconds, part
    about.accessed, about.changed = seconds + 1, seconds * 2
    tables = bytearray(b"\xee" * 768), bytearray(b"\xee" * 768)
    fields = (0o100644, 1 << 33 | 5, 3, 77, 0x40000, 99)
    ext4.write_inode(tables[0], number, about, *fields, area)
    reference_layer.write_inode(tables[1], number, about, *fields, area)
    assert tables[0] == tables[1]


def test_inodes_have_their_places(writing: ModuleType) -> None:
    for number, area in ((0, b""), (2, b""), (1, bytes(61))):
        with pytest.raises(ValueError, match=r"."):
            writing.write_inode(bytearray(256), number, Header(), 0, 0, 0, 0, 0, 0, area)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.binary(min_size=1, max_size=255)), max_size=60))
def test_folders_agree(children: list[tuple[int, bytes]]) -> None:
    table = bytearray(1024)
    for place, mode in enumerate((0x41, 0x81, 0xA1, 0x21)):
        table[place * 256 + 1] = mode
    arguments = (table, 1, 2, children)
    assert ext4.directory_blocks(*arguments) == reference_layer.directory_blocks(*arguments)


@pytest.mark.parametrize("child", [(0, b"a"), (5, b"a"), (1, b""), (1, b"x" * 256)])
def test_children_that_cannot_be(writing: ModuleType, child: tuple[int, bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        writing.directory_blocks(bytearray(1024), 1, 2, [child])


class TestLayFiles:
    """What a run takes, and what ends it. That it changes no root: tests/policy/test_layers.py."""

    @staticmethod
    def lay(window: bytes, *, room: int = 8192, folder: bytes = b"a/", **there: int) -> Any:
        children = {name.encode(): number for name, number in there.items()}
        result = layer_run.lay_files(window, bytearray(room), 0, 9, folder, children, 12, 100)
        return (*result, children)

    def test_a_file(self) -> None:
        entry = bytes(ustar(size=5)) + b"hello".ljust(512, b"\0")
        batch = bytearray(b"\xee" * 8192)
        children: dict[bytes, int] = {}
        at, used, inodes = layer_run.lay_files(entry, batch, 0, 9, b"a/", children, 12, 100)
        assert (at, used, children) == (1024, 4096, {b"b": 12})
        assert batch == b"hello".ljust(4096, b"\0") + b"\xee" * 4096
        table = bytearray(12 * 256)
        area = bytes.fromhex("0af301000400000000000000000000000100000009000000")
        about = tar.read_header(entry, 0)
        assert about is not None
        reference_layer.write_inode(table, 12, about, 0o100644, 5, 1, 1, 0xC0000, 0, area)
        assert inodes == table[-256:]

    @pytest.mark.parametrize(
        "entry",
        {
            "no data": bytes(ustar(size=0)),
            "a folder": bytes(ustar(type=tarfile.DIRTYPE)),
            "an extension": bytes(ustar(type=b"x", size=5)),
            "another folder": bytes(ustar("b/b", size=5)),
            "a folder below": bytes(ustar("a/b/c", size=5)),
            "a whiteout": bytes(ustar("a/.wh.b", size=5)),
            "itself": bytes(ustar("a/.", size=5)),
            "the one above": bytes(ustar("a/..", size=5)),
            "no name": bytes(ustar("a/", size=5)),
            "a wrong checksum": bytes(ustar(size=5)[:-1] + b"x"),
            "zeros": bytes(512),
            "a negative size": with_field(124, b"\xff" * 12),
            "an endless size": with_field(124, b"\x80\0\0\0\x7f" + b"\xff" * 7),
        }.items(),
        ids=lambda pair: pair[0],
    )
    def test_what_ends_it(self, entry: tuple[str, bytes]) -> None:
        assert self.lay(entry[1] + bytes(1024)) == (0, 0, b"", {})

    def test_a_name_that_is_there(self) -> None:
        assert self.lay(bytes(ustar(size=5)) + bytes(512), b=11)[:3] == (0, 0, b"")

    def test_padding_that_is_not_at_hand(self) -> None:
        assert self.lay(bytes(ustar(size=5)) + bytes(511))[:2] == (0, 0)

    def test_no_room(self) -> None:
        assert self.lay(bytes(ustar(size=5)) + bytes(512), room=4096)[:2] == (0, 0)

    def test_a_batch_filled_wrongly(self) -> None:
        for used in (-4096, 1, 12288):
            with pytest.raises(ValueError, match="whole blocks"):
                layer_run.lay_files(b"", bytearray(8192), used, 9, b"a/", {}, 12, 100)

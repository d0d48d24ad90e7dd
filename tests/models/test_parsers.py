"""Parsers take any bytes: what they accept encodes to itself, the rest is a documented error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealserve.models import archive, slot_area, wire
from sealserve.models import format as layout
from sealserve.models.slots import Slot
from sealserve.native.errors import FormatError, InputError, IntegrityError
from support.models_onnx import classifier
from support.models_sealed import archive_of, header_for, honest_contents

HEADER = layout.encode_header(header_for(1000))
AREA = slot_area.encode_area([Slot("hpke", "a" * 32, "X25519", b"wrapped")])
ARCHIVE = archive_of(honest_contents())
MODEL = classifier().SerializeToString()
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6)


def edited(data: bytes, edits: list[tuple[int, int]], start: int = 0) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[start + place % (len(data) - start)] = value
    return bytes(changed)


@given(st.one_of(st.binary(max_size=500), EDITS.map(lambda e: edited(HEADER, e))))
def test_headers(front):
    with contextlib.suppress(FormatError, IntegrityError):
        assert layout.encode_header(layout.decode_header(front)) == front


@given(st.one_of(st.binary(max_size=500), EDITS.map(lambda e: edited(AREA, e))))
def test_slot_areas(area):
    with contextlib.suppress(FormatError, IntegrityError):
        assert slot_area.encode_area(slot_area.decode_area(area)) == area


@settings(max_examples=300)
@given(EDITS)
def test_archive_directories(edits):
    start = archive.place([*_entries()])[-1].end
    plain = edited(ARCHIVE, [(place * 3, value) for place, value in edits], start)
    with contextlib.suppress(FormatError):
        end = archive.decode_end(plain[-archive.END_BYTES :], len(plain))
        stop = end.directory_offset + end.directory_bytes
        found = archive.decode_directory(plain[end.directory_offset : stop], end)
        assert archive.directory(found) == plain[start:]


def _entries() -> list[archive.Entry]:
    return [archive.Entry(name, len(data)) for name, data in honest_contents().items()]


@given(st.one_of(st.binary(max_size=500), EDITS.map(lambda e: edited(MODEL, e))))
def test_models(model):
    with contextlib.suppress(InputError):
        wire.lighten(memoryview(model), "net.onnx")


@pytest.mark.parametrize("name", ["x" * 20_000, "\\u001b[2J"], ids=["long", "moves the cursor"])
def test_a_name_out_of_a_file_is_shown_so_that_it_does_no_harm(name):
    text = b'{"%s":1}' % name.encode()
    area = b"sealserve/slots\n\1\0\0\0" + len(text).to_bytes(4, "little") + text
    with pytest.raises(FormatError, match="unknown field") as caught:
        slot_area.decode_area(area.ljust(-(-len(area) // 4096) * 4096, b"\0"))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


def test_an_end_of_another_length_is_refused():
    with pytest.raises(FormatError, match="its end records alone"):
        archive.decode_end(b"x", 1)

"""Headers that differ from a good one in one thing: refused before anything behind them is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from sealserve.models import format as layout
from sealserve.native.errors import FormatError, IntegrityError
from support.models_refusals import (
    Capture,
    Refusal,
    assert_opening_refused,
    assert_unseal_refused,
    assert_verify_refused,
    raw_key,
)

ROOT = bytes(32)
GOOD: dict[str, object] = {
    "batch_independent": False,
    "created": "2026-01-02T03:04:05Z",
    "key_id": "0123456789abcdef",
    "name": "net",
    "payload_size": 1072,
    "version": "1.0",
}
MOST = 1 << 40  # happens to be a length that a message can have


def text_of(**members: object) -> bytes:
    """The canonical JSON of a good header with these members; None takes one away."""
    found = {name: v for name, v in {**GOOD, **members}.items() if v is not None}
    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def framed(text: bytes, *, magic: bytes = layout.MAGIC, version: int = 1) -> bytes:
    """Bytes 0 to P around this text, whatever it is."""
    front = struct.pack("<16sII", magic, version, len(text)) + text
    return front + bytes(-(len(front) + 56) % 4096)


ACCEPTED = {
    "as it is": {},
    "rows independent": {"batch_independent": True},
    "the longest name": {"name": "a" + "._-Z9" * 25 + "aa"},
    "the shortest name": {"name": "7"},
    "the longest version": {"version": "1" + "+" * 63},
    "the smallest message": {"payload_size": 72},
    "the largest message": {"payload_size": MOST},
    "a leap day": {"created": "2028-02-29T23:59:59Z"},
}


@pytest.mark.parametrize("members", ACCEPTED.values(), ids=ACCEPTED)
def test_a_header_at_its_limits_is_read(members: dict[str, object]) -> None:
    front = framed(text_of(**members))
    assert layout.encode_header(layout.decode_header(front)) == front


MEMBERS: dict[str, tuple[dict[str, object], str]] = {
    **{f"no {name}": ({name: None}, "missing required field") for name in GOOD},
    "one member more": ({"more": 1}, "unknown field"),
    "a flag that is a number": ({"batch_independent": 0}, "Expected `bool`"),
    "a name that is a list": ({"name": ["net"]}, "Expected `str`"),
    "a size that is text": ({"payload_size": "1072"}, "Expected `int`"),
    "a size with a fraction": ({"payload_size": 1072.5}, "Expected `int`"),
    "no size": ({"payload_size": 0}, ">= 1"),
    "a size below zero": ({"payload_size": -1072}, ">= 1"),
    "a size above the limit": ({"payload_size": MOST + 1}, f"<= {MOST}"),
    "a size beyond 64 bits": ({"payload_size": 1 << 70}, "cannot be read"),
    "a header without a chunk": ({"payload_size": 56}, "no message is 56 bytes long"),
    "a chunk without its tag": ({"payload_size": 71}, "no message is 71 bytes long"),
    "a last chunk that is whole": ({"payload_size": 56 + 16400}, "no message is 16456"),
    "a second chunk without its tag": ({"payload_size": 56 + 16415}, "no message is 16471"),
    "a month that is none": ({"created": "2026-13-02T03:04:05Z"}, "no such time"),
    "a leap day in another year": ({"created": "2026-02-29T03:04:05Z"}, "no such time"),
    "a leap second": ({"created": "2026-12-31T23:59:60Z"}, "no such time"),
    "the year zero": ({"created": "0000-01-02T03:04:05Z"}, "no such time"),
    "a time without Z": ({"created": "2026-01-02T03:04:05"}, "created is"),
    "a time elsewhere": ({"created": "2026-01-02T03:04:05+00:00"}, "created is"),
    "a time with a fraction": ({"created": "2026-01-02T03:04:05.0Z"}, "created is"),
    "a time in other digits": ({"created": "٢026-01-02T03:04:05Z"}, "created is"),
    "a short key id": ({"key_id": "0123456789abcde"}, "key_id is"),
    "a long key id": ({"key_id": "0123456789abcdef0"}, "key_id is"),
    "a key id in capitals": ({"key_id": "0123456789ABCDEF"}, "key_id is"),
    "an empty name": ({"name": ""}, "name is"),
    "a name of 129": ({"name": "a" * 129}, "name is"),
    "a name that begins with a dot": ({"name": ".net"}, "name is"),
    "a name with a slash": ({"name": "a/b"}, "name is"),
    "a name with a plus": ({"name": "a+b"}, "name is"),
    "a name with a line break": ({"name": "net\n"}, "name is"),
    "an empty version": ({"version": ""}, "version is"),
    "a version of 65": ({"version": "1" * 65}, "version is"),
    "a version with a space": ({"version": "1 0"}, "version is"),
}
FRONTS: dict[str, tuple[bytes, str]] = {
    **{name: (framed(text_of(**members)), says) for name, (members, says) in MEMBERS.items()},
    "another magic": (framed(text_of(), magic=b"sealserve/MODEL\n"), "not a sealed model"),
    "format version 0": (framed(text_of(), version=0), "format version 0"),
    "format version 2": (framed(text_of(), version=2), "format version 2"),
    "no JSON": (framed(b""), "header of 0 bytes"),
    "one byte above the limit": (framed(b" " * 65457), "header of 65457 bytes; 1 to 65456"),
    "4 GiB": (framed(b"{}")[:20] + b"\xff" * 4 + bytes(8192), "header of 4294967295 bytes"),
    "not UTF-8": (framed(text_of().replace(b"net", b"n\xfft")), "cannot be read"),
    "an array": (framed(b"[]"), "cannot be read"),
    "deep": (framed(b"[" * 60000), "cannot be read"),
    "two texts": (framed(text_of() + b"{}"), "cannot be read"),
    "white space": (framed(text_of().replace(b":", b": ")), "not canonical"),
    "members in another order": (
        framed(b"{" + b",".join(reversed(text_of()[1:-1].split(b","))) + b"}"),
        "not canonical",
    ),
    "a member twice": (framed(text_of().replace(b"{", b'{"name":"x",')), "not canonical"),
    "another spelling of a letter": (
        framed(text_of().replace(b'"net"', b'"\\u006eet"')),
        "not canonical",
    ),
    "a size in scientific form": (framed(text_of().replace(b"1072", b"1072e0")), "cannot be read"),
    "padding that is not zero": (framed(text_of())[:-1] + b"\1", "padding after the header"),
}


@pytest.mark.parametrize("case", FRONTS)
def test_a_header_in_another_form_is_refused(case: str) -> None:
    front, says = FRONTS[case]
    with pytest.raises(FormatError, match=says):
        layout.decode_header(front)


@pytest.mark.parametrize("case", FRONTS)
def test_a_file_with_such_a_header_is_refused(case: str, tmp_path: Path, capsys: Capture) -> None:
    """By all who read files, although nothing of the file behind the header is there."""
    front, _ = FRONTS[case]
    path = tmp_path / "net.sealed"
    path.write_bytes(front + bytes(64))
    wanted = Refusal(FormatError, "")
    assert_opening_refused(path, ROOT, raw_key(), wanted)
    assert_unseal_refused(path, ROOT, wanted, capsys)
    assert_verify_refused(path, ROOT, capsys)


def test_a_header_of_another_length_than_it_says() -> None:
    front = framed(text_of())
    for cut in (front[:-1], front + b"\0"):
        with pytest.raises(IntegrityError, match="cut in its header"):
            layout.decode_header(cut)


def test_nobody_writes_a_header_that_nobody_reads() -> None:
    header = layout.decode_header(framed(text_of()))
    for member in ("created", "key_id", "name", "version"):
        with pytest.raises(FormatError, match=f"{member} is 'a b'"):
            layout.encode_header(layout.Header(**{**GOOD, member: "a b"}))  # type: ignore[arg-type]
    assert header == layout.Header(**GOOD)  # type: ignore[arg-type]

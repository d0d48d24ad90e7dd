"""Changes to valid inputs, drawn from a seed, and what a target may answer to them."""

from __future__ import annotations

import hashlib
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_INPUT_BYTES = 512 * 1024  # beyond what any parser here reads, but the sealed file
MAX_MESSAGE_CHARACTERS = 16 * 1024  # people have to read it

# What parsers have stumbled over: JSON and TOML in pieces, half a character, odd numbers, DER and
# CBOR that never end, base64 at its edges.
TOKENS = (
    *(bytes([byte]) for byte in b'\0\1\x1f "\\/{}[]:,.=-_#\n\r\x7f\x80\xff'),
    *(b"null", b"true", b"false", b"NaN", b"-0", b"1e999", b"1E400", b"-1", b"0.1", b"1_0"),
    *(b"9" * 20, b"9" * 400, b"9" * 5000, b"18446744073709551616", b"9007199254740993"),
    *(rb"\ud800", rb"\u0000", b'"":', b'"a":1,', b"{}", b"[]", b'""', b"[" * 40, b"[" * 20000),
    *(b'{"a":' * 40, b'"\xed\xa0\x80"', b"\xc3", b"\xe2\x80\xae", b"\xef\xbb\xbf"),
    *(b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x02\x00", b"\x06\x01\x80", b"\x03\x01\x07"),
    *(b"\x9f", b"\xbf", b"\xff", b"\x5f", b"\xc0", b"\xdb" + b"\xff" * 8, b"\xa1\x80\x00", b"\xf6"),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x06", b"../", b"=", b"==", b"AB", b"+/", b"-_", b"."),
    *(b"0000-00-00", b"9999-12-31T23:59:60Z", b"'''", b'"""', b"[[a]]", b"a.b = 1", b"\r\n\r\n"),
)
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_DIGITS = re.compile(rb"[0-9]+")
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"')

Edit = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """run: takes any bytes. seeds: bytes it accepts. documented: all it may raise.

    tokens: what is worth putting in, besides TOKENS.
    """

    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    documented: tuple[type[Exception], ...]
    tokens: Sequence[bytes] = ()

    def attack(self, data: bytes) -> bool:
        """Whether it is accepted. Raises whatever is not documented, with the input as a note."""
        try:
            self.run(data)
        except self.documented as error:
            _check_message(str(error), data)
            return False
        except Exception as error:
            error.add_note(f"the input is {_kept(data)}")
            raise
        return True

    def inputs(self, draw: random.Random) -> Iterator[bytes]:
        """Changed seeds without end."""
        while True:
            yield self.changed(draw.choice(self.seeds), draw)

    def changed(self, data: bytes, draw: random.Random) -> bytes:
        """The same input with a few changes."""
        edits = [*EDITS, *(_put_in(token) for token in self.tokens)]
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            data = draw.choice(edits)(data, draw)
        return data[:MAX_INPUT_BYTES]


def _check_message(text: str, data: bytes) -> None:
    """A refusal can be shown on a terminal: no end of it, no half characters, nothing it obeys."""
    assert text, f"no word about {_kept(data)}"
    assert len(text) <= MAX_MESSAGE_CHARACTERS, f"{len(text)} characters about {_kept(data)}"
    odd = {letter for letter in text if not (letter.isprintable() or letter == "\n")}
    assert not odd, f"{odd} in a message about {_kept(data)}: {text[:500]!r}"


def _kept(data: bytes) -> str:
    """The input for people, in a file if it is long."""
    if len(data) <= 500:
        return repr(data)
    path = Path(tempfile.gettempdir(), f"fuzz-{hashlib.sha256(data).hexdigest()[:16]}")
    path.write_bytes(data)
    return f"{len(data)} bytes, kept as {path}"


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    """A stretch of the data, mostly short."""
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice((1, 1, 2, 4, 8, 64, len(data))))


def _flip(data: bytes, draw: random.Random) -> bytes:
    if not data:
        return data
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + draw.randbytes(min(end - start, 8)) + data[min(end, start + 8) :]


def _remove(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + data[end:]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:end] + data[start:end] * draw.choice((1, 1, 2, 16)) + data[end:]


def _move(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    rest, at = data[:start] + data[end:], draw.randrange(len(data) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _token(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + draw.choice(TOKENS) + data[draw.choice((start, end)) :]


def _length(data: bytes, draw: random.Random) -> bytes:
    """A number in binary where one may stand."""
    size, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
    number = draw.choice(_NUMBERS) & (1 << 8 * size) - 1
    at = draw.randrange(len(data) + 1)
    return (
        data[:at]
        + number.to_bytes(size, "little" if order == "little" else "big")
        + (data[at + size :])
    )


def _number(data: bytes, draw: random.Random) -> bytes:
    return _replaced(_DIGITS, str(draw.choice(_NUMBERS) + draw.choice((-1, 0, 1))).encode())(
        data, draw
    )


def _word(data: bytes, draw: random.Random) -> bytes:
    """A quoted text becomes another of the same input, or something else."""
    words = [match[0] for match in _WORD.finditer(data)]
    return _replaced(_WORD, draw.choice([*words, *TOKENS, b'"\\ud800"', b'""']))(data, draw)


def _replaced(pattern: re.Pattern[bytes], by: bytes) -> Edit:
    def edit(data: bytes, draw: random.Random) -> bytes:
        found = list(pattern.finditer(data))
        if not found:
            return data
        match = draw.choice(found)
        return data[: match.start()] + by + data[match.end() :]

    return edit


def _put_in(token: bytes) -> Edit:
    def edit(data: bytes, draw: random.Random) -> bytes:
        start, end = _span(data, draw)
        return data[:start] + token + data[draw.choice((start, end)) :]

    return edit


EDITS: tuple[Edit, ...] = (
    *(_flip, _flip, _overwrite, _remove, _repeat, _move, _cut, _token, _token),
    *(_length, _number, _word),
)

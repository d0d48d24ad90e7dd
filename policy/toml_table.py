"""Strict reading of a TOML file: every value typed, every refusal with file, line and key."""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from sealserve.native.errors import ConfigError
from sealserve.policy.toml_places import Path, Places, spell

MAX_FILE_BYTES = 64 * 1024  # a trust file with a hundred policies and roots takes 15 KiB
MAX_ITEMS = 256  # entries of one list; more fleets and models than one client talks to
MAX_SHOWN = 80  # characters of a value in a message
_MAX_SHOWN_BITS = 64
MAX_WORDS = 200  # characters of a name or a note

_HEX = re.compile("[0-9a-f]+")
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")

T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """The text all tables of one file stand in."""

    file: str
    places: Places

    def fail(self, path: Path, message: str, *, hint: str = "") -> NoReturn:
        """Refuse the value at `path`."""
        raise ConfigError(
            message, file=self.file, line=self.places.line(path), key=spell(path), hint=hint
        )


def read(data: bytes, file: str) -> Table:
    """The top table of a file. Raises ConfigError for what is not TOML, or too long."""
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{len(data)} bytes; at most {MAX_FILE_BYTES} are read", file=file)
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8", file=file, line=line) from None
    except RecursionError:
        raise ConfigError("nested too deeply", file=file) from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise ConfigError(
            f"not TOML: {_AT_LINE.sub('', str(error))}", file=file, line=line
        ) from None
    return Table(Document(file, Places.of(text)), (), values)


@dataclass(frozen=True)
class Table:
    """One table. Say first which keys it may have, then ask for them."""

    document: Document
    path: Path
    values: Mapping[str, object]

    def expect(self, required: Collection[str], optional: Collection[str] = ()) -> None:
        """Refuse unknown keys, then missing ones."""
        known = [*required, *optional]
        for key in self.values:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
                self.fail(key, "unknown key", hint=hint)
        for key in required:
            if key not in self.values:
                self.fail(key, "missing, and there is no default")

    def fail(self, key: str, message: str, *, hint: str = "") -> NoReturn:
        """Refuse the value of `key`, written or not."""
        self.document.fail((*self.path, key), message, hint=hint)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __getitem__(self, key: str) -> Value:
        return Value(self.document, (*self.path, key), self.values[key])


@dataclass(frozen=True)
class Value:
    """One value, not yet of any type. Each method below returns it as its type, or refuses it."""

    document: Document
    path: Path
    raw: object

    def fail(self, message: str, *, hint: str = "") -> NoReturn:
        """Refuse this value."""
        self.document.fail(self.path, message, hint=hint)

    def table(self) -> Table:
        """A table, inline or with a header."""
        if not isinstance(self.raw, dict):
            self.fail(f"seen {_kind(self.raw)}; expected a table")
        return Table(self.document, self.path, self.raw)

    def distinct(self, convert: Callable[[Value], T]) -> tuple[T, ...]:
        """A list of such values, not empty, none twice."""
        if not isinstance(self.raw, list):
            self.fail(f"seen {_kind(self.raw)}; expected a list")
        if not 0 < len(self.raw) <= MAX_ITEMS:
            self.fail(f"a list of {len(self.raw)}; expected 1 to {MAX_ITEMS} entries")
        converted: list[T] = []
        for index, raw in enumerate(self.raw):
            item = Value(self.document, (*self.path, index), raw)
            value = convert(item)
            if value in converted:
                item.fail("stands in the list twice")
            converted.append(value)
        return tuple(converted)

    def words(self) -> str:
        """Text for people: printable, on one line."""
        text = self._text()
        if not text.strip() or len(text) > MAX_WORDS or not text.isprintable():
            self.fail(f"expected 1 to {MAX_WORDS} printable characters")
        return text

    def choice(self, choices: Iterable[str]) -> str:
        """One of these words."""
        text = self._text()
        if text not in choices:
            self.fail(f"seen {shown(text)}; expected {' or '.join(choices)}")
        return text

    def integer(self, low: int, high: int) -> int:
        """A number from low to high."""
        if not isinstance(self.raw, int) or isinstance(self.raw, bool):
            self.fail(f"seen {_kind(self.raw)}; expected a number")
        if not low <= self.raw <= high:
            self.fail(f"seen {shown(self.raw)}; expected {low} to {high}")
        return self.raw

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.raw, bool):
            self.fail(f"seen {_kind(self.raw)}; expected true or false")
        return self.raw

    def date(self) -> datetime.date:
        """A day, without a time."""
        if not isinstance(self.raw, datetime.date) or isinstance(self.raw, datetime.datetime):
            self.fail(f"seen {_kind(self.raw)}; expected a date as 2027-03-31, without quotes")
        return self.raw

    def digest(self, *sizes: int) -> bytes:
        """Lower-case hex of exactly one of these sizes, in bytes."""
        text = self._text()
        wanted = " or ".join(str(2 * size) for size in sizes)
        if not _HEX.fullmatch(text):
            self.fail(f"expected {wanted} lower-case hex digits")
        if len(text) not in [2 * size for size in sizes]:
            self.fail(f"seen {len(text)} hex digits; expected {wanted}")
        return bytes.fromhex(text)

    def _text(self) -> str:
        if not isinstance(self.raw, str):
            self.fail(f"seen {_kind(self.raw)}; expected text in quotes")
        return self.raw


def shown(value: object) -> str:
    """A value of somebody's file, short enough for a message."""
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}…")
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write out a number of more than 4300 digits
        bits = value.bit_length()
        return str(value) if bits <= _MAX_SHOWN_BITS else f"a number of {bits} bits"
    return _kind(value)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return str(value).lower() if isinstance(value, bool) else "a number or time"

"""What a caller may have attested: anything that nobody could read as claims of ours.

A report speaks for the hash of whatever a caller sends, and callers choose who reads it. Two
members are not theirs to choose: `sealserve` makes claims those of a server (attestation/binding),
and a vault wraps a released key to what stands in `keys`. So data is refused in which any reader
could find one of them, however lenient: in other cases, with escapes, in letters that only look
different, twice, at any depth, in JSON that stands in a string, in another encoding, or in text
that is not quite JSON.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from sealserve.attestation.binding import MAX_CLAIMS_BYTES
from sealserve.keys.refused import bad_parameter, forbidden
from sealserve.policy import strict_json

FORBIDDEN: Final = frozenset({"sealserve", "keys"})
# JSON in a string doubles its backslashes with each level, so 16 KiB hold fewer. Text that can be
# unescaped more often was made to be.
MAX_ROUNDS: Final = 16

_ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
# Of JSON, of JavaScript and of C; a backslash before any other letter is what many readers drop.
_ESCAPE: Final = re.compile(
    r"\\(?:u\{0*([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})"
    r"|([0-7]{1,3})|(.)|$)",
    re.DOTALL,
)
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Mn"})  # controls, formats, halves, accents
_WORD: Final = re.compile(rf"\b(?:{'|'.join(sorted(FORBIDDEN))})\b")


def check(data: bytes) -> None:
    """Raises Refused: 403 for data with a member that is not the caller's, 400 for too much."""
    if len(data) > MAX_CLAIMS_BYTES:
        raise bad_parameter(
            f"runtime_data of {len(data)} bytes; at most {MAX_CLAIMS_BYTES} are attested"
        )
    found = next(filter(None, map(_in_text, dict.fromkeys(_readings(data)))), "")
    if found:
        raise forbidden(
            f"runtime_data is not attested: it can be read as having a member {found!r}, which"
            " this sidecar keeps for itself; name yours otherwise, or ask /key/release for keys"
        )


def _readings(data: bytes) -> Iterator[str]:
    """As text in every encoding JSON has had; what does not decode is left out."""
    for encoding in _ENCODINGS:
        yield data.decode(encoding, "ignore")


def _in_text(text: str) -> str:
    """The first forbidden member in a text that may be JSON; "" if there is none."""
    try:
        value = strict_json.loads(text)
    except ValueError:
        return _in_what_is_not_json(text)
    return _in_value(value)


def _in_value(value: object) -> str:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            for name in each:
                if found := _meant(name):
                    return found
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
        elif isinstance(each, str) and (found := _in_text(each)):
            return found
    return ""


def _meant(name: str) -> str:
    """The forbidden name that this one could be read as."""
    for spelling in _spellings(name):
        # who reads strings as C does stops at the zero
        for part in (spelling, *spelling.split("\0")):
            folded = _folded(part, "").strip()
            if folded in FORBIDDEN:
                return folded
    return ""


def _in_what_is_not_json(text: str) -> str:
    for spelling in _spellings(text):
        for instead in ("", " "):  # what cannot be seen is dropped by some readers, kept by others
            folded = _folded(spelling, instead)
            # a name is nothing without what could give it a value
            behind = max(folded.rfind(":"), folded.rfind("="), 0)
            if found := _WORD.search(folded, 0, behind):
                return found[0]
    return ""


def _spellings(text: str) -> Iterator[str]:
    """The text as it stands, then with its escapes undone, again and again."""
    for _ in range(MAX_ROUNDS):
        yield text
        plain = _ESCAPE.sub(_unescaped, text)
        if plain == text:
            return
        text = plain
    raise forbidden(
        f"runtime_data is not attested: its escapes can be undone more than {MAX_ROUNDS} times"
    )


def _unescaped(escape: re.Match[str]) -> str:
    *hexadecimal, octal, other = escape.groups()
    for digits, base in ((next(filter(None, hexadecimal), None), 16), (octal, 8)):
        if digits:
            number = int(digits, base)
            return chr(number) if number < 0x110000 else ""
    return "" if other in (None, "\n") else other


def _folded(text: str, instead: str) -> str:
    """Without case, accents and other forms of the same letters; `instead` of what is invisible."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(instead if unicodedata.category(c) in _INVISIBLE else c for c in plain)

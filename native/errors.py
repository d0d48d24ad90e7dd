"""The errors a user of sealserve can meet, and what each one means to a shell and to gRPC.

    SealserveError         exit  gRPC
      FormatError            3   INVALID_ARGUMENT     not a sealed model we can read
      IntegrityError         4   DATA_LOSS            altered, cut, or wrong key
      EvidenceError          5   UNAUTHENTICATED      not genuine
      PolicyViolation        6   PERMISSION_DENIED    genuine, not acceptable
      ReleaseError           7   FAILED_PRECONDITION  no key could be had
      ConfigError            8   -                    a file or option we cannot accept
      InputError             9   INVALID_ARGUMENT     a request that does not fit the model
      UnavailableError      10   UNAVAILABLE          nobody there, or not now; worth a retry

Exit code 70 is left to the unforeseen and 2 to usage. Misuse of a function stays `TypeError` or
`ValueError`. They live in the lowest folder because every other folder raises them.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass


def printable(text: str, *, lines: bool = False) -> str:
    """Somebody else's words, escaped where they would move a cursor or break a line.

    lines: whether line ends may stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else ascii(c)[1:-1] for c in text)


class SealserveError(Exception):
    """Base of everything the outside world can make us raise.

    message: what was seen and what was wanted, never a secret. hint: the way out, if there is one.
    Both are for a terminal: a parser's words about what a stranger sent are escaped here.
    """

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = printable(message, lines=True)
        self.hint = printable(hint, lines=True)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class FormatError(SealserveError):
    """The bytes are not a sealed model (or archive, or slot area) this version can read."""

    exit_code = 3


class IntegrityError(SealserveError):
    """The bytes were altered, moved or cut, or this key does not belong to them."""

    exit_code = 4


class EvidenceError(SealserveError):
    """The evidence is not genuine. `code` is stable and names the check that failed.

    what: the message without its two sides, `seen` and `wanted`.
    """

    exit_code = 5

    def __init__(
        self, code: str, message: str, *, seen: str = "", wanted: str = "", hint: str = ""
    ) -> None:
        super().__init__(_both_sides(message, seen, wanted), hint=hint)
        self.code = code
        self.seen = seen
        self.wanted = wanted
        self.what = message

    def counted_as(self, code: str) -> EvidenceError:
        """The same failure under the code of the document it was found in."""
        return EvidenceError(code, self.what, seen=self.seen, wanted=self.wanted, hint=self.hint)

    def with_hint(self, hint: str) -> EvidenceError:
        """The same failure with another way out."""
        return EvidenceError(self.code, self.what, seen=self.seen, wanted=self.wanted, hint=hint)


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation that was not met: a stable code, both sides, and the way out."""

    code: str
    seen: str
    wanted: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.code}: seen {self.seen}; wanted {self.wanted}"
        return f"{line}\n    hint: {self.hint}" if self.hint else line


class PolicyViolation(SealserveError):  # noqa: N818 - a verdict, not a fault
    """Genuine, but not what we accept. `findings` lists every expectation that was not met."""

    exit_code = 6

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), hint: str = "") -> None:
        lines = [message, *(f"  - {finding}" for finding in findings)]
        super().__init__("\n".join(lines), hint=hint)
        self.findings = tuple(findings)


class ReleaseError(SealserveError):
    """No key could be had. `denied` names who refused and which clause, when somebody did."""

    exit_code = 7

    def __init__(self, message: str, *, denied: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.denied = denied


class ConfigError(SealserveError):
    """A file or an option we cannot accept: where it stands, and which key.

    key: of a file or a call; an option is given as it is typed, `--name` or `FILE`. reason: the
    message alone.
    """

    exit_code = 8

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, key: str = "", hint: str = ""
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part)
        typed = key.startswith("--") or key in ("FILE", "CMD")
        named = f"key {key}" if key and not typed else key
        where = ", ".join(part for part in (place, named) if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.reason = message
        self.file = file
        self.line = line
        self.key = key


class InputError(SealserveError, ValueError):
    """A request, or a model to be sealed, that does not fit."""

    exit_code = 9


class UnavailableError(SealserveError):
    """Nobody there, or not now. `retry_after_seconds` is 0 when nobody said how long."""

    exit_code = 10

    def __init__(self, message: str, *, retry_after_seconds: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class UnlockedMemoryWarning(UserWarning):
    """The kernel locks no memory for us, so what is secret may be swapped. Told once a process."""


# A place that may take the same file at another time: full, over a quota or a limit, read-only
# until it is mounted anew, failing, or out of memory and descriptors.
_NOT_NOW = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EROFS,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    }
)


def unwritten(
    error: OSError, file: str, what: str = "cannot be written"
) -> ConfigError | UnavailableError:
    """What it means that a file could not be made: not now, or never under this name."""
    message = f"{what}: {error.strerror}"
    if error.errno in _NOT_NOW:
        hint = "nothing was left behind; make room or choose another place"
        return UnavailableError(f"{file}: {message}", hint=hint)
    return ConfigError(message, file=file)


def _both_sides(message: str, seen: str, wanted: str) -> str:
    if not (seen or wanted):
        return message
    return f"{message}: seen {seen or 'nothing'}; wanted {wanted or 'something else'}"

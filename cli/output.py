"""How verbs speak: results on stdout, words on stderr in lower case, progress on a terminal."""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import click

from sealserve.native.errors import UnavailableError, UnlockedMemoryWarning, printable

if TYPE_CHECKING:
    from sealserve.policy.remarks import Remark

Progress = Callable[[int, int], None]
AMISS = 1  # what `lint` says of a file with more than notes

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def emit(result: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print the result of a verb: `text` for people, one JSON object for programs."""
    click.echo(json.dumps(result, indent=2, sort_keys=True) if as_json else text)


def emit_remarks(remarks: Sequence[Remark], *, as_json: bool) -> int:
    """Print what a `lint` found; returns its exit status."""
    lines = [line for remark in remarks for line in _remarked(remark)]
    result = {"remarks": [asdict(remark) for remark in remarks]}
    emit(result, "\n".join(lines) or "nothing to remark on", as_json=as_json)
    return AMISS if any(remark.rank != "note" for remark in remarks) else 0


def _remarked(remark: Remark) -> Iterator[str]:
    rank = remark.rank.upper() if remark.rank in ("critical", "danger") else remark.rank
    yield printable(f"  {rank:<6}  {remark.key}: {remark.what}")
    yield printable(f"          hint: {remark.hint}")


def say(words: str) -> None:
    """Tell the person something that is not the result, if it can be told."""
    with suppress(OSError):
        click.echo(words, err=True)


def tell_warnings() -> None:
    """From now on what the library warns people of is said as well; Python's own is shown as ever.

    The place in a source file that Python would show means nothing to them.
    """
    show = warnings.showwarning

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UnlockedMemoryWarning):
            say(f"warning: {message}")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = tell


def not_written(error: OSError | UnicodeError) -> UnavailableError | None:
    """What it means that a result could not be written; None if `error` is of something else.

    Results leave through `click.echo`, and so do help and version, which click itself prints.
    """
    frames = traceback.walk_tb(error.__traceback__)
    if not any(frame.f_code is click.echo.__code__ for frame, _ in frames):
        return None
    if isinstance(error, OSError):
        return UnavailableError(f"cannot write the result: {error.strerror or error}")
    return UnavailableError(
        "cannot write the result: it has a character that this output does not take",
        hint="set PYTHONIOENCODING=utf-8, or ask for --json, which is ASCII",
    )


@contextmanager
def progress(label: str) -> Iterator[Progress | None]:
    """A callback `(bytes done, bytes in all)` that draws a bar, or None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

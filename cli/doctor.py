"""`sealserve doctor`: one line for each thing a server needs here, with the way out."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from sealserve.attestation import devices
from sealserve.cli import prerequisites
from sealserve.cli.output import emit, json_option
from sealserve.cli.prerequisites import Check
from sealserve.inference.wire.address import parse_address
from sealserve.inference.wire.names import DEFAULT_PORT
from sealserve.native.errors import ConfigError, UnavailableError, printable

_WIDEST = 100


@click.command("doctor", epilog="Example: sealserve doctor --listen 0.0.0.0:8001 --json")
@click.option(
    "--listen",
    default=f"0.0.0.0:{DEFAULT_PORT}",
    show_default=True,
    metavar="HOST:PORT",
    help="Where `serve` would listen.",
)
@json_option
def command(listen: str, as_json: bool) -> int:
    """Check what `serve` needs of this machine and say how to get what is missing.

    `ok` is enough, `warning` works with less than there could be, `missing` keeps a server from
    starting. Exit status 0 without anything missing, 8 otherwise.
    """
    checks = _checks(parse_address(listen, default_port=DEFAULT_PORT))
    counted = Counter(check.state for check in checks)
    result = {
        "checks": [asdict(check) for check in checks],
        "warnings": counted["warning"],
        "missing": counted["missing"],
    }
    emit(result, "\n".join(_lines(checks)), as_json=as_json)
    return ConfigError.exit_code if counted["missing"] else 0


def _checks(listen: tuple[str, int]) -> list[Check]:
    now = datetime.now(UTC)
    try:
        detection = devices.look(os.environ)
    except (ConfigError, UnavailableError) as error:
        broken = devices.Detection((), None, "")
        rest = prerequisites.every(broken, os.environ, now, listen)
        return [prerequisites.unreadable(error), *rest[1:]]
    return prerequisites.every(detection, os.environ, now, listen)


def _lines(checks: Sequence[Check]) -> Iterator[str]:
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield from _wrapped(f"{check.state:7}  {check.name:{width}}  ", check.found)
        if check.fix:
            yield from _wrapped(" " * (len("missing") + 2 + width + 2), f"fix: {check.fix}")


def _wrapped(head: str, words: str) -> list[str]:
    columns = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.wrap(
        printable(words),  # names of variables are somebody else's
        columns,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )

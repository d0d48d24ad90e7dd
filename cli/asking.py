"""Options of the verbs that ask servers."""

from __future__ import annotations

import math
from pathlib import Path

import click

TARGET = "HOST[:PORT][,HOST…]"


class Seconds(click.FloatRange):
    """A time above zero."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):  # it is in no range and out of none
            self.fail("not a number", param, ctx)
        return seconds


trust_option = click.option(
    "--trust",
    "trust_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="What you expect of the server (`sealserve trust new` writes it).",
)
timeout_option = click.option(
    "--timeout",
    "timeout_seconds",
    type=Seconds(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the verification may take.",
)

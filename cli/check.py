"""`sealserve check`: verify a server and say what was checked."""

from __future__ import annotations

import math
from pathlib import Path

import click

from sealserve.cli.output import emit, json_option
from sealserve.inference.client import connect
from sealserve.policy import Trust


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


@click.command("check", epilog="Example: sealserve check model.example.org --trust trust.toml")
@click.argument("target", metavar="HOST[:PORT]")
@trust_option
@timeout_option
@json_option
def command(target: str, trust_file: Path, timeout_seconds: float, as_json: bool) -> None:
    """Verify the server at HOST against a trust file; sends it no data.

    Exit status 0 means genuine, acceptable and fresh. 5 is not genuine, 6 genuine but not what the
    trust file accepts, 10 nobody there.
    """
    trust = Trust.load(trust_file)
    with connect(target, trust, timeout_seconds=timeout_seconds) as client:
        verdict, models = client.verdict, client.models()
    served = [f"  serves  {name} {root}" for name, roots in models.items() for root in roots]
    emit(
        {**verdict.to_json(), "models": {name: list(roots) for name, roots in models.items()}},
        "\n".join([verdict.explain(), *served]),
        as_json=as_json,
    )

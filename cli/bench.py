"""`sealserve bench`: how fast a verified server answers, as its clients see it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sealserve.cli.asking import TARGET, Seconds, trust_option
from sealserve.cli.caller_token import read_token, token_option
from sealserve.cli.check import connections_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.output import emit, json_option, say
from sealserve.inference.client.asynchronous import AsyncClient
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.load import (
    Load,
    Measured,
    measure,
    random_inputs,
    request_for,
    shapes,
)
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.terms import Terms
from sealserve.policy import Trust
from sealserve.policy.verdict import SIMULATED_BANNER

_PERCENTILES = (50.0, 90.0, 99.0)


@click.command(
    "bench", epilog="Example: sealserve bench localhost:8001 breast-cancer --trust trust.toml"
)
@click.argument("target", metavar=TARGET)
@click.argument("model")
@trust_option
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="So many ask at the same time, each again once it was answered.",
)
@click.option(
    "--seconds",
    type=Seconds(min=0, min_open=True, max=600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it is measured.",
)
@click.option(
    "--warm-up",
    "warm_seconds",
    type=Seconds(min=0, max=600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Before that, not measured.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of each input whose first dimension may have any size.",
)
@connections_option
@click.option("--version", default="", help="Which version of the model.  [default: the server's]")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=Seconds(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long verification and each answer may take.",
)
@token_option
@certificate_options
@json_option
def command(
    target: str,
    model: str,
    trust_file: Path,
    in_flight: int,
    seconds: float,
    warm_seconds: float,
    rows: int,
    connections: int,
    version: str,
    timeout_seconds: float,
    token_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Verify the server at HOST, then ask MODEL as fast as it answers.

    Sends random values of the model's shapes, over verified channels, and tells answers per second
    and how long they took. It is a load: not for a server that others are waiting for.
    """
    certificate = read_certificate(certificate_file, key_file)
    terms = Terms(Trust.load(trust_file), connections, read_token(token_file), certificate)
    load = Load(in_flight, seconds, warm_seconds, timeout_seconds)
    sent, measured = asyncio.run(_run(target, model, terms, load, rows, version))
    emit(
        {"model": model, "in_flight": in_flight, "inputs": sent, **_json(measured)},
        _text(model, sent, in_flight, measured),
        as_json=as_json,
    )


async def _run(
    target: str, model: str, terms: Terms, load: Load, rows: int, version: str
) -> tuple[dict[str, list[int]], Measured]:
    """What was sent, and what came of it."""
    pool = await AsyncPool.of(target, terms)
    async with AsyncClient(pool) as client:
        await pool.open(Deadline(load.timeout_seconds))
        if client.verdict.platform == "simulated":
            say(SIMULATED_BANNER)
        for replica in client.replicas:
            if replica.verdict is None:
                say(f"{replica.target} is left out")
        metadata = await client.metadata(
            model, version=version, timeout_seconds=load.timeout_seconds
        )
        inputs = random_inputs(metadata, rows)
        request = request_for(metadata, inputs, version)
        return shapes(inputs), await measure(pool, model, request, load)


def _json(measured: Measured) -> dict[str, object]:
    return {
        "seconds": round(measured.seconds, 3),
        "answers": len(measured.latencies),
        "per_second": round(measured.per_second, 1),
        "latency_ms": _latencies(measured),
        "failures": dict(measured.failures),
    }


def _latencies(measured: Measured) -> dict[str, float]:
    found = {f"p{percent:g}": measured.percentile(percent) for percent in _PERCENTILES}
    found["max"] = measured.latencies[-1]
    return {name: round(seconds * 1000, 3) for name, seconds in found.items()}


def _text(model: str, sent: dict[str, list[int]], in_flight: int, measured: Measured) -> str:
    inputs = ", ".join(f"{name} {shape}" for name, shape in sent.items())
    failed = ", ".join(f"{count} {kind}" for kind, count in measured.failures.items())
    latencies = ", ".join(f"{name} {ms:g}" for name, ms in _latencies(measured).items())
    return "\n".join(
        [
            f"{model}: {inputs}; {in_flight} in flight for {measured.seconds:.1f} s",
            f"  {measured.per_second:.1f} answers a second; failed: {failed or 'none'}",
            f"  milliseconds: {latencies}",
        ]
    )

"""`sealserve check`: verify a server and say what was checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from sealserve.cli.asking import TARGET, timeout_option, trust_option
from sealserve.cli.caller_token import read_token, token_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.output import emit, json_option, say
from sealserve.inference.client import connect
from sealserve.inference.client.roster import Replica
from sealserve.inference.client.served import Served
from sealserve.inference.client.terms import MAX_CONNECTIONS
from sealserve.inference.wire.spec import TensorSpec
from sealserve.native.errors import UnavailableError, printable
from sealserve.policy import Trust

connections_option = click.option(
    "--connections",
    type=click.IntRange(1, MAX_CONNECTIONS),
    default=1,
    show_default=True,
    help="To each replica; one is one of its workers.",
)


@click.command("check", epilog="Example: sealserve check model.example.org --trust trust.toml")
@click.argument("target", metavar=TARGET)
@trust_option
@token_option
@certificate_options
@timeout_option
@json_option
def command(
    target: str,
    trust_file: Path,
    token_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Verify the server at HOST against a trust file; sends it no data.

    Several replicas, with commas between them, are verified each, and none may fail.

    Says under which name and version the server has each model that the trust file accepts, and
    which inputs it takes.

    Exit status 0 means genuine, acceptable and fresh. 5 is not genuine, 6 genuine but not what the
    trust file accepts, 10 nobody there.
    """
    trust = Trust.load(trust_file)
    token = read_token(token_file)
    certificate = read_certificate(certificate_file, key_file)
    with connect(
        target, trust, timeout_seconds=timeout_seconds, token=token, certificate=certificate
    ) as client:
        _require_all(client.replicas)
        served = client.served(timeout_seconds=timeout_seconds)
        verdict = client.verdict
    emit(
        {**verdict.to_json(), **_json(served)},
        "\n".join([verdict.explain(), *_lines(served)]),
        as_json=as_json,
    )
    if served.absent:
        say("hint: models are asked for by the name they were sealed with; their owner knows it")


def _require_all(replicas: tuple[Replica, ...]) -> None:
    """Raises why the first one was left out, if any was."""
    for replica in replicas:
        if replica.verdict is None:
            say(f"sealserve: {replica.target} is left out")
            raise replica.reason or UnavailableError(f"{replica.target} took too long")


def _json(served: Served) -> dict[str, object]:
    """models: roots by name, as a trust file has them."""
    models: dict[str, list[str]] = {}
    for model in served.models:
        roots = models.setdefault(model.name, [])
        if model.root.hex() not in roots:
            roots.append(model.root.hex())
    return {
        "models": models,
        "served": [
            {
                "name": model.name,
                "version": model.version,
                "root": model.root.hex(),
                "inputs": [asdict(spec) for spec in model.inputs],
                "outputs": [asdict(spec) for spec in model.outputs],
            }
            for model in served.models
        ],
        "absent": dict(served.absent),
    }


def _lines(served: Served) -> Iterator[str]:
    for model in served.models:
        yield f"  serves  {model.name} {model.root.hex()}, version {printable(model.version)}"
        yield from (_tensor("input ", spec) for spec in model.inputs)
        yield from (_tensor("output", spec) for spec in model.outputs)
    for name, why in served.absent.items():
        yield f"  ABSENT  {name}: {why}"


def _tensor(role: str, spec: TensorSpec) -> str:
    return f"          {role} {printable(spec.name)} {spec.datatype} {list(spec.shape)}"

"""`sealserve predict`: verify a server, then send it data."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np

from sealserve.cli.check import trust_option
from sealserve.cli.output import emit, json_option, say
from sealserve.inference.client import connect
from sealserve.native.errors import ConfigError, InputError
from sealserve.policy import Trust
from sealserve.policy.verdict import SIMULATED_BANNER

MAX_TEXT_CHARS = 16 * 2**20  # an --input on a command line; arrays belong into files


@click.command(
    "predict",
    epilog="Example: sealserve predict localhost:8001 breast-cancer --trust trust.toml "
    "--input x=@patients.npy -o answers.npz",
)
@click.argument("target", metavar="HOST[:PORT]")
@click.argument("model")
@trust_option
@click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    required=True,
    help="An input: NAME=@FILE.npy, or NAME=JSON with nested lists; repeatable.",
)
@click.option("--output", "outputs", metavar="NAME", multiple=True, help="Only these outputs.")
@click.option("--version", default="", help="Which version of the model.  [default: the server's]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the outputs to (.npz), instead of printing them.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long verification and prediction may take, each.",
)
@json_option
def command(
    target: str,
    model: str,
    trust_file: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    version: str,
    out: Path | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Verify the server at HOST, then send MODEL these inputs.

    Nothing of the inputs leaves unless the server meets every expectation of the trust file.
    """
    trust = Trust.load(trust_file)
    given = _inputs(inputs)
    with connect(target, trust, timeout_seconds=timeout_seconds) as client:
        answers = client.predict(
            model,
            given,
            version=version,
            outputs=outputs or None,
            timeout_seconds=timeout_seconds,
        )
        verdict = client.verdict
    if verdict.platform == "simulated":
        say(SIMULATED_BANNER)
    if out is not None:
        _write(out, answers)
        emit({"out": str(out), "outputs": _shapes(answers)}, f"wrote {out}", as_json=as_json)
    else:
        values = {name: _jsonable(array) for name, array in answers.items()}
        emit({"outputs": values}, _text(answers), as_json=as_json)


def _inputs(texts: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigError(
                f"{text[:80]!r} is not NAME=VALUE", key="--input", hint="NAME=@FILE.npy or JSON"
            )
        if name in found:
            raise ConfigError(f"{name!r} is given twice", key="--input")
        found[name] = _array(value[1:]) if value.startswith("@") else _parsed(name, value)
    return found


def _array(file: str) -> np.ndarray:
    try:
        # mapped, so that a large array is read once, when it is sent; pickles stay closed
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"is not a NumPy array file: {reason}",
            file=file,
            key="--input",
            hint="numpy.save writes one; arrays of Python objects are not accepted",
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ConfigError("holds several arrays; one is needed", file=file, key="--input")
    return array


def _parsed(name: str, text: str) -> object:
    if len(text) > MAX_TEXT_CHARS:
        raise ConfigError(f"{name!r} has {len(text)} characters", key="--input", hint="use a file")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"input {name!r} is not JSON: {error}",
            hint=f"nested lists, or a file: --input {name}=@FILE.npy",
        ) from None


def _write(out: Path, answers: Mapping[str, np.ndarray]) -> None:
    """All outputs in one .npz that appears whole or not at all."""
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        with _removed_on_failure(partial), partial.open("xb") as file:
            # objects would be pickled, and no reader should have to open a pickle
            plain = {name: _storable(array) for name, array in answers.items()}
            np.savez(file, allow_pickle=False, **plain)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(out)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(out)) from error


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _storable(array: np.ndarray) -> np.ndarray:
    return array.astype(np.bytes_) if array.dtype == object else array


def _jsonable(array: np.ndarray) -> object:
    if array.dtype != object:
        return array.tolist()
    texts = np.empty(array.shape, dtype=object)
    texts.reshape(-1)[:] = [element.decode(errors="replace") for element in array.reshape(-1)]
    return texts.tolist()


def _text(answers: Mapping[str, np.ndarray]) -> str:
    parts = []
    for name, array in answers.items():
        parts.append(f"{name} {array.dtype.name} {list(array.shape)}")
        parts.append(np.array2string(array, threshold=60, separator=", "))
    return "\n".join(parts)


def _shapes(answers: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in answers.items()}

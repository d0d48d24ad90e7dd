"""`sealserve predict`: verify a server, then send it data."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import numpy as np

from sealserve.cli import files
from sealserve.cli.asking import TARGET, Seconds, trust_option
from sealserve.cli.caller_token import read_token, token_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.output import emit, json_option, say
from sealserve.inference.client import connect
from sealserve.native.errors import ConfigError, printable
from sealserve.policy import Trust, Verdict
from sealserve.policy.verdict import SIMULATED_BANNER

MAX_JSON_BYTES = 16 * 2**20  # numbers as text; larger arrays belong into .npy files
_NPY = b"\x93NUMPY"  # how NumPy's format begins (NEP 1)
_NPZ = b"PK\x03\x04"  # a ZIP archive of such arrays


@click.command(
    "predict",
    epilog="Example: sealserve predict localhost:8001 breast-cancer --trust trust.toml "
    "--input x=@patients.npy -o answers.npz",
)
@click.argument("target", metavar=TARGET)
@click.argument("model")
@trust_option
@click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    required=True,
    help="An input: NAME=@FILE (.npy, .npz with an array NAME, .json), or NAME=JSON with nested "
    "lists; repeatable.",
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
    type=Seconds(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long verification and prediction may take, each.",
)
@token_option
@certificate_options
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
    token_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Verify the server at HOST, then send MODEL these inputs.

    Of several replicas, with commas between them, one that was verified gets them.

    Nothing of the inputs leaves unless the server meets every expectation of the trust file.
    """
    trust = Trust.load(trust_file)
    token = read_token(token_file)
    certificate = read_certificate(certificate_file, key_file)
    given = _inputs(inputs)
    secrets = (token_file, certificate_file, key_file)
    read = [trust_file, *_files(inputs), *(file for file in secrets if file)]
    if out is not None:
        _check_out(out, read)
    with connect(
        target, trust, timeout_seconds=timeout_seconds, token=token, certificate=certificate
    ) as client:
        _warn(client.verdict)
        answers = client.predict(
            model,
            given,
            version=version,
            outputs=outputs or None,
            timeout_seconds=timeout_seconds,
        )
    if out is not None:
        files.write(out, _archive(answers), inputs=read)
        emit({"out": str(out), "outputs": _shapes(answers)}, f"wrote {out}", as_json=as_json)
    else:
        values = {name: _jsonable(array) for name, array in answers.items()}
        emit({"outputs": values}, _text(answers), as_json=as_json)


def _check_out(out: Path, read: list[Path]) -> None:
    """Before data leaves: an answer that cannot be kept would have cost it for nothing."""
    files.require_other(out, read)
    if out.suffix.lower() != ".npz":
        raise ConfigError(
            f"outputs are written as .npz alone, not as {out.suffix or 'a file without a suffix'}",
            file=str(out),
            hint=f"-o {out.stem}.npz, or --json, which prints them",
        )
    files.check_place(out)


def _warn(verdict: Verdict) -> None:
    """Say what a reader of the answers must not forget, before data leaves."""
    for sentence in verdict.dangers:
        say(f"DANGER: {sentence}")
    if verdict.platform == "simulated":
        say(SIMULATED_BANNER)


def _inputs(texts: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value.removeprefix("@")):
            raise ConfigError(
                f"{text[:80]!r} is not NAME=VALUE", key="--input", hint="NAME=@FILE.npy or JSON"
            )
        if name in found:
            raise ConfigError(f"{name!r} is given twice", key="--input")
        found[name] = _read(name, value[1:]) if value.startswith("@") else _parsed(value)
    return found


def _files(texts: tuple[str, ...]) -> list[Path]:
    """The files among the inputs."""
    values = (text.partition("=")[2] for text in texts)
    return [Path(value[1:]) for value in values if value.startswith("@")]


def _read(name: str, file: str) -> object:
    """What a file holds for this input; its first bytes say what kind of file it is."""
    start = _start(file)
    if not start.startswith((_NPY, _NPZ)):
        return _parsed(files.read(Path(file), MAX_JSON_BYTES), file=file)
    try:
        return _array(file) if start.startswith(_NPY) else _member(file, name)
    except Exception as error:  # NumPy documents no errors, and zipfile and tokenize have their own
        raise ConfigError(
            f"is not a NumPy array file: {str(error) or type(error).__name__}",
            file=file,
            key="--input",
            hint="numpy.save writes one; arrays of Python objects are not accepted",
        ) from error


def _start(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(len(_NPY))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file, key="--input") from error


def _array(file: str) -> np.ndarray:
    # mapped, so that a large array is read once, when it is sent; pickles stay closed
    array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    return array


def _member(file: str, name: str) -> np.ndarray:
    with Path(file).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        if name not in archive.files:
            raise ValueError(f"it has no array {name!r}, but {archive.files}")
        array: np.ndarray = archive[name]
        return array


def _parsed(text: str | bytes, *, file: str = "") -> object:
    try:
        return json.loads(text, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"is not JSON: {error}",
            file=file,
            line=error.lineno if file and isinstance(error, json.JSONDecodeError) else 0,
            key="--input",
            hint="nested lists, or a file: --input NAME=@FILE.npy",
        ) from None


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is beyond the range of any float")
    return number


def _archive(answers: Mapping[str, np.ndarray]) -> bytes:
    """All outputs as one .npz; numpy.savez itself cannot take every name."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", allowZip64=True) as archive:
        for name, array in answers.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                # objects would be pickled, and no reader should have to open a pickle
                np.lib.format.write_array(entry, _storable(array), allow_pickle=False)
    return buffer.getvalue()


def _storable(array: np.ndarray) -> np.ndarray:
    return array.astype(np.bytes_) if array.dtype == object else array


def _jsonable(array: np.ndarray) -> object:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _mapped(
            array, lambda number: number if math.isfinite(number) else _WORDS[str(number)]
        )
    if array.dtype == object:
        return _mapped(array, lambda element: element.decode(errors="replace"))
    return array.tolist()


# JSON has no such numbers; protobuf's mapping to JSON writes them so.
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _mapped(array: np.ndarray, change: Callable[[Any], object]) -> object:
    changed = np.empty(array.shape, dtype=object)
    changed.reshape(-1)[:] = [change(element) for element in array.reshape(-1).tolist()]
    return changed.tolist()


def _text(answers: Mapping[str, np.ndarray]) -> str:
    parts = []
    for name, array in answers.items():
        parts.append(f"{printable(name)} {array.dtype.name} {list(array.shape)}")
        parts.append(np.array2string(array, threshold=60, separator=", "))
    return "\n".join(parts)


def _shapes(answers: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in answers.items()}

"""`sealserve policy diff`: what two policies allow, or whether a machine has this one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from sealserve.attestation.report import REPORT_BYTES, Report
from sealserve.cli import differences, files
from sealserve.cli.differences import DIFFERENT
from sealserve.cli.output import emit, json_option
from sealserve.native.errors import ConfigError, EvidenceError
from sealserve.policy.execution import policy_file
from sealserve.policy.execution.compare import beyond
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES
from sealserve.policy.known import permissive_name


@dataclass(frozen=True)
class _Side:
    """One of two files. policy: None for a report, which has the hash of one alone."""

    path: Path
    sha256: bytes
    policy: Policy | None


@click.command("diff", epilog="Example: sealserve policy diff approved.rego template.json")
@click.argument("one", metavar="A", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("other", metavar="B", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--group", default="", metavar="NAME", help="Which group of a template with several.")
@json_option
def command(one: Path, other: Path, group: str, as_json: bool) -> int:
    """Say what A lets happen and B does not, and the other way round.

    Each is a policy, a deployment that carries one, or an attestation report, of which HOST_DATA is
    compared. Names and the order of lists make no difference. Exit status 1 means that they differ.
    """
    sides = _read(one, group), _read(other, group)
    a, b = sides
    if a.policy is None or b.policy is None:
        return _compare_hashes(a, b, as_json)
    only_one, only_other = beyond(a.policy, b.policy), beyond(b.policy, a.policy)
    lines = differences.lines(one, other, only_one, only_other)
    result = {**differences.document(only_one, only_other), **_hashes(a, b)}
    emit(result, "\n".join(lines) or _same(a, b), as_json=as_json)
    return DIFFERENT if lines else 0


def _read(path: Path, group: str) -> _Side:
    data = files.read(path, MAX_FILE_BYTES)
    if len(data) == REPORT_BYTES and not data.isascii():
        return _Side(path, _host_data(data, path), None)
    found = policy_file.read_one(data, file=str(path), group=group)
    return _Side(path, found.sha256, Policy.parse(found.text, file=found.where))


def _host_data(data: bytes, path: Path) -> bytes:
    try:
        return Report.parse(data).host_data
    except EvidenceError as error:
        raise ConfigError(
            f"has the length of an attestation report and is none: {error.message}", file=str(path)
        ) from error


def _hashes(a: _Side, b: _Side) -> dict[str, object]:
    return {
        "sha256_a": a.sha256.hex(),
        "sha256_b": b.sha256.hex(),
        "same_text": a.sha256 == b.sha256,
    }


def _same(a: _Side, b: _Side) -> str:
    told = f"{a.path} and {b.path} allow the same"
    if a.sha256 == b.sha256:
        return told
    return (
        f"{told}, but their texts differ, and with them HOST_DATA:\n"
        f"  {a.sha256.hex()}\n  {b.sha256.hex()}"
    )


def _compare_hashes(a: _Side, b: _Side, as_json: bool) -> int:
    equal = a.sha256 == b.sha256
    if equal:
        told = f"{a.path} and {b.path} are of one policy, {a.sha256.hex()}"
    else:
        told = "\n".join(
            ["HOST_DATA differs; a report does not say in what:", *(_hash(s) for s in (a, b))]
        )
    emit({"only_a": [], "only_b": [], **_hashes(a, b)}, told, as_json=as_json)
    return 0 if equal else DIFFERENT


def _hash(side: _Side) -> str:
    name = permissive_name(side.sha256)
    return f"  {side.sha256.hex()}  {side.path}{f', {name}' if name else ''}"

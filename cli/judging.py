"""What the verbs that judge evidence in files have in common: when, and under which root."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from sealserve.attestation.bundle import certificate
from sealserve.attestation.pem import MAX_PEM_BYTES
from sealserve.attestation.roots import Roots
from sealserve.cli import files
from sealserve.native.errors import ConfigError, EvidenceError
from sealserve.policy import Trust

# RFC 3339, section 5.6: both letters in either case, and a space in place of the first.
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """A time of RFC 3339, so with a time zone."""
    if value is None:
        return None
    wrong = click.BadParameter(f"{value!r} is no time such as 2026-09-01T00:00:00Z")
    form = _RFC3339.fullmatch(value)
    if form is None:
        raise wrong
    if not form["zone"]:
        raise click.BadParameter(f"{value!r} has no time zone; add Z for UTC")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:  # the 30th of February
        raise wrong from None


at_option = click.option(
    "--at",
    metavar="RFC3339",
    callback=_moment,
    help="When it has to be valid.  [default: now]",
)
root_option = click.option(
    "--simulated-root",
    "root_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Root of a simulated platform, DER or PEM.",
)


def root_in(path: Path) -> bytes:
    """DER of the root certificate in a file. Raises ConfigError."""
    try:
        return certificate(files.read(path, MAX_PEM_BYTES))
    except EvidenceError as error:
        raise ConfigError(error.message, file=str(path), hint=error.hint) from error


def roots_of(trust: Trust | None, root: bytes | None) -> Roots:
    """Those of the trust file, or the one simulated root, or AMD's."""
    if root is None:
        return Roots.amd() if trust is None else trust.roots()
    digest = hashlib.sha256(root).digest()
    if trust is not None and trust.simulated_root_sha256 != digest:
        raise ConfigError(
            f"this root ({digest.hex()}) is not the one of {trust.file}", key="--simulated-root"
        )
    try:
        return Roots.simulated(digest)
    except ValueError as error:
        raise ConfigError(str(error), key="--simulated-root") from error

"""A client's certificate and its key come from two files, or one that holds both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealserve.cli.files import require_private

if TYPE_CHECKING:
    from sealserve.inference.client import Certificate

_FILE = click.Path(path_type=Path, dir_okay=False)
_certificate_option = click.option(
    "--certificate",
    "certificate_file",
    type=_FILE,
    help="File with a client's certificate (PEM), for servers that want one; with --key.",
)
_key_option = click.option(
    "--key", "key_file", type=_FILE, help="File with the key of that certificate (PEM)."
)


def certificate_options(command: Any) -> Any:
    """Both options, as `certificate_file` and `key_file`."""
    return _certificate_option(_key_option(command))


def read_certificate(certificate_file: Path | None, key_file: Path | None) -> Certificate | None:
    """What is in the two files; None for neither.

    UsageError for one without the other. Raises ConfigError for a key that everybody may read, and
    as `Certificate.load`.
    """
    if certificate_file is None and key_file is None:
        return None
    if certificate_file is None or key_file is None:
        raise click.UsageError("give both --certificate and --key, or neither")
    from sealserve.inference.client import Certificate  # gRPC, for whoever has one

    certificate = Certificate.load(certificate_file, key_file)
    require_private(key_file, "--key")
    return certificate

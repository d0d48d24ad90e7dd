"""`sealserve policy hash`: what the hardware will say of a policy."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.output import emit, json_option, say
from sealserve.cli.policy_input import policy_argument
from sealserve.native.errors import printable
from sealserve.policy.execution import form, policy_file
from sealserve.policy.execution.form import Named
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES


@click.command("hash", epilog="Example: sealserve policy hash policy.rego")
@policy_argument
@json_option
def command(policy_path: Path, as_json: bool) -> None:
    """Print the SHA-256 that HOST_DATA holds where this policy is enforced.

    POLICY is the text itself, base64 of it, or a deployment that carries it; of a template with
    several groups, one line for each.
    """
    data = files.read(policy_path, MAX_FILE_BYTES)
    found = [form.name(each) for each in policy_file.read_all(data, file=str(policy_path))]
    for named in found:
        _warn(named)
    single = found[0].document() if len(found) == 1 else {}
    result = {
        "file": str(policy_path),
        **single,
        **({} if single else {"policies": [named.document() for named in found]}),
    }
    emit(result, "\n".join(_told(named, len(found)) for named in found), as_json=as_json)


def _told(named: Named, count: int) -> str:
    digest = named.policy.sha256.hex()
    return digest if count == 1 else printable(f"{digest}  {named.policy.group}")


def _warn(named: Named) -> None:
    if named.allows_everything:
        say(f"warning: everything is allowed under this policy{_called(named.known)}")
    for warning in named.warnings:
        say(printable(f"warning: {warning}"))


def _called(name: str) -> str:
    return f": it is {name}" if name else ""

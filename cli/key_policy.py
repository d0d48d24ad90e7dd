"""`sealserve key policy`: release policies, written, explained and looked over."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sealserve.cli import files, release
from sealserve.cli.output import emit, emit_remarks, json_option
from sealserve.policy.release import MAX_POLICY_BYTES, ReleasePolicy
from sealserve.policy.release_build import SIMULATED_SUFFIX
from sealserve.policy.release_lint import lint
from sealserve.policy.release_words import explain, to_json

policy_argument = click.argument(
    "release_policy", metavar="RELEASE", type=click.Path(path_type=Path, dir_okay=False)
)


@click.group(
    "policy",
    invoke_without_command=True,
    epilog="Example: sealserve key policy --policy policy.rego "
    "--attestation-service https://sharedneu.neu.attest.azure.net -o release.json",
)
@release.admitted_options
@release.service_option
@click.option(
    "--vault",
    "reference",
    default="",
    metavar="REF",
    help="Instead of the service: a key at the trust service that attests.",
)
@release.connection_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, instead of printing the policy.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    policy_files: tuple[Path, ...],
    trust_file: Path | None,
    attestation_service: str,
    reference: str,
    connection: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the release policy of a vault key, as `key create` and `publish` ask for it.

    It always asks for a compliant SEV-SNP machine, the execution policy, no debug mode and VMPL 0.
    With --trust also for what that file says of the launch, where Azure's grammar has words.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    admitted = release.admitted(policy_files, trust_file)
    authority, simulated = _authority(attestation_service, reference, connection)
    text = admitted.policy(authority, simulated=simulated)
    result: dict[str, object] = {
        "host_data": list(admitted.host_data),
        "release_policy": json.loads(text),
    }
    if out is None:
        emit(result, text.decode(), as_json=as_json)
        return
    files.write(out, text + b"\n", inputs=[*policy_files, *([trust_file] if trust_file else [])])
    words = f"wrote {out}\n{explain(ReleasePolicy.parse(text))}"
    emit({**result, "file": str(out)}, words, as_json=as_json)


def _refuse_options(ctx: click.Context) -> None:
    given = [name for name, value in ctx.params.items() if value not in (None, "", (), False)]
    if given:
        raise click.UsageError(f"`key policy {ctx.invoked_subcommand}` takes its file alone")


def _authority(service: str, reference: str, connection: Path | None) -> tuple[str, bool]:
    """Whose tokens, and whether of simulated machines. Raises ConfigError, usage errors."""
    if not reference:
        if not service:
            raise click.UsageError("give --attestation-service URL, or --vault REF")
        return service, service.rstrip("/").endswith(SIMULATED_SUFFIX)
    with release.owned(reference, connection, service) as vault:
        return vault.authority, vault.simulated


@command.command("explain", epilog="Example: sealserve key policy explain release.json")
@policy_argument
@json_option
def explain_(release_policy: Path, as_json: bool) -> None:
    """Say in plain words who gets a key that has this release policy."""
    data = files.read(release_policy, MAX_POLICY_BYTES)
    policy = ReleasePolicy.parse(data, file=str(release_policy))
    emit(to_json(policy), explain(policy), as_json=as_json)


@command.command("lint", epilog="Example: sealserve key policy lint release.json")
@policy_argument
@json_option
def lint_(release_policy: Path, as_json: bool) -> int:
    """Say what to think about again in a release policy, the worst first.

    A danger releases the key to what should not have it, or to nobody; a doubt has a known
    weakness; a note works and could be tidier. Exit status 1 means that there is a danger or a
    doubt.
    """
    data = files.read(release_policy, MAX_POLICY_BYTES)
    return emit_remarks(lint(data, file=str(release_policy)), as_json=as_json)

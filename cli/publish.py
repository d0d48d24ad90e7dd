"""`sealserve publish`: put a sealed file's key into a vault, under a release policy."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve import models
from sealserve.cli import release
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.cli.unseal import identity_option, opener


@click.command(
    "publish",
    epilog="Example: sealserve publish net.sealed --vault trustd:127.0.0.1:8443/net "
    "--policy policy.rego --identity owner.key",
)
@click.argument("file")
@click.option(
    "--vault",
    "reference",
    required=True,
    metavar="REF",
    help="The vault key: azure:https://HOST/keys/NAME or trustd:HOST:PORT/NAME.",
)
@release.admitted_options
@identity_option
@click.option("--from", "raw", metavar="REF", help="raw:FILE, the model's key itself.")
@release.connection_option
@release.service_option
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="File to write; default: FILE itself."
)
@json_option
def command(
    file: str,
    reference: str,
    policy_files: tuple[Path, ...],
    trust_file: Path | None,
    identity: Path | None,
    raw: str | None,
    connection: Path | None,
    attestation_service: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Give FILE a slot for a vault key that leaves its vault only under this execution policy.

    The key is made unless its newest version has that very policy. All other slots, the model
    and its root stay the same.
    """
    from sealserve.keys.owner import PolicyRecipient  # brings the Azure SDK with it

    unlock = opener(identity, raw, "--from")
    admitted = release.admitted(policy_files, trust_file)
    with (
        release.owned(reference, connection, attestation_service) as vault,
        progress("publishing") as advance,
    ):
        recipient = PolicyRecipient(vault, admitted)
        sealed = models.rewrap(file, unlock, [recipient], keep=True, out=out, progress=advance)
        ca_sha256 = vault.ca_sha256
    key = recipient.key
    assert key is not None  # rewrapping wrapped to it
    emit(
        {
            **sealed.to_json(),
            **release.told(key),
            "ca_sha256": ca_sha256,
            "host_data": list(admitted.host_data),
        },
        f"{sealed.explain()}\n{release.words(key)}",
        as_json=as_json,
    )
    say("whoever gets the vault key opens every model wrapped to it: one key per release policy")

"""`sealserve key`: key pairs of people, and keys in a vault."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import key_check, key_policy, release
from sealserve.cli.output import emit, json_option
from sealserve.keys import new_identity
from sealserve.native.errors import ConfigError, ReleaseError

reference_argument = click.argument("reference", metavar="REF")


@click.group("key")
def command() -> None:
    """Key pairs of people, and keys in a vault."""


command.add_command(key_policy.command)
command.add_command(key_check.command)


@command.command("new", epilog="Example: sealserve key new owner.key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def new(file: Path, as_json: bool) -> None:
    """Make an HPKE key pair: the private key in FILE, the public one in FILE.pub.

    Seal to `hpke:FILE.pub`; `--identity FILE` opens. Existing files are never replaced.
    """
    new_identity(file)
    public = file.with_name(f"{file.name}.pub")
    emit(
        {"private": str(file), "public": str(public)},
        f"private key {file}\npublic key  {public}",
        as_json=as_json,
    )


@command.command(
    "create", epilog="Example: sealserve key create trustd:127.0.0.1:8443/net --policy policy.rego"
)
@reference_argument
@release.admitted_options
@click.option(
    "--rotate", is_flag=True, help="Make a new version even where the newest has that policy."
)
@release.connection_option
@release.service_option
@json_option
def create(
    reference: str,
    policy_files: tuple[Path, ...],
    trust_file: Path | None,
    rotate: bool,
    connection: Path | None,
    attestation_service: str,
    as_json: bool,
) -> None:
    """Make the vault key REF (azure:URL or trustd:HOST:PORT/NAME) with a release policy.

    It leaves the vault only for a machine that runs under the execution policy. Where the newest
    version has that release policy already, nothing is made. Older versions stay as they are.
    """
    admitted = release.admitted(policy_files, trust_file)
    with release.owned(reference, connection, attestation_service) as vault:
        key = vault.key_for(admitted, anew=rotate)
    emit(release.told(key), release.words(key), as_json=as_json)


@command.command(
    "import",
    epilog="Example: sealserve key import trustd:127.0.0.1:8443/net net.pem --policy policy.rego",
)
@reference_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@release.admitted_options
@release.connection_option
@release.service_option
@json_option
def bring(
    reference: str,
    file: Path,
    policy_files: tuple[Path, ...],
    trust_file: Path | None,
    connection: Path | None,
    attestation_service: str,
    as_json: bool,
) -> None:
    """Bring the RSA private key in FILE (PEM) to the vault as REF, with a release policy.

    As `create`, for a key that exists already: kept in a safe, or moved from another vault. The
    file is of no more use then, and opens what the vault guards: keep it offline, or destroy it.
    """
    key = release.rsa_key(file)
    admitted = release.admitted(policy_files, trust_file)
    with release.owned(reference, connection, attestation_service) as vault:
        brought = vault.bring(key, admitted)
    emit(release.told(brought), release.words(brought), as_json=as_json)


@command.command("show", epilog="Example: sealserve key show trustd:127.0.0.1:8443/net")
@reference_argument
@release.connection_option
@json_option
def show(reference: str, connection: Path | None, as_json: bool) -> None:
    """Show the vault key REF: its newest version, or the one named, and its release policy."""
    with release.owned(reference, connection) as vault:
        key = vault.vault.get(vault.key_id.name, vault.key_id.version)
    emit(release.told(key), release.words(key), as_json=as_json)


@command.command("versions", epilog="Example: sealserve key versions trustd:127.0.0.1:8443/net")
@reference_argument
@release.connection_option
@json_option
def versions(reference: str, connection: Path | None, as_json: bool) -> None:
    """List the versions of the vault key REF, oldest first."""
    with release.owned(reference, connection) as vault:
        found = vault.vault.versions(vault.key_id.name)
    told = [
        {
            "created": each.created.isoformat() if each.created else None,
            "enabled": each.enabled,
            "key": each.key_id.url,
            "key_version": each.key_id.version,
        }
        for each in found
    ]
    lines = [f"{each['key']}{'' if each['enabled'] else '  DISABLED'}" for each in told]
    emit({"versions": told}, "\n".join(lines) or "no version of this key", as_json=as_json)


@command.command("disable", epilog="Example: sealserve key disable trustd:127.0.0.1:8443/net/3b1f…")
@reference_argument
@release.connection_option
@json_option
def disable(reference: str, connection: Path | None, as_json: bool) -> None:
    """Take one version of a vault key out of use: REF/VERSION.

    No machine gets it any more. Whoever has it has it still: to revoke, seal the model again.
    """
    _set_enabled(reference, connection, enabled=False, as_json=as_json)


@command.command("enable", epilog="Example: sealserve key enable trustd:127.0.0.1:8443/net/3b1f…")
@reference_argument
@release.connection_option
@json_option
def enable(reference: str, connection: Path | None, as_json: bool) -> None:
    """Put one version of a vault key back into use: REF/VERSION."""
    _set_enabled(reference, connection, enabled=True, as_json=as_json)


def _set_enabled(reference: str, connection: Path | None, *, enabled: bool, as_json: bool) -> None:
    with release.owned(reference, connection) as vault:
        if not vault.key_id.version:
            raise ConfigError(
                f"{vault.key_id} names no version",
                key="REF",
                hint="`sealserve key versions` lists them; write REF/VERSION",
            )
        terms = vault.vault.set_enabled(vault.key_id.name, vault.key_id.version, enabled)
    if terms.enabled is not enabled:
        raise ReleaseError(f"{terms.key} did not change", hint="is this host really the vault?")
    words = f"key {terms.key}\n  {'enabled' if enabled else 'DISABLED: released to nobody'}"
    emit({"enabled": enabled, "key": terms.key}, words, as_json=as_json)

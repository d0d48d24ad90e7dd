"""What the verbs that make vault keys have in common: their options, and how a key is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealserve.cli import files, host_data
from sealserve.cli.output import say
from sealserve.cli.trust_new import today
from sealserve.native.errors import ConfigError, ReleaseError
from sealserve.policy import Trust, strict_json
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.release_build import Admitted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from sealserve.keys.owner import OwnedVault
    from sealserve.keys.vault import VaultKey

MAX_PEM_BYTES = 16 * 1024  # RSA of 4096 bits has 3.3 KiB
connection_option = click.option(
    "--connection",
    type=click.Path(path_type=Path, dir_okay=False),
    help="connection.toml of the trust service. [default: ~/.config/sealserve/connection.toml]",
)
service_option = click.option(
    "--attestation-service",
    default="",
    metavar="URL",
    help="Whose tokens an azure: vault shall ask for; trustd: brings its own.",
)


def admitted_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--policy FILE…` or `--trust FILE`: from which both the release policy is built."""
    for option in (_trust_option, _policy_option):
        command = option(command)
    return command


_policy_option = click.option(
    "--policy",
    "policy_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The execution policy a machine must run under to get the key; several while one "
    "replaces another.",
)
_trust_option = click.option(
    "--trust",
    "trust_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Or a trust file: its execution policies, and what it says of the launch.",
)


@contextmanager
def owned(reference: str, connection: Path | None, service: str = "") -> Iterator[OwnedVault]:
    """The vault a reference names, with the owner's credential. Raises ConfigError."""
    from sealserve.keys.owner import open_reference  # heavy; `key new` does without it

    vault = open_reference(reference, connection, service)
    try:
        yield vault
    finally:
        vault.close()


def admitted(policy_files: tuple[Path, ...], trust_file: Path | None) -> Admitted:
    """Which machines the files mean. Raises ConfigError, usage errors."""
    if bool(policy_files) == bool(trust_file):
        raise click.UsageError("give --policy FILE or --trust FILE, and not both")
    if trust_file is None:
        return Admitted(tuple(host_data.of_file(each).hex() for each in policy_files))
    trust = Trust.load(trust_file)
    if trust.expires is not None and trust.expires < today():
        raise ConfigError(
            f"expired after {trust.expires}",
            file=trust.file,
            key="expires",
            hint="compare it with what its owners publish now, then set a later date",
        )
    _say_left_out(trust)
    return Admitted.by(trust)


def _say_left_out(trust: Trust) -> None:
    """What a client with this trust file asks for, and a release policy cannot or will not."""
    left_out = ["hardware.tcb"]
    if isinstance(trust.launch, UvmLaunch):
        left_out.append(f"uvm_minimum_svn = {trust.launch.minimum_svn}")
        if trust.kind == "simulated":
            say("not in the policy, because no simulated service tells of it: uvm_issuer, uvm_feed")
    elif trust.kind != "simulated":
        say("warning: no attestation service calls a launch compliant that nobody endorsed, so")
        say("         this key is released to nobody; uvm_issuer says whose endorsement counts")
    say(f'not in the policy, whose grammar has no "at least": {", ".join(left_out)}')
    for key in sorted({"allow_debug", "allow_vmpl"} & trust.danger.told().keys()):
        say(f"not in the policy, which is stricter: danger.{key}")


def rsa_key(file: Path) -> RSAPrivateKey:
    """The private key in a PEM file that a vault can wrap with. Raises ConfigError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from sealserve.keys.wrap import RSA_BITS

    try:
        key = load_pem_private_key(files.read(file, MAX_PEM_BYTES), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: behind a passphrase
        key = None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size not in RSA_BITS:
        raise ConfigError(
            f"is no RSA private key of {RSA_BITS} bits in PEM, without a passphrase",
            file=str(file),
            hint="`openssl genrsa 3072` makes one",
        )
    return key


def told(key: VaultKey) -> dict[str, object]:
    """The facts of a vault key, for `--json`. Raises ReleaseError as `words` does."""
    return {
        "bits": key.public.key_size,
        "enabled": key.enabled,
        "key": key.key_id.url,
        "key_version": key.key_id.version,
        "release_policy": _policy(key) if key.policy else None,
    }


def words(key: VaultKey) -> str:
    """The same for people. Raises ReleaseError for a policy no vault of ours would keep."""
    state = "" if key.enabled else ", DISABLED"
    lines = [f"key {key.key_id.url}", f"  RSA, {key.public.key_size} bits{state}"]
    if not key.policy:
        return "\n".join([*lines, "  no release policy: it never leaves the vault"])
    policy = json.dumps(_policy(key), indent=2)
    indented = [f"  {line}" for line in policy.splitlines()]
    return "\n".join([*lines, "  released to whoever shows a token with:", *indented])


def _policy(key: VaultKey) -> object:
    try:
        return strict_json.loads(key.policy.decode("utf-8"))
    except ValueError:
        raise ReleaseError(
            f"{key.key_id} has a release policy that is not JSON we read",
            hint="is this host really a key vault?",
        ) from None

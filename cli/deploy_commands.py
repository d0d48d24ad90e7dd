"""What the containers of a policy are told, as `serve` and `skr` themselves read a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import click

from sealserve.cli import serve, skr
from sealserve.inference.server.config import KeySource, ServerConfig, pair
from sealserve.keys.keyid import vault_host
from sealserve.native.errors import ConfigError
from sealserve.policy.deployment import reading
from sealserve.policy.deployment.disagreement import Disagreement, Side
from sealserve.policy.deployment.pieces import Asked, Server, Sidecar
from sealserve.policy.execution.policy_file import PolicyFile

_TRUSTD = "trustd:"
_VERBS = {"serve": serve.command, "skr": skr.command}
_HELP = {"-h", "--help"}


@dataclass(frozen=True)
class Started:
    """faults: command lines that the program would refuse."""

    servers: list[Server] = field(default_factory=list)
    sidecars: list[Sidecar] = field(default_factory=list)
    faults: list[Disagreement] = field(default_factory=list)


def read(policy: PolicyFile) -> Started:
    """Raises ConfigError for a policy whose containers cannot be read."""
    started = Started()
    for name, command in reading.commands(policy):
        verb, arguments = _verb(command)
        where = f"{policy.where}, container {name}"
        try:
            if verb == "serve":
                started.servers.append(_server(where, arguments))
            elif verb == "skr":
                started.sidecars.append(_sidecar(where, arguments))
        except (ConfigError, click.ClickException) as error:
            started.faults.append(_refused(where, verb, error))
    return started


def _verb(command: Sequence[str]) -> tuple[str, Sequence[str]]:
    """`…/sealserve VERB …` and `python -m sealserve VERB …`; nothing for other programs."""
    for at, word in enumerate(command[:-1]):
        verb, arguments = command[at + 1], command[at + 2 :]
        named = PurePosixPath(word).name == "sealserve" and verb in _VERBS
        if named and not _HELP & set(arguments):
            return verb, arguments
    return "", ()


def _options(verb: str, arguments: Sequence[str]) -> dict[str, Any]:
    return _VERBS[verb].make_context(verb, list(arguments)).params


def _server(where: str, arguments: Sequence[str]) -> Server:
    given = _options("serve", arguments)
    keys = KeySource(
        identity=given["identity"],
        vault=given["vault"],
        attestation_service=given["attestation_service"],
        vault_ca=given["vault_ca"],
        vault_ca_sha256=given["vault_ca_sha256"],
        vault_credential=given["vault_credential"],
    )
    served = ServerConfig(models=pair(given["files"], given["roots"]), keys=keys).models
    _require_authorities([keys.vault], [keys.vault_ca_sha256] if keys.vault_ca_sha256 else [])
    asked = _asked(keys.vault, keys.attestation_service) if keys.vault else None
    pairs = [(each.path, root) for each in served for root in each.roots]
    files, roots = zip(*pairs, strict=True)
    return Server(where, files, roots, asked)


def _sidecar(where: str, arguments: Sequence[str]) -> Sidecar:
    given = _options("skr", arguments)
    _require_authorities(given["vaults"], given["ca_sha256"])
    asked = [
        _asked(vault, service)
        for vault in given["vaults"]
        for service in (("",) if vault.startswith(_TRUSTD) else given["services"] or ("",))
    ]
    return Sidecar(where, tuple(asked))


def _require_authorities(vaults: Sequence[str], digests: Sequence[str]) -> None:
    """What both programs say once they look for their vaults, which nobody does here."""
    ours = [vault for vault in vaults if vault.startswith(_TRUSTD)]
    if len(ours) != len(digests):
        raise ConfigError(
            f"{len(digests)} digests for {len(ours)} trustd: vaults", key="--vault-ca-sha256"
        )


def _asked(vault: str, service: str) -> Asked:
    if vault.startswith(_TRUSTD):
        host = vault_host(vault.removeprefix(_TRUSTD))
        return Asked(host, f"https://{host}", ours=True)
    host = vault_host(vault.removeprefix("azure:https://").removesuffix("/"))
    if not service.startswith("https://"):
        raise ConfigError(f"--vault {vault} needs --attestation-service URL")
    return Asked(host, service.rstrip("/"))


def _refused(where: str, verb: str, error: ConfigError | click.ClickException) -> Disagreement:
    return Disagreement(
        "danger",
        "command_refused",
        f"`sealserve {verb}` does not take the command line that the policy fixes",
        (Side(where, error.message),),
        "change the template, and generate the policy again",
    )

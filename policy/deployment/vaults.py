"""Where the key comes from: vault and attestation service on the command line, and elsewhere."""

from __future__ import annotations

from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side, listed
from sealserve.policy.deployment.pieces import Asked, Deployment
from sealserve.policy.release import same_authority
from sealserve.policy.release_build import SIMULATED_SUFFIX


def slots(deployment: Deployment) -> Disagreements:
    """Each served model has a slot for the vault that its server asks."""
    for server in deployment.servers:
        if server.asked is None:
            continue
        for sealed in deployment.sealed:
            if sealed.root in server.roots and server.asked.vault not in sealed.vaults:
                yield Disagreement(
                    "danger",
                    "slot_vault",
                    "the sealed model has no slot for a key of the vault that is asked",
                    (
                        Side(f"{server.where}, --vault", server.asked.vault),
                        Side(f"{sealed.file}, slots", listed(set(sealed.vaults))),
                    ),
                    "`sealserve publish` gives it one; its root stays",
                )


def authorities(deployment: Deployment) -> Disagreements:
    """The service that is asked for tokens is one whose tokens the vault believes."""
    release = deployment.release
    if release is None:
        return
    named = [entry.authority for entry in release.policy.authorities]
    for where, asked in deployment.asked:
        issuers = _issuers(asked, deployment)
        if not any(same_authority(each, issuer) for each in named for issuer in issuers):
            yield Disagreement(
                "danger",
                "authority",
                "the vault does not believe the attestation service that is asked",
                (
                    Side(f"{where}, --attestation-service", " or ".join(issuers)),
                    Side(f"{release.file}, authority", listed(named)),
                ),
                "name the same service on the command line and in the release policy",
            )


def managed_identity(deployment: Deployment) -> Disagreements:
    """A vault of Azure's wants to know who asks; a trust service of ours does not."""
    template = deployment.template
    if template is None or template.identity:
        return
    for where, asked in deployment.asked:
        if not asked.ours:
            yield Disagreement(
                "danger",
                "managed_identity",
                "the group has no identity as which it could ask the vault",
                (
                    Side(f"{where}, --vault", asked.vault),
                    Side(f"{template.where}, identity", "none"),
                ),
                "give the group a managed identity that has the vault's release role",
            )


def identities(deployment: Deployment) -> Disagreements:
    """A key file that no attestation guards is for trials alone."""
    trust = deployment.trust
    for server in deployment.servers:
        if trust and server.asked is None and trust.kind != "simulated":
            yield Disagreement(
                "danger",
                "identity",
                "the key comes from a file that no attestation guards",
                (
                    Side(server.where, "--identity"),
                    Side(f"{trust.file}, platform.kind", trust.kind),
                ),
                "give --vault and --attestation-service",
            )


def _issuers(asked: Asked, deployment: Deployment) -> list[str]:
    """A trust service signs as another issuer for simulated machines."""
    if not asked.ours:
        return [asked.service]
    simulated = f"{asked.service}{SIMULATED_SUFFIX}"
    if deployment.trust is None:
        return [asked.service, simulated]
    return [simulated if deployment.trust.kind == "simulated" else asked.service]

"""What is not there. A piece that this deployment can do without is named all the same."""

from __future__ import annotations

from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side
from sealserve.policy.deployment.pieces import Deployment
from sealserve.policy.remarks import Rank


def _missing(piece: str, why: str, hint: str, rank: Rank = "danger") -> Disagreement:
    return Disagreement(rank, f"no_{piece}", why, (), hint)


def missing(deployment: Deployment) -> Disagreements:
    """Every kind of file that is not there at all."""
    pieces = {
        "template": (deployment.template, _template),
        "policy": (deployment.policy, _policy),
        "release_policy": (deployment.release, _release),
        "trust": (deployment.trust, _trust),
        "sealed": (deployment.sealed, _sealed),
    }
    for kind, (piece, tell) in pieces.items():
        if not piece and kind not in deployment.unread:
            yield tell(deployment)


def _template(deployment: Deployment) -> Disagreement:
    """Simulated machines, and those without Azure, are started in another way."""
    trust = deployment.trust
    if trust is not None and trust.kind != "aci":
        return _missing(
            "template", "no ARM template, and this platform needs none", "nothing to do", "note"
        )
    return _missing(
        "template",
        "no ARM template with a container group: nothing says what is deployed",
        "deploy/aci has two; `sealserve policy generate --template` puts the policy in",
    )


def _policy(_: Deployment) -> Disagreement:
    return _missing(
        "policy",
        "no execution policy as a file of its own: nobody can compare the template's with it",
        "`sealserve policy generate --template FILE -o policy.rego`",
    )


def _release(deployment: Deployment) -> Disagreement:
    """Without a vault nothing is released."""
    if deployment.servers and not deployment.asked:
        return _missing(
            "release_policy", "no release policy, and no vault is asked", "nothing to do", "note"
        )
    return _missing(
        "release_policy",
        "no release policy: nothing says to whom the vault hands the key out",
        "`sealserve key policy --trust trust.toml --attestation-service URL -o release.json`",
    )


def _trust(deployment: Deployment) -> Disagreement:
    """A sidecar has no client of ours: the vault alone decides about its machine."""
    if _is_sidecar(deployment):
        return _missing("trust", "no trust file, and nothing is served", "nothing to do", "note")
    return _missing(
        "trust", "no trust file: no client can check this server", "`sealserve trust new`"
    )


def _sealed(deployment: Deployment) -> Disagreement:
    """A sidecar releases keys, of whatever they are."""
    if _is_sidecar(deployment):
        return _missing("sealed", "no sealed model, and nothing is served", "nothing to do", "note")
    return _missing(
        "sealed",
        "no sealed model: neither its root nor its slots can be compared",
        "put the file, or its copy, into the folder",
    )


def _is_sidecar(deployment: Deployment) -> bool:
    return bool(deployment.sidecars) and not deployment.servers


def command(deployment: Deployment) -> Disagreements:
    deployed = deployment.deployed
    started = deployment.servers or deployment.sidecars or "command" in deployment.unread
    if deployed and not started:
        yield Disagreement(
            "danger",
            "no_command",
            "no container of the policy starts `sealserve serve` or `sealserve skr`",
            (Side(deployed.where, "other commands, or none"),),
            "`sealserve policy explain` shows what starts; is this the right policy?",
        )

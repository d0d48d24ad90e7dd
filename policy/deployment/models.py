"""Which models: the roots on the command line, in the sealed files and in the trust file."""

from __future__ import annotations

from pathlib import PurePosixPath

from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side, listed
from sealserve.policy.deployment.pieces import Deployment, SealedFile


def sealed_roots(deployment: Deployment) -> Disagreements:
    """Every root that is served belongs to a file of the folder."""
    here = _by_root(deployment)
    if not here:
        return
    for server in deployment.servers:
        for file, root in zip(server.files, server.roots, strict=False):
            if root not in here:
                yield Disagreement(
                    "danger",
                    "sealed_root",
                    "no sealed model of the folder has the root that is served",
                    (
                        Side(f"{server.where}, --root of {file}", root),
                        Side(listed(each.file for each in deployment.sealed), listed(here)),
                    ),
                    "sealed again? then the root, and with it the policy, is another one",
                )


def file_names(deployment: Deployment) -> Disagreements:
    here = _by_root(deployment)
    for server in deployment.servers:
        for file, root in zip(server.files, server.roots, strict=False):
            sealed = here.get(root)
            if sealed and PurePosixPath(file).name != PurePosixPath(sealed.file).name:
                yield Disagreement(
                    "danger",
                    "sealed_file",
                    "the server opens a file of another name than the one with this root",
                    (Side(f"{server.where}, FILE", file), Side(sealed.file, root)),
                    "upload it under the name that the server opens, or change the command line",
                )


def unserved(deployment: Deployment) -> Disagreements:
    served = _served(deployment)
    for sealed in deployment.sealed:
        if deployment.servers and sealed.root not in served:
            yield Disagreement(
                "doubt",
                "sealed_not_served",
                "a sealed model that nobody serves",
                (Side(sealed.file, sealed.root), Side(_servers(deployment), listed(served))),
                "take the file away, or name it on the command line",
            )


def trusted_roots(deployment: Deployment) -> Disagreements:
    """A client names the model, so the root has to stand under that name."""
    trust, here = deployment.trust, _by_root(deployment)
    if trust is None:
        return
    for server in deployment.servers:
        for root in server.roots:
            names = [name for name, roots in trust.models.items() if bytes.fromhex(root) in roots]
            sealed = here.get(root)
            wanted = sealed.name if sealed else ""
            if not names:
                yield Disagreement(
                    "danger",
                    "trust_root",
                    "clients do not accept a root that is served",
                    (Side(f"{server.where}, --root", root), Side(trust.file, _roots(deployment))),
                    f"`sealserve trust new --model {wanted or 'NAME'}={root}`",
                )
            elif sealed and wanted not in names:
                yield Disagreement(
                    "danger",
                    "model_name",
                    "clients know a model by another name than its owner gave it",
                    (Side(sealed.file, wanted), Side(f"{trust.file}, models", listed(names))),
                    f"[models.{wanted}] in the trust file",
                )


def trusted_unserved(deployment: Deployment) -> Disagreements:
    trust, served = deployment.trust, _served(deployment)
    if trust is None or not deployment.servers:
        return
    known = {root.hex(): name for name, roots in trust.models.items() for root in roots}
    for root, name in known.items():
        if root not in served:
            yield Disagreement(
                "note",
                "trust_root_not_served",
                "clients accept a root that nobody serves, as while one replaces another",
                (
                    Side(f"{trust.file}, models.{name}", root),
                    Side(_servers(deployment), listed(served)),
                ),
                "remove the old",
            )


def _by_root(deployment: Deployment) -> dict[str, SealedFile]:
    return {each.root: each for each in deployment.sealed}


def _served(deployment: Deployment) -> set[str]:
    return {root for server in deployment.servers for root in server.roots}


def _servers(deployment: Deployment) -> str:
    return f"{listed({each.where for each in deployment.servers})}, --root"


def _roots(deployment: Deployment) -> str:
    trust = deployment.trust
    roots = (each for models in trust.models.values() for each in models) if trust else ()
    return listed(root.hex() for root in roots)

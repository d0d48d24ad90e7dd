"""What may run: one HOST_DATA in template, policy, release policy and trust file."""

from __future__ import annotations

from collections.abc import Iterator

from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side, listed
from sealserve.policy.deployment.pieces import Deployment, Release
from sealserve.policy.execution import form
from sealserve.policy.execution.policy_file import PolicyFile
from sealserve.policy.release_build import HOST_DATA
from sealserve.policy.release_lint import asked_for
from sealserve.policy.trust import Trust


def everything(deployment: Deployment) -> Disagreements:
    """A policy without meaning agrees with everything, so it is said here too."""
    deployed = deployment.deployed
    if deployed and form.name(deployed).allows_everything:
        yield Disagreement(
            "critical",
            "allows_everything",
            "the policy allows everything: no hash of it says what runs",
            (Side(deployed.where, deployed.sha256.hex()),),
            "`sealserve policy generate` writes one for these containers",
        )


def policy_file(deployment: Deployment) -> Disagreements:
    template, policy = deployment.template, deployment.policy
    if template and policy and template.policy.sha256 != policy.sha256:
        yield Disagreement(
            "danger",
            "policy_file",
            "the template carries another policy than the file",
            (_digest(template.policy), _digest(policy)),
            "`sealserve policy diff` says in what; generate both from the same template, "
            "parameters and images",
        )


def released(deployment: Deployment) -> Disagreements:
    deployed, release = deployment.deployed, deployment.release
    if deployed is None or release is None:
        return
    for number, values in _host_data(release):
        where = Side(f"{release.file}, anyOf[{number}], {HOST_DATA}", _told(values))
        if values is None or deployed.sha256.hex() not in values:
            yield Disagreement(
                "danger",
                "release_host_data",
                "the key is not bound to the policy that is deployed",
                (_digest(deployed), where),
                "`sealserve key policy` writes the clause; the vault key needs a version with it",
            )


def accepted(deployment: Deployment) -> Disagreements:
    deployed, trust = deployment.deployed, deployment.trust
    if deployed and trust and trust.policy(deployed.sha256) is None:
        yield Disagreement(
            "danger",
            "trust_host_data",
            "clients do not accept the policy that is deployed",
            (_digest(deployed), _policies(trust)),
            "`sealserve trust new --policy` reads its hash from the file",
        )


def left_over(deployment: Deployment) -> Disagreements:
    """Policies beside the deployed one, as while one replaces another."""
    deployed, release, trust = deployment.deployed, deployment.release, deployment.trust
    if deployed is None or release is None or trust is None:
        return
    asked = {value for _, values in _host_data(release) for value in values or ()}
    known = {each.digest.hex() for each in trust.policies}
    here = {deployed.sha256.hex()}
    if only := asked - known - here:
        yield Disagreement(
            "doubt",
            "released_not_trusted",
            "the key goes to software that no client accepts",
            (Side(f"{release.file}, {HOST_DATA}", listed(only)), _policies(trust)),
            "take the old policy out of the release policy, or into the trust file",
        )
    if only := known - asked - here:
        yield Disagreement(
            "doubt",
            "trusted_not_released",
            "clients accept software that gets no key",
            (Side(f"{trust.file}, software.policies", listed(only)), _clauses(release, asked)),
            "take the old policy out of the trust file, or into the release policy",
        )


def commands(deployment: Deployment) -> Disagreements:
    """What the template asks to be started, against what its own policy lets start."""
    template = deployment.template
    if template is None or template.allowed is None:
        return
    for name, command in template.commands:
        if (name, command) not in template.allowed:
            allowed = [_line(words) for other, words in template.allowed if other == name]
            yield Disagreement(
                "danger",
                "command",
                "the template starts a container in a way that its policy does not allow",
                (
                    Side(f"{template.where}, container {name}", _line(command)),
                    Side(
                        f"{template.where}, ccePolicy",
                        " or ".join(allowed) or "no such container",
                    ),
                ),
                "generate the policy again, with the parameters of the deployment and --overwrite",
            )


def _line(command: tuple[str, ...]) -> str:
    return " ".join(command) or "nothing"


def _digest(policy: PolicyFile) -> Side:
    return Side(policy.where, policy.sha256.hex())


def _policies(trust: Trust) -> Side:
    return Side(
        f"{trust.file}, software.policies", listed(each.digest.hex() for each in trust.policies)
    )


def _clauses(release: Release, asked: set[str]) -> Side:
    return Side(f"{release.file}, {HOST_DATA}", listed(asked))


def _host_data(release: Release) -> Iterator[tuple[int, frozenset[str] | None]]:
    for number, entry in enumerate(release.policy.authorities):
        yield number, asked_for(entry.condition, HOST_DATA)


def _told(values: frozenset[str] | None) -> str:
    return "not asked for: any software" if values is None else listed(values)

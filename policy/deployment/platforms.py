"""On which machines: the platform, and who vouches for what was launched there."""

from __future__ import annotations

from sealserve.policy.deployment.disagreement import Disagreement, Disagreements, Side, listed
from sealserve.policy.deployment.pieces import Deployment
from sealserve.policy.expectations import MeasuredLaunch, UvmLaunch
from sealserve.policy.release_build import ENDORSED_BY, MEASUREMENT
from sealserve.policy.release_claims import ENDORSEMENT, SNP
from sealserve.policy.release_lint import asked_for
from sealserve.policy.release_words import is_simulated

_SVN = f"{ENDORSEMENT}.{SNP}guestsvn"


def template_kind(deployment: Deployment) -> Disagreements:
    template, trust = deployment.template, deployment.trust
    if template and trust and trust.kind != "aci":
        yield Disagreement(
            "danger",
            "platform_template",
            "a template for Azure, and clients that expect another platform",
            (
                Side(template.where, "aci"),
                Side(f"{trust.file}, platform.kind", trust.kind),
            ),
            'kind = "aci", or leave the template out',
        )


def confidential(deployment: Deployment) -> Disagreements:
    """Any other group runs without hardware behind it, and nobody enforces its policy."""
    template = deployment.template
    if template and template.sku != "confidential":
        yield Disagreement(
            "danger",
            "sku",
            "the group carries a policy and is not confidential",
            (
                Side(f"{template.where}, sku", template.sku or "none"),
                Side(f"{template.where}, ccePolicy", template.policy.sha256.hex()),
            ),
            '"sku": "Confidential"',
        )


def authority_kind(deployment: Deployment) -> Disagreements:
    release, trust = deployment.release, deployment.trust
    if release is None or trust is None:
        return
    for entry in release.policy.authorities:
        if is_simulated(entry) != (trust.kind == "simulated"):
            yield Disagreement(
                "danger",
                "platform_authority",
                "simulated and real never mix: the key goes to machines of the other kind",
                (
                    Side(f"{release.file}, authority", entry.authority),
                    Side(f"{trust.file}, platform.kind", trust.kind),
                ),
                "name the attestation service of the platform",
            )


def endorsement(deployment: Deployment) -> Disagreements:
    """Where both say who endorses a launch, they say the same."""
    release, trust = deployment.release, deployment.trust
    if release is None or trust is None or not isinstance(trust.launch, UvmLaunch):
        return
    for key, wanted in (("issuer", trust.launch.issuer), ("feed", trust.launch.feed)):
        claim = f"{ENDORSED_BY}.{'iss' if key == 'issuer' else key}"
        for entry in release.policy.authorities:
            values = asked_for(entry.condition, claim)
            if values is not None and wanted not in values:
                yield Disagreement(
                    "danger",
                    f"uvm_{key}",
                    "keys and clients rely on different endorsements of the launch",
                    (
                        Side(f"{release.file}, {claim}", listed(values)),
                        Side(f"{trust.file}, launch.uvm_{key}", wanted),
                    ),
                    "`sealserve key policy --trust` takes it from the trust file",
                )


def unendorsed(deployment: Deployment) -> Disagreements:
    """Left to the service, which has rules of its own: known, and worth a word."""
    release, trust = deployment.release, deployment.trust
    if release is None or trust is None or trust.kind == "simulated":
        return
    if not isinstance(trust.launch, UvmLaunch):
        return
    for entry in release.policy.authorities:
        if asked_for(entry.condition, f"{ENDORSED_BY}.iss") is None:
            yield Disagreement(
                "note",
                "uvm_not_asked",
                "whoever endorsed the launch, the key is released if the service says compliant",
                (
                    Side(f"{release.file}, {ENDORSED_BY}", "not asked for"),
                    Side(f"{trust.file}, launch.uvm_issuer", trust.launch.issuer),
                ),
                "`sealserve key policy --trust` asks for it; older tokens do not have the claim",
            )


def endorsed_version(deployment: Deployment) -> Disagreements:
    release, trust = deployment.release, deployment.trust
    if release is None or trust is None or not isinstance(trust.launch, UvmLaunch):
        return
    least = trust.launch.minimum_svn
    for entry in release.policy.authorities:
        values = asked_for(entry.condition, _SVN) or frozenset()
        old = {each for each in values if each.isdecimal() and int(each[:20]) < least}
        if old:
            yield Disagreement(
                "danger",
                "uvm_svn",
                "the key is bound to an endorsement that is too old for clients",
                (
                    Side(f"{release.file}, {_SVN}", listed(old)),
                    Side(f"{trust.file}, launch.uvm_minimum_svn", f"{least}"),
                ),
                'leave the clause out: the grammar has no "at least"',
            )


def measurements(deployment: Deployment) -> Disagreements:
    release, trust = deployment.release, deployment.trust
    if release is None or trust is None or not isinstance(trust.launch, MeasuredLaunch):
        return
    known = {each.digest.hex() for each in trust.launch.measurements}
    for entry in release.policy.authorities:
        values = asked_for(entry.condition, MEASUREMENT)
        if values is not None and not values & known:
            yield Disagreement(
                "danger",
                "measurement",
                "no launch gets the key and is accepted by clients",
                (
                    Side(f"{release.file}, {MEASUREMENT}", listed(values)),
                    Side(f"{trust.file}, launch.measurements", listed(known)),
                ),
                "`sealserve key policy --trust` takes them from the trust file",
            )

"""What to think about again in an execution policy: what the host of the machine can still do.

A policy is there to keep a machine's host from running anything else. Each remark is a way in which
this one leaves that open, or in which it can never do what it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from sealserve.policy.execution import form
from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.points import POINTS
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.values import UNDEFINED, items, member, texts
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.lint_containers import is_shell, of_container
from sealserve.policy.execution.lint_variables import of_rule
from sealserve.policy.execution.normal import Entry, entries
from sealserve.policy.execution.platform import (
    INFRASTRUCTURE_FEED,
)
from sealserve.policy.remarks import Rank, Remark, Remarks, ranked

LEAST_INFRASTRUCTURE_SVN = 4  # what Azure advises in 2026; confcom 1.2.8 writes 1


def lint(policy: Policy) -> tuple[Remark, ...]:
    """Every remark on this policy, ranked."""
    seen = entries(policy)
    of_policy = (remark for look in _OF_POLICY for remark in look(policy))
    of_containers = (remark for entry in seen for remark in of_container(entry))
    return ranked([*of_policy, *of_containers, *_together(seen)])


# ---- the policy as such


def _everything(policy: Policy) -> Remarks:
    if form.allows_everything(policy.module):
        yield Remark(
            "critical",
            "policy",
            "everything is allowed: a machine under this policy runs whatever its host likes",
            "`sealserve policy generate` writes one for what is to run",
        )


def _own_answers(policy: Policy) -> Remarks:
    for name, rule in policy.module.rules.items():
        always = name in POINTS and member(rule.value, "allowed") is True
        if always and not form.allows_everything(policy.module):
            yield Remark(
                "critical",
                name,
                "always allowed, whatever is asked",
                f"bind it to the framework: {name} := data.framework.{name}",
            )


def _versions(policy: Policy) -> Remarks:
    if policy.api_version is None:
        hint = 'write api_version := "0.10.0"'
        yield Remark("danger", "api_version", "missing: everything is denied", hint)
    version = policy.framework_version
    if policy.module.rules.keys() & {"containers", "fragments"} and version is None:
        hint = 'write framework_version := "0.2.3"'
        yield Remark("danger", "framework_version", "missing: no container can start", hint)
    if versions.compare(version, versions.FRAMEWORK_VERSION) == 1:
        yield Remark(
            "danger",
            "framework_version",
            f"{version} is ahead of {versions.FRAMEWORK_VERSION}, the newest known: a guest of "
            "before sees no container",
            "choose a version that the platform's guests have; 0.2.3 is the safest",
        )


_FLAGS: Sequence[tuple[str, Rank, str]] = (
    ("allow_dump_stacks", "danger", "the host reads stacks of the guest's agent: debug mode"),
    ("allow_runtime_logging", "danger", "the host reads logs of the guest's agent: debug mode"),
    ("allow_unencrypted_scratch", "danger", "what containers write reaches disks in clear"),
    ("allow_host_network", "doubt", "containers may share the network of the guest itself"),
    ("allow_properties_access", "note", "the host lists processes and reads statistics"),
)


def _flags(policy: Policy) -> Remarks:
    for name, rank, what in _FLAGS:
        if policy.allows(name):
            yield Remark(rank, name, what, "set it to false, unless somebody needs it")


def _missing_rules(policy: Policy) -> Remarks:
    for name, point in POINTS.items():
        known = versions.at_least(policy.api_version, point.since) and not point.windows
        if known and policy.rule(name) is UNDEFINED and name in _NEEDED:
            yield Remark(
                "doubt",
                name,
                f"no rule, although API {policy.api_version} has this point: it is always denied",
                f"write {name} := data.framework.{name}, or stay at API 0.10.0",
            )


# Points that a pod cannot do without once its policy's API has them.
_NEEDED = frozenset(
    {"mount_device", "mount_overlay", "create_container", "unmount_device", "unmount_overlay"}
    | {"shutdown_container", "signal_container_process", "scratch_mount", "scratch_unmount"}
    | {"rw_mount_device", "rw_unmount_device"}
)


def _vanished(policy: Policy) -> Remarks:
    for label, fields in policy.vanished():
        yield Remark(
            "danger",
            label,
            f"has no {', '.join(fields)}: a guest does not see it, and says nothing of it",
            f"write it as framework {policy.framework_version} asks",
        )


def _fragments(policy: Policy) -> Remarks:
    for entry in policy.fragments():
        feed, svn = member(entry.fields, "feed"), member(entry.fields, "minimum_svn")
        standard = feed == INFRASTRUCTURE_FEED
        if standard and not versions.svn_reaches(svn, LEAST_INFRASTRUCTURE_SVN):
            yield Remark(
                "doubt",
                f"{entry.label}.minimum_svn",
                f"{svn}: versions of the platform's helpers with known faults may be loaded",
                f"ask for {LEAST_INFRASTRUCTURE_SVN} or more",
            )
        if not standard:
            yield Remark(
                "note",
                entry.label,
                "containers that this policy does not list start if "
                f"{member(entry.fields, 'issuer')} signs them",
                "know whose key that is",
            )
        if "namespace" in items(member(entry.fields, "includes")):
            yield Remark(
                "doubt",
                f"{entry.label}.includes",
                "namespace: the fragment's rules stay in the guest",
                "include only what is needed",
            )


def _beside(policy: Policy) -> Remarks:
    for process in policy.external_processes():
        command = texts(member(process.fields, "command")) or []
        yield Remark(
            "danger" if is_shell(command) else "doubt",
            process.label,
            f"{cut(' '.join(command), 100)} may be started in the guest itself, beside containers",
            "leave it out, unless the platform needs it",
        )
    for index, rules in enumerate(policy.platform_rules()):
        for place, rule in enumerate(items(member(rules, "env_rules"))):
            yield from of_rule(f"platform_rules[{index}].env_rules[{place}]", rule)


# ---- containers beside each other


def _together(seen: Sequence[Entry]) -> Iterator[Remark]:
    serving = [entry.label for entry in seen if _runs(entry, "serve")]
    releasing = [entry.label for entry in seen if _runs(entry, "skr") or _is_microsofts(entry)]
    if serving and releasing:
        yield Remark(
            "danger",
            "containers",
            f"{serving[0]} serves models and {releasing[0]} gets keys for anybody in the group: "
            "both have the same HOST_DATA, so either can have the keys of the other",
            "deploy them as two groups, each with its own policy",
        )


def _runs(entry: Entry, verb: str) -> bool:
    """Whether `sealserve VERB` is started, as a program or as a module."""
    words = texts(entry.field("command")) or []
    names = [PurePosixPath(word).name for word in words]
    return any(
        name == "sealserve" and verb in names[index + 1 : index + 2]
        for index, name in enumerate(names)
    )


def _is_microsofts(entry: Entry) -> bool:
    words = texts(entry.field("command")) or []
    image = str(entry.image).rpartition("/")[2].partition(":")[0]
    return image == "skr" or any(PurePosixPath(word).name in ("skr", "skr.sh") for word in words)


_OF_POLICY: tuple[Callable[[Policy], Remarks], ...] = (
    *(_everything, _own_answers, _versions, _flags, _missing_rules, _vanished, _fragments, _beside),
)

"""What to think about again in an execution policy: what the host of the machine can still do.

A policy is there to keep a machine's host from running anything else. Each remark is a way in which
this one leaves that open, or in which it can never do what it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from sealserve.policy.execution import form, reach
from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.points import POINTS
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.starting import rule_text
from sealserve.policy.execution.framework.values import UNDEFINED, holds, items, member, texts
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.normal import Entry, entries
from sealserve.policy.execution.platform import (
    IDENTITY_RULES,
    INFRASTRUCTURE_FEED,
    POD_RULES,
    RULES,
)
from sealserve.policy.remarks import Rank, Remark, Remarks, ranked

LEAST_INFRASTRUCTURE_SVN = 4  # what Azure advises in 2026; confcom 1.2.8 writes 1
_SHELLS = frozenset(("sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"))
_AZURE_FILE = "/azureFileVolume/"

# The platform sets these in every container, so every policy for it has them. Some of their names
# end as dangerous ones do, and none of them is one.
PLATFORM_PATTERNS = frozenset(
    f"{each.name}={each.value}"
    for each in (*RULES, *POD_RULES, *IDENTITY_RULES)
    if each.strategy == "re2"
)


def lint(policy: Policy) -> tuple[Remark, ...]:
    """Every remark on this policy, ranked."""
    seen = entries(policy)
    of_policy = (remark for look in _OF_POLICY for remark in look(policy))
    of_containers = (
        Remark(remark.rank, f"{entry.label}.{remark.key}", remark.what, remark.hint)
        for entry in seen
        for look in _OF_CONTAINERS
        for remark in look(entry)
    )
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
            "danger" if _is_shell(command) else "doubt",
            process.label,
            f"{cut(' '.join(command), 100)} may be started in the guest itself, beside containers",
            "leave it out, unless the platform needs it",
        )
    for index, rules in enumerate(policy.platform_rules()):
        for place, rule in enumerate(items(member(rules, "env_rules"))):
            yield from _rule(f"platform_rules[{index}].env_rules[{place}]", rule)


# ---- one container


def _privileged(entry: Entry) -> Remarks:
    if holds(entry.field("allow_elevated")):
        yield Remark(
            "danger",
            "allow_elevated",
            "may start privileged: it can reach everything in the guest",
            "leave privileges out, or add single capabilities",
        )


def _command(entry: Entry) -> Remarks:
    if texts(entry.field("command")) is None:
        yield Remark(
            "danger",
            "command",
            "no command: the container can never start",
            "the image has none either: give one in the deployment",
        )
    elif _is_shell(texts(entry.field("command")) or []):
        yield Remark("danger", "command", _SHELL, "start the program itself")


_SHELL = "a shell that reads what the host types: it can run anything in the container"


def _is_shell(command: Sequence[str]) -> bool:
    """A shell on its own; one that is told with `-c` what to do runs that and nothing else."""
    program = PurePosixPath(command[0]).name if command else ""
    return program in _SHELLS and not any(
        not word.startswith("-") or "c" in word.lstrip("-") for word in command[1:]
    )


def _processes(entry: Entry) -> Remarks:
    for index, process in enumerate(items(entry.field("exec_processes"))):
        command = texts(member(process, "command")) or []
        if _is_shell(command):
            yield Remark(
                "danger",
                f"exec_processes[{index}]",
                f"{' '.join(command)}: {_SHELL}",
                "generate the policy without debug mode",
            )


def _stdio(entry: Entry) -> Remarks:
    if holds(entry.field("allow_stdio_access")):
        yield Remark(
            "note",
            "allow_stdio_access",
            "the host reads what the container prints",
            "print nothing secret, or generate the policy without stdio",
        )


def _mounts(entry: Entry) -> Remarks:
    for index, mount in enumerate(items(entry.field("mounts"))):
        shared = _AZURE_FILE in str(member(mount, "source"))
        if shared and "rw" in items(member(mount, "options")):
            yield Remark(
                "doubt",
                f"mounts[{index}]",
                f"{member(mount, 'destination')} is a file share that can be written to: its host "
                "reads and changes what is there",
                "seal what is written, check what is read, or mount it read-only",
            )


def _signals(entry: Entry) -> Remarks:
    odd = [signal for signal in items(entry.field("signals")) if not isinstance(signal, int)]
    if odd:
        yield Remark(
            "doubt", "signals", f"{odd[0]!r} is no number and never matches", "use numbers"
        )


# ---- its environment


def _environment(entry: Entry) -> Remarks:
    rules = items(entry.field("env_rules"))
    for index, rule in enumerate(rules):
        if member(rule, "pattern") not in PLATFORM_PATTERNS:
            yield from _rule(f"env_rules[{index}]", rule)
    yield from _platform_rules(rules)
    yield from _unanchored(rules)
    yield from _twice(rules)


def _rule(key: str, rule: object) -> Remarks:
    told = cut(rule_text(rule), 100)
    if problem := reach.unusable(rule):
        yield Remark("doubt", key, f"{problem}: it lets nothing in", "write it in RE2's syntax")
        return
    reached = reach.reached(rule)
    for each in reached:
        yield _reaching(key, told, rule, each)
    name = reach.lets_in_any_value(rule)
    if name and not reached:
        yield Remark(
            "doubt",
            key,
            f"{told} lets the host choose {name} freely",
            "fix the value, or narrow the pattern to the values that are meant",
        )


def _reaching(key: str, told: str, rule: object, found: reach.Reached) -> Remark:
    """A pattern leaves the choice to the host; a fixed value is the policy's own."""
    family = found.family
    if member(rule, "strategy") == "string":
        harmless = str(member(rule, "pattern")).startswith("PYTHON_")  # names that images use
        return Remark(
            "note" if harmless else "doubt",
            key,
            f"{told} sets {family.label}: {family.why}, as this policy says",
            "be sure that this value is meant",
        )
    example = f", for example {cut(found.example, 60)}" if found.example else ", or may"
    return Remark(
        "critical",
        key,
        f"{told} lets in {family.label}{example}: {family.why}",
        "name the variable and its values; nothing that matches these names belongs to the host",
    )


def _platform_rules(rules: Sequence[object]) -> Remarks:
    found = [rule for rule in rules if member(rule, "pattern") in PLATFORM_PATTERNS]
    if found:
        yield Remark(
            "note",
            "env_rules",
            f"the host chooses the values of the platform's own variables ({len(found)} rules)",
            "believe none of them in the container",
        )


def _unanchored(rules: Sequence[object]) -> Remarks:
    loose = [cut(rule_text(rule), 60) for rule in rules if not reach.is_anchored(rule)]
    if loose:
        yield Remark(
            "doubt",
            "env_rules",
            f"{len(loose)} patterns have no anchors, {loose[0]} the first: guests of before June "
            "2025 find them anywhere, so that LD_PRELOAD=/x.so:HOSTNAME=1 passes HOSTNAME=.+",
            "a minimum version of the guest in the trust file keeps those out (uvm_minimum_svn)",
        )


def _twice(rules: Sequence[object]) -> Remarks:
    fixed = [rule_text(rule) for rule in rules if member(rule, "strategy") == "string"]
    names = [text.partition("=")[0] for text in fixed]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Remark(
            "note",
            "env_rules",
            f"{cut(name, 60)} has {names.count(name)} values: the host chooses among them",
            "leave the one that is meant",
        )


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
_OF_CONTAINERS: tuple[Callable[[Entry], Remarks], ...] = (
    *(_privileged, _command, _processes, _environment, _mounts, _signals, _stdio),
)

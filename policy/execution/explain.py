"""A policy in plain words: what may run, how, and what is left to the host."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from sealserve.native.errors import printable
from sealserve.policy.execution.form import Named
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.starting import rule_text
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import Fields, holds, items, member, texts
from sealserve.policy.execution.lint import lint
from sealserve.policy.execution.normal import Entry, entries, person
from sealserve.policy.execution.platform import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from sealserve.policy.remarks import Remark

_FLAGS: Mapping[str, tuple[str, str]] = {
    "allow_properties_access": ("the host may", "list processes and read statistics"),
    "allow_dump_stacks": ("the host may", "read stacks of the guest's agent"),
    "allow_runtime_logging": ("the host may", "read logs of the guest's agent"),
    "allow_unencrypted_scratch": ("containers may", "write to disks in clear"),
    "allow_host_network": ("containers may", "share the network of the guest"),
    "allow_environment_variable_dropping": ("the guest may", "drop variables that have no rule"),
    "allow_capability_dropping": ("the guest may", "drop capabilities that are too many"),
}


def explain(named: Named, policy: Policy) -> str:
    """All of it for people, risks last and the worst of them first."""
    lines = [
        f"policy {named.policy.sha256.hex()}",
        *_head(named, policy),
        *(line for entry in entries(policy) for line in _container(entry)),
        *(line for process in policy.external_processes() for line in _process(process)),
        *(_risk(remark) for remark in lint(policy)),
    ]
    return "\n".join(printable(line) for line in lines)


def _line(label: str, text: str) -> str:
    return f"  {label:<9} {text}"


def _head(named: Named, policy: Policy) -> Iterator[str]:
    yield _line("versions", f"API {policy.api_version}, framework {policy.framework_version}")
    if named.allows_everything:
        called = f" ({named.known})" if named.known else ""
        yield _line("allows", f"EVERYTHING{called}")
    for entry in policy.fragments():
        yield _line("loads", _fragment(entry))
    for name, (who, what) in _FLAGS.items():
        if policy.allows(name):
            yield _line("allows", f"{who} {what}")
    for label, fields in policy.vanished():
        yield _line("lost", f"{label}, which has no {', '.join(fields)}")


def _fragment(entry: Candidate) -> str:
    fields = entry.fields
    included = ", ".join(str(each) for each in items(member(fields, "includes")))
    return (
        f"{included} out of {member(fields, 'feed')}, version {member(fields, 'minimum_svn')} or "
        f"later, signed by {member(fields, 'issuer')}"
    )


def _container(entry: Entry) -> Iterator[str]:
    yield entry.label
    if isinstance(entry.image, str) and entry.image != entry.name:
        yield _line("image", entry.image)
    for index, layer in enumerate(items(entry.field("layers"))):
        yield _line("layer", f"{layer}{'  (base)' if index == 0 else ''}")
    yield _line("runs", _command(entry.field("command")))
    yield _line("in", str(entry.field("working_dir")))
    yield _line("as", _user(entry.field("user")))
    yield from _variables(items(entry.field("env_rules")))
    for mount in items(entry.field("mounts")):
        yield _line("mounts", _mount(mount))
    for process in items(entry.field("exec_processes")):
        yield _line("also runs", f"{_command(member(process, 'command'))}{_signalled(process)}")
    yield _line("signals", _signals(entry.field("signals")) or "none")
    yield _line("powers", _capabilities(entry))
    yield from _others(entry)


def _command(command: object) -> str:
    words = texts(command)
    return shlex.join(words) if words is not None else "NOTHING: it can never start"


def _signalled(process: object) -> str:
    signals = _signals(member(process, "signals"))
    return f", which may get signals {signals}" if signals else ""


def _signals(signals: object) -> str:
    return ", ".join(dict.fromkeys(str(each) for each in items(signals)))


def _user(user: object) -> str:
    groups = [person(each) for each in items(member(user, "group_idnames"))]
    who = person(member(user, "user_idname"))
    told = "anybody" if who == "any" else f"user {who}"
    of = "any group" if "any" in groups else f"group {' or '.join(groups)}"
    return f"{told} of {of}, umask {member(user, 'umask')}"


def _variables(rules: Sequence[object]) -> Iterator[str]:
    for rule in rules:
        yield _line("with", _variable(rule))
    yield "  and with no other variable" + ("" if rules else " at all")


def _variable(rule: object) -> str:
    need = ", which has to be set" if holds(member(rule, "required")) else ", which may be set"
    if isinstance(member(rule, "pattern"), str):
        kind = "matching" if member(rule, "strategy") == "re2" else "exactly"
        return f"{kind} {member(rule, 'pattern')}{need}"
    return f"matching {rule_text(rule)}{need}"


def _mount(mount: object) -> str:
    access = "to read and write" if "rw" in items(member(mount, "options")) else "to read"
    return f"{member(mount, 'destination')} {access}, from {member(mount, 'source')}"


_KNOWN: Sequence[tuple[Sequence[str], str]] = (
    (DEFAULT_CAPABILITIES, "the default capabilities"),
    (ALL_CAPABILITIES, "EVERY capability"),
)


def _capabilities(entry: Entry) -> str:
    sets = entry.capabilities(holds(entry.field("allow_elevated")))
    effective = sets.get("effective", set())
    told = next((words for names, words in _KNOWN if effective == {*names}), "")
    told = told or ", ".join(sorted(effective)) or "no capabilities"
    ambient = sets.get("ambient") or sets.get("inheritable")
    return f"{told}{', which its children inherit' if ambient else ''}"


def _others(entry: Entry) -> Iterator[str]:
    if holds(entry.field("allow_elevated")):
        yield _line("powers", "may be PRIVILEGED")
    if holds(entry.field("no_new_privileges")):
        yield _line("powers", "can gain no others")
    if seccomp := entry.field("seccomp_profile_sha256"):
        yield _line("seccomp", str(seccomp))
    leaves = holds(entry.field("allow_stdio_access"))
    yield _line("prints", "what it prints leaves the guest" if leaves else "to nobody")


def _process(process: Candidate) -> Iterator[str]:
    yield f"{process.label}, in the guest itself"
    yield _line("runs", _command(member(process.fields, "command")))
    yield _line("in", str(member(process.fields, "working_dir")))
    yield from _variables(items(member(process.fields, "env_rules")))


def _risk(remark: Remark) -> str:
    return f"{remark.rank.upper():<9} {remark.key}: {remark.what}"


# ---- for programs


def document(named: Named, policy: Policy) -> Fields:
    """As JSON: the policy's own fields, filled in as a guest does."""
    return {
        **named.document(),
        "api_version": policy.api_version,
        "framework_version": policy.framework_version,
        "flags": {name: policy.allows(name) for name in _FLAGS},
        "fragments": [entry.fields for entry in policy.fragments()],
        "containers": [_fields(entry) for entry in entries(policy)],
        "external_processes": [each.fields for each in policy.external_processes()],
        "risks": [asdict(remark) for remark in lint(policy)],
    }


def _fields(entry: Entry) -> Fields:
    names = {"name": entry.name, "id": entry.image}
    told = {name: value for name, value in names.items() if isinstance(value, str)}
    return {"label": entry.label, **told, **entry.candidate.fields}

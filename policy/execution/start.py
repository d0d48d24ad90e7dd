"""One start, asked of a policy as a host asks a guest: layers, overlay, container, in this order.

    mount_device      each layer, base first
    mount_overlay     the layers together, as one container's file system
    create_container  what is to run in it, as whom, with what

The first of them that is denied is the answer; nothing is asked behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sealserve.native.errors import Finding, PolicyViolation, printable
from sealserve.policy.execution.framework import Considered, Decision, Enforcer, Policy
from sealserve.policy.execution.framework.values import Fields, items, member
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.platform import DEFAULT_CAPABILITIES
from sealserve.policy.execution.simulation_words import nearest

UMASK = "0022"  # what every container and process starts with, as containerd has it
_ID = "01" * 32  # a container's name has 64 hexadecimal digits; there is one, so any will do
_DEVICES = "/run/mounts/scsi/m[0-9]+"  # where a Linux guest mounts layers (hcsshim, guestpath)
_CAPABILITIES = ("bounding", "effective", "permitted")  # the two other sets start empty


@dataclass(frozen=True)
class Person:
    """A user or a group. id: digits. name: what the system calls it; "" where nobody says."""

    id: str
    name: str = ""

    def fields(self) -> Fields:
        """As a request has it."""
        return {"id": self.id, "name": self.name}


@dataclass(frozen=True)
class User:
    """Who starts."""

    person: Person
    groups: tuple[Person, ...]


@dataclass(frozen=True)
class Start:
    """What is asked for. environment: all that is offered; a policy may let less of it through.

    layers: roots, base first; none where no image is. mounts: as the runtime specification has
    them. sandbox_dir: the pod's directory, "" without one. capabilities: offered likewise.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str
    user: User
    layers: Sequence[str] = ()
    mounts: Sequence[Fields] = ()
    sandbox_dir: str = ""
    no_new_privileges: bool = False
    capabilities: Sequence[str] = DEFAULT_CAPABILITIES


@dataclass(frozen=True)
class Permitted:
    """What may start: the start as asked, with this much of the environment and capabilities."""

    environment: Mapping[str, str]
    capabilities: tuple[str, ...]
    stdio: bool


@dataclass(frozen=True)
class Decider:
    """A policy that decides over starts."""

    sha256: bytes
    policy: Policy

    @classmethod
    def parse(cls, text: bytes, *, file: str = "") -> Decider:
        """Read a policy in any layout that is data. Raises ConfigError with file and line."""
        return cls(hashlib.sha256(text).digest(), Policy.parse(text, file=file))

    def ask(self, start: Start, *, hint: str = "") -> Permitted:
        """Decide one start in a fresh guest.

        hint: the way out of a denial beside those of its conditions. Raises PolicyViolation that
        says what decided and, of every container that comes near, which conditions held. Raises
        ConfigError where patterns cannot be matched, google-re2 being absent.
        """
        enforcer = Enforcer(self.policy)
        for point, request in _requests(start):
            decision = enforcer.ask(point, request)
            if not decision.allowed:
                raise _denied(self.sha256, decision, hint)
        return _permitted(start, decision)


def _requests(start: Start) -> Iterator[tuple[str, Fields]]:
    places = [f"/run/mounts/scsi/m{index}" for index in range(len(start.layers))]
    for place, layer in zip(places, start.layers, strict=True):
        asked: Fields = {"target": place, "deviceHash": layer, "mountPathRegex": _DEVICES}
        yield "mount_device", asked
    overlay: Fields = {
        "containerID": _ID,
        "layerPaths": places[::-1],
        "target": f"/run/gcs/c/{_ID}/rootfs",
    }
    yield "mount_overlay", overlay
    yield "create_container", _to_create(start)


def _to_create(start: Start) -> Fields:
    sandbox: Fields = {"sandboxDir": start.sandbox_dir} if start.sandbox_dir else {}
    return {
        "containerID": _ID,
        "argList": [*start.command],
        "envList": [_variable(name, value) for name, value in start.environment.items()],
        "workingDir": start.working_dir,
        **sandbox,
        "mounts": [*start.mounts],
        "devices": [],
        "privileged": False,
        "noNewPrivileges": start.no_new_privileges,
        "user": start.user.person.fields(),
        "groups": [group.fields() for group in start.user.groups],
        "umask": UMASK,
        "capabilities": {
            **{name: [*start.capabilities] for name in _CAPABILITIES},
            "ambient": [],
            "inheritable": [],
        },
        "seccompProfileSHA256": "",
        "isSandboxContainer": False,
    }


def _variable(name: str, value: str) -> str:
    return f"{name}={value}"


def _permitted(start: Start, decision: Decision) -> Permitted:
    return Permitted(
        environment=_variables(start.environment, decision.result.get("env_list")),
        capabilities=_capabilities(start.capabilities, decision.result.get("caps_list")),
        stdio=decision.result.get("allow_stdio_access") is True,
    )


def _variables(asked: Mapping[str, str], kept: object) -> Mapping[str, str]:
    """Without a list all of them: hcsshim securitypolicyenforcer_rego.go, getEnvsToKeep."""
    if kept is None:
        return asked
    return {n: v for n, v in asked.items() if _variable(n, v) in items(kept)}


def _capabilities(asked: Sequence[str], kept: object) -> tuple[str, ...]:
    """Those that are in every set; without sets all of them (getCapsToKeep, likewise)."""
    if kept is None:
        return tuple(asked)
    sets = [items(member(kept, name)) for name in _CAPABILITIES]
    return tuple(each for each in asked if all(each in one for one in sets))


# ---- how a denial is told


def _denied(sha256: bytes, decision: Decision, hint: str) -> PolicyViolation:
    lines = [
        f"the execution policy {sha256.hex()[:16]}… does not allow this start",
        f"  {decision.point} is denied by {decision.rule}",
        *(f"  {line}" for line in _told(decision)),
    ]
    return PolicyViolation(
        "\n".join(printable(line) for line in lines), findings=_findings(decision), hint=hint
    )


def _told(decision: Decision) -> Iterator[str]:
    """The error, every container near to what was asked with what held, and the guest's words."""
    if decision.policy_error:
        yield f"because: {cut(decision.policy_error)}"
    near, others = nearest(decision.considered)
    yield from (_conditions(each) for each in near if each.container)
    if others:
        yield f"not {others} more, which missed by more"
    yield from (f"guest: {cut(reason)}" for reason in decision.reasons)


def _conditions(considered: Considered) -> str:
    held = ", ".join(check.field for check in considered.checks if check.held)
    failed = ", ".join(check.field for check in considered.checks if not check.held)
    return f"not {considered.container}: {failed} failed; {held or 'nothing'} held"


def _findings(decision: Decision) -> list[Finding]:
    """What failed; with its container where there are several."""
    near, _ = nearest(decision.considered)
    several = sum(1 for each in near if each.container) > 1
    return [
        Finding(
            f"{each.container}, {check.field}" if several and each.container else check.field,
            check.seen,
            check.wanted,
            check.hint,
        )
        for each in near
        for check in each.checks
        if not check.held
    ]

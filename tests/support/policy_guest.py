"""A guest under a policy made for a test: containers mounted and started in a line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sealserve.policy.execution.framework import Decision, Enforcer, Guest, Policy
from sealserve.policy.execution.platform import DEFAULT_CAPABILITIES

ID = "01" * 32
ROOT = "aa" * 32
PLACE = "/run/mounts/scsi/m[0-9]+"
CAPABILITIES = {
    "ambient": [],
    "bounding": list(DEFAULT_CAPABILITIES),
    "effective": list(DEFAULT_CAPABILITIES),
    "inheritable": [],
    "permitted": list(DEFAULT_CAPABILITIES),
}
ANYBODY = {"pattern": "", "strategy": "any"}
USER = {"group_idnames": [ANYBODY], "umask": "0022", "user_idname": ANYBODY}
CONTAINER: Mapping[str, Any] = {
    "allow_elevated": False,
    "allow_stdio_access": True,
    "capabilities": None,
    "command": ["app"],
    "env_rules": [],
    "exec_processes": [{"command": ["probe"], "signals": [2]}],
    "layers": [ROOT],
    "mounts": [],
    "no_new_privileges": False,
    "seccomp_profile_sha256": "",
    "signals": [9],
    "user": USER,
    "working_dir": "/",
}
FLAGS = {
    "allow_properties_access": True,
    "allow_dump_stacks": False,
    "allow_runtime_logging": False,
    "allow_environment_variable_dropping": True,
    "allow_unencrypted_scratch": False,
    "allow_capability_dropping": True,
}
POINTS = (
    *("mount_device", "unmount_device", "mount_overlay", "unmount_overlay", "create_container"),
    *("exec_in_container", "exec_external", "shutdown_container", "signal_container_process"),
    *("plan9_mount", "plan9_unmount", "get_properties", "dump_stacks", "runtime_logging"),
    *("load_fragment", "scratch_mount", "scratch_unmount", "rw_mount_device"),
    *("rw_unmount_device", "load_transparency_trust_list", "host_network", "mount_blockdev"),
)
BINDINGS = {name: f"data.framework.{name}" for name in POINTS}
START: Mapping[str, Any] = {
    "containerID": ID,
    "argList": ["app"],
    "envList": [],
    "workingDir": "/",
    "sandboxDir": "/sandbox",
    "hugePagesDir": "/huge",
    "mounts": [],
    "devices": [],
    "privileged": False,
    "noNewPrivileges": False,
    "user": {"id": "0", "name": "root"},
    "groups": [{"id": "0", "name": "root"}],
    "umask": "0022",
    "capabilities": CAPABILITIES,
    "seccompProfileSHA256": "",
    "isSandboxContainer": False,
}


def text(
    *containers: Mapping[str, Any],
    api: str = "0.12.0",
    framework: str = "0.5.0",
    bindings: Mapping[str, str] = BINDINGS,
    **rules: Any,
) -> str:
    """A policy. containers: what differs from CONTAINER; None leaves a field out. rules: JSON."""
    made = [_fields({**CONTAINER, **each}) for each in containers]
    told = {**FLAGS, "containers": made, "fragments": [], **rules}
    lines = [f"{name} := {json.dumps(value)}" for name, value in told.items()]
    lines += [f"{name} := {value}" for name, value in bindings.items()]
    head = ["package policy", f'api_version := "{api}"', f'framework_version := "{framework}"']
    return "\n".join([*head, *lines, 'reason := {"errors": data.framework.errors}'])


class _Left:
    """Stands for a field that is left out."""


LEFT = _Left()


def _fields(container: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in container.items() if value is not LEFT}


def guest(*containers: Mapping[str, Any], data: Guest | None = None, **policy: Any) -> Enforcer:
    """A guest under such a policy."""
    return Enforcer(Policy.parse(text(*containers, **policy).encode()), data)


def mounted(enforcer: Enforcer, name: str = ID, layers: Sequence[str] = (ROOT,)) -> Enforcer:
    """With a container's layers and overlay mounted; layers: base first."""
    places = []
    for index, layer in enumerate(layers):
        place = f"/run/mounts/scsi/m{int(name[:2], 16) * 10 + index}"
        asked = {"target": place, "deviceHash": layer, "mountPathRegex": PLACE}
        assert enforcer.ask("mount_device", asked).allowed
        places.insert(0, place)
    overlay = {"containerID": name, "layerPaths": places, "target": f"/run/gcs/c/{name}/rootfs"}
    assert enforcer.ask("mount_overlay", overlay).allowed
    return enforcer


def create(enforcer: Enforcer, **asked: Any) -> Decision:
    """Ask to create the container. asked: what differs from START."""
    return enforcer.ask("create_container", {**START, **asked})


def failed(decision: Decision) -> list[str]:
    """Every field that kept a request from being allowed."""
    return [check.field for each in decision.considered for check in each.checks if not check.held]

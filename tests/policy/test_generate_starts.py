"""What is generated lets the deployment start, and nothing near it, by the rules of the guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sealserve.policy.execution import text
from sealserve.policy.execution.complaints import Complaints
from sealserve.policy.execution.framework import Enforcer, Policy
from sealserve.policy.execution.generate import Generated, Options, generate
from sealserve.policy.execution.image_source import ImageSource
from sealserve.policy.execution.profile import STRICT, named
from support.policy_generation import from_template
from support.policy_vectors import DIRECTORY, Run, runs_of

CONTAINER = "01" * 32
SANDBOX = "/run/gcs/c/sandbox/sandboxMounts"


def templates() -> list[Run]:
    """Every template of the vectors once."""
    rows = (row for row in runs_of(DIRECTORY) if row.file("template") and not row.row["exit"])
    return [*{row.case["case"]: row for row in rows}.values()]


def policies(row: Run, profile: str) -> list[Generated]:
    """None where the strict profile refuses the template."""
    template, parameters = row.file("template"), row.file("parameters")
    assert template is not None
    given = json.loads(parameters.read_text()) if parameters else None
    complaints = Complaints(strict=True)
    groups = from_template(json.loads(template.read_text()), given, approve=True)(complaints)
    images = ImageSource(row.archives)
    made = generate(groups, images, named(profile), Options(), complaints)
    return [] if complaints.found else made


def own(made: Generated) -> Iterator[dict[str, Any]]:
    yield from text.parse(made.text).containers[:-1]


def started(made: Generated, container: dict[str, Any], **changes: object) -> bool:
    """Whether the guest mounts this container's layers and then creates it."""
    guest = Enforcer(Policy.parse(made.text))
    paths = [f"/run/mounts/scsi/m{at}" for at in range(len(container["layers"]))]
    for path, root in zip(paths, container["layers"], strict=True):
        pattern = "/run/mounts/scsi/m[0-9]+"
        device = {"target": path, "deviceHash": root, "mountPathRegex": pattern}
        assert guest.ask("mount_device", device).allowed
    overlay = {"containerID": CONTAINER, "layerPaths": paths[::-1], "target": "/run/gcs/c/x/rootfs"}
    assert guest.ask("mount_overlay", overlay).allowed
    return guest.ask("create_container", {**creation(container), **changes}).allowed


def creation(container: dict[str, Any]) -> dict[str, Any]:
    """The request that asks for exactly what the container may have."""
    user = container["user"]
    fixed = [rule["pattern"] for rule in container["env_rules"] if rule["strategy"] == "string"]
    mounts = [
        {**mount, "source": mount["source"].replace("sandbox://", SANDBOX).replace(".+", "v1")}
        for mount in container["mounts"]
    ]
    return {
        "containerID": CONTAINER,
        "argList": container["command"],
        "envList": [*fixed, "HOSTNAME=h1", "Fabric_NodeName=n"],
        "workingDir": container["working_dir"],
        "sandboxDir": SANDBOX,
        "hugePagesDir": SANDBOX,
        "mounts": mounts,
        "devices": [],
        "privileged": container["allow_elevated"],
        "noNewPrivileges": container["no_new_privileges"],
        "user": person(user["user_idname"]),
        "groups": [person(user["group_idnames"][0])],
        "umask": user["umask"],
        "capabilities": container["capabilities"],
        "seccompProfileSHA256": container["seccomp_profile_sha256"],
        "isSandboxContainer": False,
    }


def person(rule: dict[str, str]) -> dict[str, str]:
    told = {"id": "0", "name": "root"}
    return told if rule["strategy"] == "any" else {**told, rule["strategy"]: rule["pattern"]}


@pytest.mark.parametrize("profile", STRICT)
@pytest.mark.parametrize("row", templates(), ids=lambda row: row.case["case"])
def test_what_was_asked_for_starts_and_one_word_more_does_not(row: Run, profile: str) -> None:
    for made in policies(row, profile):
        for container in own(made):
            assert started(made, container)
            more = [*container["command"], "--more"]
            assert not started(made, container, argList=more)


def test_most_templates_were_tried() -> None:
    made = [bool(policies(row, "aci-2025")) for row in templates()]
    assert sum(made) > len(made) / 2

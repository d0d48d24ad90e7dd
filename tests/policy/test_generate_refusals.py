"""What the strict profiles refuse: one by one with both sides and the way out, and all at once."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import fragments
from sealserve.policy.execution.complaints import MAX_SHOWN, Complaint, Complaints
from sealserve.policy.execution.containers import ready
from sealserve.policy.execution.generate import Options
from sealserve.policy.execution.image import Image
from support.policy_generation import (
    APP,
    POD,
    STRICT,
    Read,
    attempt,
    config,
    faults,
    from_config,
    from_pods,
    from_template,
    policy,
    template,
)


def of(properties: dict[str, Any] | None = None, **more: Any) -> Read:
    return from_template(template(properties, **more))


def variable(**members: object) -> Read:
    return of({"environmentVariables": [members]})


def security(**members: object) -> Read:
    return of({"securityContext": members})


def mounted(volume: dict[str, Any], **mount: object) -> Read:
    mounts = [{"name": "v", "mountPath": "/v", **mount}]
    return of({"volumeMounts": mounts}, group={"volumes": [{"name": "v", **volume}]})


def seccomp(profile: object) -> Read:
    return security(seccompProfile=base64.b64encode(json.dumps(profile).encode()).decode())


def with_resource(**members: object) -> Read:
    document = template()
    document["resources"][0].update(members)
    return from_template(document)


def second_container(**members: object) -> Read:
    document = template()
    document["resources"][0]["properties"]["containers"].append(members)
    return from_template(document)


NONE = "seen nothing"
# What is read; where it stands; what was seen and wanted, as far as it tells them from others.
TEMPLATES: dict[str, tuple[Read, str, str, str]] = {
    "no object": (from_template([]), "resources", NONE, "a resource of type"),
    "no resources": (from_template({}), "resources", NONE, "a resource of type"),
    "another type": (with_resource(type="Microsoft.Web/sites"), "resources", NONE, "a resource"),
    "a loop": (with_resource(copy={}), "resources[0].copy", "a loop", "one resource per group"),
    "no containers": (
        of(group={"containers": []}),
        "group one, containers",
        "seen []",
        "a list of containers",
    ),
    "containers by name": (
        of(group={"containers": {"a": 1}}),
        "group one, containers",
        'seen {"a": 1}',
        "a list of containers",
    ),
    "first containers by name": (
        of(group={"initContainers": {"a": 1}}),
        "group one, initContainers",
        'seen {"a": 1}',
        "a list of containers",
    ),
    "Windows": (of(group={"osType": "Windows"}), "group one, osType", '"Windows"', "Linux"),
    "fragments in a registry": (
        of(group={"confidentialComputeProperties": {"standaloneFragments": ["x"]}}),
        "group one, standaloneFragments",
        "references into a registry",
        "fragments in a file",
    ),
    "two spellings": (
        of(group={"Containers": []}),
        "resources[0].properties.Containers",
        "'containers' as well",
        "one of them",
    ),
    "volumes by name": (of(group={"volumes": {"v": 1}}), "group one, volumes", '{"v": 1}', "list"),
    "no name": (
        second_container(properties={"image": "demo/app:1"}),
        "containers[1], name",
        "seen null",
        "a name",
    ),
    "no image": (of({"image": ""}), "app, image", 'seen ""', "the name of an image"),
    "an image that is none": (of({"image": 5}), "app, image", "seen 5", "the name of an image"),
    "an unknown image": (
        of({"image": "other:1"}),
        "app, image",
        "other:1: none of the archives has it",
        "an image that can be read",
    ),
    "a line for a command": (of({"command": "run it"}), "app, command", '"run it"', "words"),
    "a number in a command": (of({"command": ["run", 5]}), "app, command", "seen 5", "words"),
    "no program": (of({"command": ["", "x"]}), "app, command", '["", "x"]', "a program first"),
    "NUL in a command": (of({"command": ["a\0b"]}), "app, command[0]", "NUL", "text that"),
    "variables by name": (
        of({"environmentVariables": {"A": "1"}}),
        "app, environmentVariables",
        '{"A": "1"}',
        "a list of variables",
    ),
    "a variable without a name": (
        variable(value="1"),
        "app, environmentVariables[0].name",
        "seen null",
        "the name of a variable",
    ),
    "a variable without a value": (
        variable(name="A"),
        "app, environmentVariables[0].value",
        NONE,
        "text",
    ),
    "a list for a value": (
        variable(name="A", value=["1"]),
        "app, environmentVariables[0].value",
        '["1"]',
        "text",
    ),
    "NUL in a value": (
        variable(name="A", value="a\0b"),
        "app, environmentVariables.A",
        "NUL",
        "a rule the guest can apply",
    ),
    "a variable twice": (
        of({"environmentVariables": [{"name": "A", "value": v} for v in "12"]}),
        "app, environmentVariables.A",
        'two values, "1" and "2"',
        "one",
    ),
    "a volume that is not there": (
        of({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        "app, volumeMounts[0].name",
        '"v"',
        "a volume that the group declares",
    ),
    "mounts by name": (of({"volumeMounts": {"v": 1}}), "app, volumeMounts", "{", "list of mounts"),
    "a volume of no known kind": (
        mounted({"csi": {}}),
        "app, volumeMounts[0].type",
        'seen ""',
        "one of azureFile",
    ),
    "a volume of two kinds": (
        mounted({"emptyDir": {}, "secret": {}}),
        "app, volumeMounts[0]",
        '["emptyDir", "secret"]',
        "one kind of volume",
    ),
    "a mount nowhere": (
        mounted({"emptyDir": {}}, mountPath=""),
        "app, volumeMounts[0].mountPath",
        'seen ""',
        "a path in the container",
    ),
    "a mount at a relative path": (
        mounted({"emptyDir": {}}, mountPath="v"),
        "app, volumeMounts[0].mountPath",
        '"v"',
        "an absolute path",
    ),
    "read-only in words": (
        mounted({"emptyDir": {}}, readOnly="true"),
        "app, volumeMounts[0].readOnly",
        '"true"',
        "true or false",
    ),
    "a probe without a command": (
        of({"livenessProbe": {"exec": {"command": []}}}),
        "app, livenessProbe.exec.command",
        "seen []",
        "a command",
    ),
    "a line for a probe": (
        of({"livenessProbe": {"exec": {"command": "x y"}}}),
        "app, execProcesses[0].command",
        '"x y"',
        "a list of words",
    ),
    "a number in a probe": (
        of({"livenessProbe": {"exec": {"command": ["x", 1]}}}),
        "app, execProcesses[0].command",
        "seen 1",
        "a list of words",
    ),
    "privileged in other words": (
        security(privileged="yes"),
        "app, securityContext.privileged",
        '"yes"',
        "true or false",
    ),
    "privileged as a number": (
        security(privileged=1),
        "app, securityContext.privileged",
        "seen 1",
        "true or false",
    ),
    "escalation as a number": (
        security(allowPrivilegeEscalation=0),
        "app, securityContext.allowPrivilegeEscalation",
        "seen 0",
        "true or false",
    ),
    "a user by name": (
        security(runAsUser="1000"),
        "app, securityContext.runAsUser",
        '"1000"',
        "a number from 0 up",
    ),
    "a user below zero": (
        security(runAsUser=-1),
        "app, securityContext.runAsUser",
        "seen -1",
        "a number from 0 up",
    ),
    "true for a user": (
        security(runAsUser=True),
        "app, securityContext.runAsUser",
        "seen true",
        "a number from 0 up",
    ),
    "a group beyond all": (
        security(runAsGroup=1 << 32),
        "app, securityContext.runAsGroup",
        "4294967296",
        "at most 4294967295",
    ),
    "a list of capabilities": (
        security(capabilities=["CAP_CHOWN"]),
        "app, securityContext.capabilities",
        '["CAP_CHOWN"]',
        "an object with add and drop",
    ),
    "one capability to add": (
        security(capabilities={"add": "CAP_CHOWN"}),
        "app, securityContext.capabilities.add",
        '"CAP_CHOWN"',
        "a list of capabilities",
    ),
    "a capability by number": (
        security(capabilities={"drop": [1]}),
        "app, securityContext.capabilities.drop[0]",
        "seen 1",
        "the name of a capability",
    ),
    "an unknown capability": (
        security(capabilities={"add": ["CAP_NOT_THERE"]}),
        "app, securityContext.capabilities.add[0]",
        '"CAP_NOT_THERE"',
        "a capability of Linux",
    ),
    "a capability as Kubernetes writes it": (
        security(capabilities={"drop": ["NET_RAW"]}),
        "app, securityContext.capabilities.drop[0]",
        '"NET_RAW"',
        "a capability of Linux",
    ),
    "a seccomp profile in clear": (
        security(seccompProfile="{}"),
        "app, securityContext.seccompProfile",
        "not base64 of JSON",
        "base64 of a seccomp profile",
    ),
    "base64 of no text": (
        security(seccompProfile=base64.b64encode(b"\xff\xfe").decode()),
        "app, securityContext.seccompProfile",
        "not text",
        "base64 of a seccomp profile",
    ),
    "a number for a seccomp profile": (
        security(seccompProfile=5),
        "app, securityContext.seccompProfile",
        "seen 5",
        "a profile in base64",
    ),
    "a list for a seccomp profile": (
        seccomp([]),
        "app, securityContext.seccompProfile",
        "[] where an object belongs",
        "base64 of a seccomp profile",
    ),
    "calls that are no list": (
        seccomp({"syscalls": {}}),
        "app, securityContext.seccompProfile",
        "{} where a list belongs",
        "base64 of a seccomp profile",
    ),
    "a number for an action": (
        seccomp({"defaultAction": 1}),
        "app, securityContext.seccompProfile",
        "defaultAction is 1",
        "base64 of a seccomp profile",
    ),
}
# ... and references of templates.
DECLARED = {"p": {"type": "string"}}
REFERENCES: dict[str, tuple[Read, str, str, str]] = {
    "a parameter without a value": (
        from_template(template({"image": "[parameters('p')]"}, parameters=DECLARED)),
        "app, image",
        "[parameters('p')]",
        "a value for the parameter 'p'",
    ),
    "a variable of the environment without a value": (
        from_template(
            template(
                {"environmentVariables": [{"name": "A", "value": "[parameters('p')]"}]},
                parameters=DECLARED,
            )
        ),
        "app, environmentVariables[0].value",
        "[parameters('p')]",
        "a value for the parameter 'p'",
    ),
    "a parameter that is not declared": (
        of({"command": ["[parameters('q')]"]}),
        "app, command",
        "[parameters('q')]",
        "a parameter 'q'",
    ),
    "a variable that is not declared": (
        of({"command": ["x-[variables('q')]"]}),
        "app, command",
        "[variables('q')]",
        "a variable 'q'",
    ),
    "a variable that names itself": (
        from_template(
            template({"command": ["[variables('v')]"]}, variables={"v": "[variables('v')]"})
        ),
        "app, command",
        "[variables('v')]",
        "references at most 100 deep",
    ),
    "variables that name many": (
        from_template(
            template(
                {"command": ["[variables('v0')]"]},
                variables={f"v{at}": [f"[variables('v{at + 1}')]"] * 9 for at in range(20)},
            )
        ),
        "app, command",
        "[",
        "a list of words",
    ),
    "a value that grows without end": (
        from_template(
            template({"command": ["[variables('v')]" * 5]}, variables={"v": "x" * 20_000})
        ),
        "app, command",
        "[variables('v')]",
        "at most 65536 characters",
    ),
    "a function of ARM": (
        of({"command": ["[concat('a', 'b')]"]}),
        "app, command",
        "[concat('a', 'b')]",
        "a value, parameters",
    ),
    "a parameter file without parameters": (
        from_template(template(), {"other": 1}),
        "parameters",
        "seen null",
        "values in the parameter file",
    ),
    "a value for no parameter": (
        from_template(template(), {"parameters": {"q": {"value": 1}}}),
        "parameters.q",
        "a value in the parameter file",
        "a parameter that the template declares",
    ),
}


def in_config(properties: dict[str, Any], **more: Any) -> Read:
    return from_config(config(properties, **more))


CONFIGS: dict[str, tuple[Read, str, str, str]] = {
    "a list": (from_config([]), "file", "seen []", "an object with containers"),
    "nothing in it": (from_config({}), "containers", NONE, "containers, or fragments"),
    "no image": (in_config({"image": None}), "app, image", NONE, "the name of an image"),
    "a relative folder": (in_config({"workingDir": "w"}), "app, workingDir", '"w"', "absolute"),
    "a variable without a name": (
        in_config({"environmentVariables": [{"value": "1"}]}),
        "app, environmentVariables[0].name",
        "seen null",
        "the name of a variable",
    ),
    "a number for a value": (
        in_config({"environmentVariables": [{"name": "A", "value": 5}]}),
        "app, environmentVariables[0].value",
        "seen 5",
        "text",
    ),
    "another strategy": (
        in_config({"environmentVariables": [{"name": "A", "strategy": "glob"}]}),
        "app, environmentVariables.A",
        '"glob"',
        "string or re2",
    ),
    "a pattern RE2 refuses": (
        in_config({"environmentVariables": [{"name": "A", "value": "(", "regex": True}]}),
        "app, environmentVariables.A",
        "RE2 refuses",
        "a rule the guest can apply",
    ),
    "a mount of no kind": (
        in_config({"volumeMounts": [{"mountPath": "/v"}]}),
        "app, volumeMounts[0].type",
        "seen null",
        "one of azureFile",
    ),
    "mounts by name": (in_config({"volumeMounts": {"v": 1}}), "app, volumeMounts", "{", "a list"),
    "options in one word": (
        in_config({"volumeMounts": [{"mountPath": "/v", "mountType": "secret", "options": "ro"}]}),
        "app, volumeMounts[0].options",
        '"ro"',
        "a list of words",
    ),
    "processes by name": (
        in_config({"execProcesses": {"x": 1}}),
        "app, execProcesses",
        "{",
        "list",
    ),
    "a process that is none": (
        in_config({"execProcesses": ["ls"]}),
        "app, execProcesses[0]",
        '"ls"',
        "an object with a command",
    ),
    "a process without a command": (
        in_config({"execProcesses": [{"command": []}]}),
        "app, execProcesses[0].command",
        "seen []",
        "a list of words",
    ),
    "one signal": (
        in_config({"execProcesses": [{"command": ["x"], "signals": 9}]}),
        "app, execProcesses[0].signals",
        "seen 9",
        "a list of numbers",
    ),
    "a signal in text": (
        in_config({"execProcesses": [{"command": ["x"], "signals": ["SIGTERM"]}]}),
        "app, execProcesses[0].signals",
        '["SIGTERM"]',
        "numbers from 1 to 64",
    ),
    "variables by name": (
        in_config({"environmentVariables": {"A": "1"}}),
        "app, environmentVariables",
        '{"A": "1"}',
        "a list of variables",
    ),
    "imports by name": (
        from_config(config(fragments={"feed": "f"})),
        "fragments",
        '{"feed": "f"}',
        "a list",
    ),
    "old mounts by name": (
        from_config({"containers": [{"containerImage": "demo/app:1", "mounts": {"m": 1}}]}),
        "containers[0].mounts",
        '{"m": 1}',
        "a list",
    ),
    "an old container that is none": (
        from_config({"containers": [{"containerImage": "demo/app:1"}, 5]}),
        "containers[1]",
        "seen 5",
        "a container, an object",
    ),
    "an old mount of no kind": (
        from_config({"containers": [{"containerImage": "demo/app:1", "mounts": [{}]}]}),
        "demo/app:1, volumeMounts[0].type",
        "seen null",
        "one of azureFile",
    ),
}


def in_pod(lines: str, **changes: str) -> Read:
    """lines: more of the container. changes: of the pod, one text for another."""
    words = POD
    for old, new in changes.items():
        words = words.replace(old, new)
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return from_pods(words + indented)


def of_source(source: str) -> Read:
    return in_pod(f"env:\n- name: A\n  valueFrom: {source}")


PODS: dict[str, tuple[Read, str, str, str]] = {
    "no pod": (from_pods("kind: Service\n"), "kind", NONE, "one of Pod"),
    "no containers": (
        from_pods("kind: Job\nspec: {}\n"),
        "Job 0, spec.containers",
        NONE,
        "a list of containers",
    ),
    "no image": (in_pod("", image="other"), "app, image", NONE, "the name of an image"),
    "metadata in one word": (
        in_pod("", **{"{name: p}": "p"}),
        "Pod 0, metadata",
        '"p"',
        "an object",
    ),
    "annotations in one word": (
        in_pod("", **{"{name: p}": "{name: p, annotations: a}"}),
        "Pod p, metadata.annotations",
        '"a"',
        "an object",
    ),
    "a line for a command": (
        in_pod("command: run it"),
        "app, command",
        '"run it"',
        "list of words",
    ),
    "a line for arguments": (in_pod("args: run it"), "app, args", '"run it"', "a list of words"),
    "a context in one word": (
        in_pod("securityContext: strict"),
        "app, securityContext",
        '"strict"',
        "an object",
    ),
    "variables by name": (in_pod("env: {A: 1}"), "app, env", '{"A": 1}', "a list of variables"),
    "all of a ConfigMap": (
        in_pod("envFrom: [{configMapRef: {name: c}}]"),
        "app, env",
        "envFrom",
        "variables by their names",
    ),
    "a variable without a name": (
        in_pod("env: [{value: x}]"),
        "app, env[0].name",
        "seen null",
        "the name of a variable",
    ),
    "a number for a value": (
        in_pod("env: [{name: A, value: 5}]"),
        "app, env[0].value",
        "seen 5",
        "text",
    ),
    "a value with a reference": (
        in_pod("env: [{name: A, value: x-$(B)}]"),
        "app, env[0].value",
        '"x-$(B)"',
        "a value without references",
    ),
    "a source we do not know": (
        of_source("{fileKeyRef: {key: k}}"),
        "app, env[0].valueFrom",
        '["fileKeyRef"]',
        "a source that is known here",
    ),
    "a ConfigMap that is not there": (
        of_source("{configMapKeyRef: {name: c, key: k}}"),
        "app, env[0].valueFrom.configMapKeyRef",
        '"c"',
        "the ConfigMap in the same file",
    ),
    "a Secret that is not there": (
        of_source("{secretKeyRef: {name: s, key: k}}"),
        "app, env[0].valueFrom.secretKeyRef",
        '"s"',
        "the Secret in the same file",
    ),
    "a key that is not there": (
        from_pods(
            f"kind: ConfigMap\nmetadata: {{name: c}}\ndata: {{}}\n---{POD}"
            "    env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]\n"
        ),
        "app, env[0].valueFrom.configMapKeyRef.key",
        '"k"',
        "a key that is there",
    ),
    "another container's limits": (
        of_source("{resourceFieldRef: {containerName: b, resource: limits.cpu}}"),
        "app, env[0].valueFrom.resourceFieldRef.containerName",
        '"b"',
        "this container's own name",
    ),
    "a resource that is none": (
        of_source("{resourceFieldRef: {resource: limits}}"),
        "app, env[0].valueFrom.resourceFieldRef.resource",
        '"limits"',
        "limits.cpu and the like",
    ),
    "a limit the node decides": (
        of_source("{resourceFieldRef: {resource: limits.cpu}}"),
        "app, env[0].valueFrom.resourceFieldRef",
        '"limits.cpu"',
        "a value under resources",
    ),
    "a limit Kubernetes converts": (
        in_pod(
            "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory}}}]\n"
            "resources: {limits: {memory: 1Gi}}"
        ),
        "app, env[0].valueFrom.resourceFieldRef",
        '"1Gi"',
        "a plain number",
    ),
    "mounts by name": (
        in_pod("volumeMounts: {v: 1}"),
        "app, volumeMounts",
        '{"v": 1}',
        "a list of mounts",
    ),
    "volumes by name": (
        from_pods(f"{POD}  volumes: {{v: 1}}\n"),
        "Pod p, spec.volumes",
        '{"v": 1}',
        "a list of volumes",
    ),
    "first containers by name": (
        from_pods(f"{POD}  initContainers: {{v: 1}}\n"),
        "Pod p, spec.initContainers",
        '{"v": 1}',
        "a list of containers",
    ),
    "a mount of no volume": (
        in_pod("volumeMounts: [{name: v, mountPath: /v}]"),
        "app, volumeMounts[0].name",
        '"v"',
        "a volume that the pod declares",
    ),
    "a seccomp profile on the node": (
        in_pod("securityContext: {seccompProfile: {type: Localhost}}"),
        "app, securityContext.seccompProfile",
        '"Localhost"',
        "RuntimeDefault or Unconfined",
    ),
    "a seccomp profile of no type": (
        in_pod("securityContext: {seccompProfile: {type: Own}}"),
        "app, securityContext.seccompProfile.type",
        '"Own"',
        "RuntimeDefault or Unconfined",
    ),
}
EVERY = {
    f"{kind}: {name}": row
    for kind, rows in (
        ("template", TEMPLATES),
        ("reference", REFERENCES),
        ("config", CONFIGS),
        ("pod", PODS),
    )
    for name, row in rows.items()
}


@pytest.mark.parametrize("name", EVERY)
def test_one_fault_is_told_with_both_sides(name: str) -> None:
    read, where, seen, wanted = EVERY[name]
    (found,) = faults(read)
    whole(found)
    assert found.where == where
    assert seen in f"seen {found.seen}"
    assert wanted in found.wanted


def whole(found: Complaint) -> None:
    """Everybody is told where, what was seen and wanted, and the way out."""
    assert found.where
    assert found.seen
    assert found.wanted
    assert found.hint
    assert len(str(found).splitlines()) == 2
    assert all(line.isprintable() for line in str(found).splitlines())


def test_without_its_fault_each_source_is_taken() -> None:
    for read in (of(), from_config(config()), from_pods(POD)):
        assert policy(read).containers[0]["name"] == "app"


IMAGES: dict[str, tuple[Image, str, str, str]] = {
    "no command": (
        dataclasses.replace(APP, entrypoint=(), cmd=()),
        "app, command",
        "nothing",
        "a command, or an image with an entrypoint",
    ),
    "no layers": (dataclasses.replace(APP, layers=()), "app, image", "nothing", "layers"),
    "a signal that is none": (
        dataclasses.replace(APP, stop_signal="SIGNOT"),
        "app, image",
        'StopSignal "SIGNOT"',
        "the name or number of a signal",
    ),
    "a real-time signal beyond all": (
        dataclasses.replace(APP, stop_signal="SIGRTMIN+31"),
        "app, image",
        'StopSignal "SIGRTMIN+31"',
        "the name or number of a signal",
    ),
    "a signal beyond all": (
        dataclasses.replace(APP, stop_signal="65"),
        "app, image",
        'StopSignal "65"',
        "the name or number of a signal",
    ),
    "a variable without a value": (
        dataclasses.replace(APP, env=("PATH",)),
        "app, environmentVariables",
        '"PATH"',
        "NAME=VALUE in the image",
    ),
    "a variable with two values": (
        dataclasses.replace(APP, env=("A=1", "A=2")),
        "app, environmentVariables.A",
        "two values",
        "one",
    ),
    "a relative folder": (
        dataclasses.replace(APP, working_dir="srv"),
        "app, workingDir",
        '"srv"',
        "an absolute path",
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_fault_of_an_image_is_told(name: str) -> None:
    image, where, seen, wanted = IMAGES[name]
    (found,) = faults(of(), images={"demo/app:1": image})
    whole(found)
    assert found.where == where
    assert seen in found.seen
    assert wanted in found.wanted


def test_a_helper_of_the_platform_is_refused() -> None:
    helper = "k8s.gcr.io/pause:3"
    (found,) = faults(of({"image": helper}), images={helper: APP})
    whole(found)
    assert (found.where, found.seen) == ("group one", f'"{helper}"')
    assert found.wanted == "images of your own"


def test_a_policy_beyond_what_is_read_is_refused() -> None:
    words = [{"name": f"A{at}", "value": "x" * 60_000} for at in range(20)]
    (found,) = faults(of({"environmentVariables": words}))
    whole(found)
    assert "bytes" in found.seen


def test_an_svn_for_a_fragment_that_is_left_out_is_refused() -> None:
    tags = with_resource(tags={"Annotate-zero-sidecar": "true"})
    (found,) = faults(tags, options=Options(infrastructure_svn="4"))
    whole(found)
    assert (found.where, found.wanted) == (
        "group one, fragments",
        "the platform's fragment in the policy",
    )


FRAGMENT = {"feed": "f", "issuer": "i", "minimum_svn": "1", "includes": ["containers"]}
FRAGMENTS: dict[str, tuple[object, str, str]] = {
    "a list": ([], "fragments", "an object with fragments"),
    "a word": ({"fragments": ["x"]}, "fragments, [0]", "a fragment import"),
    "no feed": ({"fragments": [{**FRAGMENT, "feed": 1}]}, "fragments, feed", "text"),
    "no issuer": ({"fragments": [{**FRAGMENT, "issuer": None}]}, "fragments, issuer", "text"),
    "a number": ({"fragments": [{**FRAGMENT, "minimum_svn": 1}]}, "minimum_svn", "digits"),
    "semver": ({"fragments": [{**FRAGMENT, "minimum_svn": "1.0.0"}]}, "minimum_svn", "digits"),
    "a raised digit": ({"fragments": [{**FRAGMENT, "minimum_svn": "²"}]}, "minimum_svn", "digits"),
    "one thing": ({"fragments": [{**FRAGMENT, "includes": "containers"}]}, "includes", "a list"),
    "a thing": ({"fragments": [{**FRAGMENT, "includes": ["cake"]}]}, "includes", "some of"),
}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fault_of_a_fragment_import_is_told(name: str) -> None:
    document, where, wanted = FRAGMENTS[name]
    complaints = Complaints(strict=True)
    fragments.read(document, complaints.place("fragments"))
    (found,) = complaints.found
    whole(found)
    assert where.split(", ")[-1] in found.where
    assert wanted in found.wanted


READY = policy(of()).containers[0]
READY_FAULTS: dict[str, tuple[object, str, str]] = {
    "a word": ("x", "ready.json", "a list of container objects"),
    "no object": (["x"], "ready.json, [0]", "a container object"),
    "a member missing": (
        [{key: value for key, value in READY.items() if key != "user"}],
        "ready.json, [0].user",
        "a value",
    ),
    "a member more": ([{**READY, "devices": []}], "ready.json, [0].devices", "the guest knows"),
}


@pytest.mark.parametrize("name", READY_FAULTS)
def test_a_fault_of_a_ready_container_is_told(name: str) -> None:
    document, where, wanted = READY_FAULTS[name]
    complaints = Complaints(strict=True)
    ready.read_ready(document, complaints.place("ready.json"))
    (found,) = complaints.found
    whole(found)
    assert found.where == where
    assert wanted in found.wanted


# ---- secrets


SECRETS: dict[str, Read] = {
    "a template's, twice": of(
        {"environmentVariables": [{"name": "A", "secureValue": v} for v in ("hush1", "hush2")]}
    ),
    "a template's, with NUL": variable(name="A", secureValue="hush\0"),
    "a template's, a list": variable(name="A", secureValue=["hush"]),
    "a config's, a list": in_config(
        {"environmentVariables": [{"name": "A", "secureValue": ["hush"]}]}
    ),
    "a config's, with NUL": in_config(
        {"environmentVariables": [{"name": "A", "secureValue": "hush\0"}]}
    ),
    "a pod's, with NUL": from_pods(
        f'kind: Secret\nmetadata: {{name: s}}\nstringData: {{k: "hush\\0"}}\n---{POD}'
        "    env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n"
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_message_tells_a_secret(name: str) -> None:
    (found,) = faults(SECRETS[name])
    whole(found)
    assert "secret" in found.seen
    assert "hush" not in str(found)


# ---- all at once


def test_a_template_with_ten_faults_shows_ten() -> None:
    properties = {
        "command": [5],
        "environmentVariables": [{"name": "A"}, {"value": "1"}, {"name": "B", "value": []}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "livenessProbe": {"exec": {"command": []}},
        "readinessProbe": {"exec": {"command": "x"}},
        "securityContext": {
            "runAsUser": "root",
            "privileged": "yes",
            "capabilities": {"add": ["CAP_NOT_THERE"]},
        },
    }
    document = template(properties)
    _, complaints = attempt(from_template(document))
    with pytest.raises(ConfigError) as refused:
        complaints.check("template.json")
    lines = refused.value.message.splitlines()
    assert "10 faults" in lines[0]
    assert sum(line.startswith("  - app, ") for line in lines) == len(complaints.found) == 10


def test_faults_of_every_group_are_told_with_its_name() -> None:
    document = template({"command": [5]})
    document["resources"].append({**document["resources"][0], "name": "two"})
    assert [found.where for found in faults(from_template(document))] == [
        "group one, app, command",
        "group two, app, command",
    ]


def test_no_message_fills_a_screen_or_moves_a_cursor() -> None:
    odd = "\x1b[2J" + "x" * 100_000
    variables = [{"name": f"{odd}{at}"} for at in range(2 * MAX_SHOWN)]
    _, complaints = attempt(of({"environmentVariables": variables, "image": odd}))
    with pytest.raises(ConfigError) as refused:
        complaints.check()
    text = str(refused.value)
    assert len(text) < 16_000
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert f"and {len(complaints.found) - MAX_SHOWN} more" in text


def test_a_complaint_names_place_both_sides_and_the_way_out() -> None:
    found = Complaint("app, image", '""', "the name of an image", "name one")
    assert str(found) == (
        '  - app, image: seen ""; wanted the name of an image\n    hint: name one'
    )


def test_profiles_that_are_strict_are_the_default() -> None:
    assert STRICT.strict

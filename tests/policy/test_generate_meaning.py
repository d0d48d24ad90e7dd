"""Random deployments keep their meaning on the way through generate and parse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.policy.execution import platform, profile, text
from sealserve.policy.execution.generate import Options
from sealserve.policy.execution.image import Image
from support.policy_generation import (
    Fields,
    attempt,
    from_config,
    from_template,
    template,
    unhurried,
)

DEFAULTS = json.loads(
    (Path(__file__).parent.parent / "vectors/policy/confcom/defaults.json").read_text()
)

words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0[]"), min_size=1, max_size=12
)
names = st.text("ABCDEFXYZ_", min_size=1, max_size=6).map(lambda name: f"V_{name}")
paths = words.map(lambda word: f"/{word}")
ids = st.integers(0, (1 << 32) - 1)
capabilities = st.lists(st.sampled_from(platform.ALL_CAPABILITIES), max_size=4)


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Fields, dict[str, Image]]:
    """A template and its images."""
    kinds = draw(st.lists(st.sampled_from(["azureFile", "secret", "emptyDir", "gitRepo"])))
    volumes: list[Fields] = [{"name": f"v{at}", kind: {}} for at, kind in enumerate(kinds)]
    mounts = [
        {"name": volume["name"], "mountPath": draw(paths), "readOnly": draw(st.booleans())}
        for volume in volumes
    ]
    values = draw(st.dictionaries(names, st.one_of(st.just(""), words), max_size=4))
    security = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "privileged": st.booleans(),
                "allowPrivilegeEscalation": st.booleans(),
                "runAsUser": ids,
                "runAsGroup": ids,
                "capabilities": st.fixed_dictionaries({"add": capabilities, "drop": capabilities}),
            },
        )
    )
    properties = {
        "command": draw(st.lists(words, max_size=4)),
        "environmentVariables": [{"name": k, "value": v} for k, v in values.items()],
        "volumeMounts": mounts,
        "livenessProbe": {"exec": {"command": draw(st.lists(words, min_size=1, max_size=3))}},
        "securityContext": security,
    }
    image = Image(
        layers=tuple(draw(st.lists(st.just("ab" * 32), min_size=1, max_size=3))),
        entrypoint=tuple(draw(st.lists(words, min_size=1, max_size=2))),
        cmd=tuple(draw(st.lists(words, max_size=2))),
        env=tuple(f"I_{k}={v}" for k, v in draw(st.dictionaries(names, words)).items()),
        working_dir=draw(st.one_of(st.just(""), paths)),
        user=draw(st.sampled_from(["", "web", "5", "web:7", "5:staff"])),
        stop_signal=draw(st.sampled_from(["", "SIGTERM", "9", 15])),
    )
    return template(properties, group={"volumes": volumes}), {"demo/app:1": image}


options = st.builds(
    Options,
    debug=st.booleans(),
    allow_stdio=st.booleans(),
    default_fragment=st.booleans(),
    omit_id=st.booleans(),
)


@unhurried
@given(deployments(), options, st.sampled_from(sorted(profile.PROFILES)))
def test_a_deployment_keeps_its_meaning(
    deployment: tuple[Fields, dict[str, Image]], chosen: Options, name: str
) -> None:
    document, images = deployment
    (made,), complaints = attempt(
        from_template(document), profile.named(name), chosen, images=images
    )
    complaints.check()
    read = text.parse(made.text)
    assert read.encode() == made.text
    assert read.api_version == made.profile.api_version
    assert read.flags["allow_dump_stacks"] == chosen.debug
    assert len(read.fragments) == chosen.default_fragment
    container, pause = read.containers
    assert pause["name"] == "pause-container"
    assert container.get("id") == (None if chosen.omit_id else "demo/app:1")
    assert container["allow_stdio_access"] == pause["allow_stdio_access"] == chosen.allow_stdio
    require_asked(container, document, images["demo/app:1"], chosen)


def require_asked(container: Fields, document: Fields, image: Image, chosen: Options) -> None:
    """Field by field from the template, in other words than the code's."""
    properties: Any = document["resources"][0]["properties"]["containers"][0]["properties"]
    assert container["command"] == (properties["command"] or [*image.entrypoint, *image.cmd])
    assert container["layers"] == [*image.layers]
    assert container["working_dir"] == (image.working_dir or "/")
    rules = [(rule["strategy"], rule["pattern"]) for rule in container["env_rules"]]
    for entry in properties["environmentVariables"]:
        assert ("string", f"{entry['name']}={entry['value']}") in rules
    for variable in image.env:
        assert ("string", variable) in rules
    assert len(rules) == len(properties["environmentVariables"]) + len(image.env) + 10
    mounts = {(each["destination"], each["options"][2]) for each in container["mounts"]}
    for mount in properties["volumeMounts"]:
        assert (mount["mountPath"], "ro" if mount["readOnly"] else "rw") in mounts
    probes = [process["command"] for process in container["exec_processes"]]
    shells = [["/bin/sh"], ["/bin/bash"]] if chosen.debug else []
    assert probes == [properties["livenessProbe"]["exec"]["command"], *shells]
    require_security(container, properties["securityContext"])


def require_security(container: Fields, security: Fields) -> None:
    elevated = security.get("privileged", False)
    assert container["allow_elevated"] == elevated
    assert container["no_new_privileges"] == (security.get("allowPrivilegeEscalation") is False)
    asked = security.get("capabilities", {"add": [], "drop": []})
    start = platform.ALL_CAPABILITIES if elevated else platform.DEFAULT_CAPABILITIES
    wanted = {*start, *asked["add"]} - {*asked["drop"]}
    sets = container["capabilities"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"] == sorted(wanted)
    assert sets["inheritable"] == (sorted(wanted) if elevated else [])
    assert sets["ambient"] == []
    if "runAsUser" in security:
        assert container["user"]["user_idname"]["pattern"] == str(security["runAsUser"])
    if "runAsGroup" in security:
        assert container["user"]["group_idnames"][0]["pattern"] == str(security["runAsGroup"])


@unhurried
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), words),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    [
                        *("containers", "properties", "image", "command", "name", "value"),
                        *("environmentVariables", "volumeMounts", "execProcesses", "fragments"),
                        *("securityContext", "capabilities", "add", "containerImage", "mounts"),
                    ]
                ),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=25,
    )
)
@pytest.mark.parametrize("name", ["aci-2025", "confcom-1.2"])
def test_whatever_a_config_holds_it_is_read_or_complained_about(name: str, document: Any) -> None:
    made, complaints = attempt(from_config(document), profile.named(name))
    if not complaints.found:
        assert all(text.parse(each.text) or True for each in made)


# ---- what is pinned is what confcom pins


def test_platform_rules_are_confcoms() -> None:
    def rules(*keys: str) -> list[tuple[str, str, str]]:
        return [
            (rule["name"], rule["value"], rule["strategy"])
            for key in keys
            for rule in DEFAULTS[key]["environmentVariables"]
        ]

    ours = [(rule.name, rule.value, rule.strategy) for rule in platform.RULES]
    assert ours == rules("openGCS", "fabric", "managedIdentity", "enableRestart")
    pods = [(rule.name, rule.value, rule.strategy) for rule in platform.POD_RULES]
    assert pods == rules("default_envs_virtual_node")
    identity = [(rule.name, rule.value, rule.strategy) for rule in platform.IDENTITY_RULES]
    assert identity == rules("workload_identity_virtual_node")


def test_mounts_are_confcoms() -> None:
    mount = DEFAULTS["mount"]
    sources = {entry["mountType"]: entry["source"] for entry in mount["source_table"]}
    assert dict(platform.MOUNT_SOURCES) == sources
    pinned = {
        "default_mounts_user": [platform.RESOLV_CONF],
        "default_mounts_user_virtual_node": [platform.POD_RESOLV_CONF],
        "default_mounts_virtual_node": platform.POD_MOUNTS,
        "default_mounts_virtual_node_privileged": platform.POD_PRIVILEGED_MOUNTS,
        "default_mounts_workload_identity_virtual_node": [platform.IDENTITY_MOUNT],
    }
    for key, ours in pinned.items():
        assert [(each.destination, each.kind, each.read_only) for each in ours] == [
            (entry["mountPath"], entry["mountType"], entry.get("readonly", False))
            for entry in mount[key]
        ]


def test_capabilities_signals_helpers_and_pause_are_confcoms() -> None:
    assert [*platform.DEFAULT_CAPABILITIES] == DEFAULTS["default_unprivileged_capabilities"]
    assert {*platform.ALL_CAPABILITIES} == {*DEFAULTS["default_privileged_capabilities"]}
    assert len(platform.ALL_CAPABILITIES) == 41
    assert {*DEFAULTS["sidecar_base_names"]} == platform.SIDECARS
    assert [platform.infrastructure_fragment("1")] == DEFAULTS["default_rego_fragments"]
    pause = platform.pause_container(allow_stdio=True, signals=())
    assert [pause] == DEFAULTS["default_containers"]
    numbers = platform.SIGNALS
    assert (numbers["SIGHUP"], numbers["SIGTERM"], numbers["SIGSYS"]) == (1, 15, 31)
    assert numbers["SIGIOT"] == numbers["SIGABRT"] == 6

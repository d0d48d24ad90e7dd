"""What the strict profiles do otherwise than confcom 1.2.8, and what both do alike."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from typing import Any

import pytest

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import profile
from sealserve.policy.execution.deployments import config_file
from sealserve.policy.execution.generate import Options
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.image_source import tagged
from support.policy_generation import (
    APP,
    CONFCOM,
    POD,
    STRICT,
    Read,
    attempt,
    config,
    container,
    faults,
    from_config,
    from_pods,
    from_template,
    policy,
    template,
)


def patterns(read: Read, **options: Any) -> list[str]:
    return [rule["pattern"] for rule in container(read, **options)["env_rules"]]


def variables(*values: str) -> dict[str, Any]:
    entries = [{"name": f"V{at}", "value": value} for at, value in enumerate(values)]
    return {"environmentVariables": entries}


def of_image(image: Image, read: Read | None = None, **options: Any) -> dict[str, Any]:
    return container(read or from_template(template()), images={"demo/app:1": image}, **options)


# ---- the list of faults, in the order of docs/policies.md


def tagged_group(**tags: str) -> Read:
    document = template()
    document["resources"][0]["tags"] = tags
    return from_template(document)


def test_a_tag_of_its_own_does_not_bring_the_default_fragment_back() -> None:
    without = Options(default_fragment=False)
    read = tagged_group(team="x")
    assert len(policy(read, CONFCOM, options=without).fragments) == 1
    assert len(policy(read, STRICT, options=without).fragments) == 0


@pytest.mark.parametrize("profile_", [CONFCOM, STRICT], ids=["confcom", "strict"])
def test_the_tag_for_it_leaves_the_default_fragment_out(profile_: profile.Profile) -> None:
    read = tagged_group(**{"annotate-zero-sidecar": "TRUE"})
    assert policy(read, profile_).fragments == ()
    assert len(policy(tagged_group(**{"Annotate-zero-sidecar": "no"}), profile_).fragments) == 1


OWN = {"feed": "f", "issuer": "i", "minimum_svn": "1", "includes": ["containers"]}


def test_another_svn_is_the_platform_fragments() -> None:
    read = from_config(config(fragments=[OWN]))
    later = Options(infrastructure_svn="7")
    told = [entry["minimum_svn"] for entry in policy(read, CONFCOM, options=later).fragments]
    assert told == ["7", "1"]
    told = [entry["minimum_svn"] for entry in policy(read, STRICT, options=later).fragments]
    assert told == ["1", "7"]


def test_a_stop_signal_in_digits_is_a_number() -> None:
    image = dataclasses.replace(APP, stop_signal="15")
    assert of_image(image, profile=CONFCOM)["signals"] == ["15"]
    assert of_image(image, profile=STRICT)["signals"] == [15]


@pytest.mark.parametrize("text", ["SIGQUIT", "sigquit", "QUIT", 3, "3"])
def test_a_stop_signal_by_any_name_is_a_number(text: str | int) -> None:
    assert of_image(dataclasses.replace(APP, stop_signal=text))["signals"] == [3]


@pytest.mark.parametrize(("text", "number"), [("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("RTMIN", 34)])
def test_a_real_time_signal_is_a_number(text: str, number: int) -> None:
    assert of_image(dataclasses.replace(APP, stop_signal=text))["signals"] == [number]


def two(profile_: profile.Profile) -> str:
    document = template(
        variables("[parameters('a')][parameters('b')]"),
        parameters={"a": {"defaultValue": "x"}, "b": {"defaultValue": "y"}},
    )
    return patterns(from_template(document), profile=profile_)[0]


def test_every_parameter_of_a_text_is_replaced() -> None:
    assert two(CONFCOM) == "V0=x[parameters('b')]"
    assert two(STRICT) == "V0=xy"


def seccomp(profile_: profile.Profile, text: object) -> str:
    encoded = base64.b64encode(json.dumps(text).encode()).decode()
    read = from_template(template({"securityContext": {"seccompProfile": encoded}}))
    sha256: str = container(read, profile_)["seccomp_profile_sha256"]
    return sha256


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_seccomp_profile_is_hashed_as_the_guest_writes_it() -> None:
    argument = {"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    calls = [{"names": ["a<b"], "action": "A", "args": [argument]}, {"args": [], "names": ["c"]}]
    text = {"flags": [], "syscalls": calls, "defaultAction": "D", "comment": "x"}
    assert seccomp(CONFCOM, text) == sha256_of(
        '{"defaultAction":"D","flags":[],"syscalls":['
        '{"names":["a<b"],"action":"A","args":['
        '{"index":0,"value":8,"valueTwo":0,"op":"SCMP_CMP_EQ"}]},'
        '{"names":["c"],"action":"","args":[]}]}'
    )
    assert seccomp(STRICT, text) == sha256_of(
        '{"defaultAction":"D","syscalls":['
        '{"names":["a\\u003cb"],"action":"A","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},'
        '{"names":["c"],"action":""}]}'
    )


def test_an_errno_of_zero_is_there_and_letters_stay() -> None:
    text = {"defaultAction": "D", "defaultErrnoRet": 0, "listenerPath": "/ü\u2028"}
    assert seccomp(STRICT, text) == sha256_of(
        '{"defaultAction":"D","defaultErrnoRet":0,"listenerPath":"/ü\\u2028"}'
    )


def test_without_empty_members_both_hash_alike() -> None:
    text = {"defaultAction": "D", "syscalls": [{"names": ["a"], "action": "A", "errnoRet": 1}]}
    assert seccomp(CONFCOM, text) == seccomp(STRICT, text)


def capabilities(profile_: profile.Profile, **asked: list[str]) -> list[str]:
    read = from_template(template({"securityContext": {"capabilities": asked}}))
    bounding: list[str] = container(read, profile_)["capabilities"]["bounding"]
    return bounding


def test_all_is_every_capability() -> None:
    assert len(capabilities(CONFCOM, drop=["ALL"])) == 14
    assert capabilities(STRICT, drop=["ALL"]) == []
    assert capabilities(STRICT, add=["CAP_CHOWN"], drop=["ALL"]) == ["CAP_CHOWN"]
    assert len(capabilities(STRICT, add=["ALL"])) == 41
    assert "ALL" in capabilities(CONFCOM, add=["ALL"])


OLD = {
    "containers": [
        {
            "containerImage": "demo/app:1",
            "environmentVariables": [
                {"name": "B", "value": ".+", "strategy": "re2", "required": True}
            ],
            "mounts": [{"mountType": "secret", "mountPath": "/s"}],
            "exec_processes": [{"command": ["sh"], "signals": [9]}],
        }
    ],
    "fragments": [OWN],
}


def test_the_old_form_keeps_what_it_says() -> None:
    lost, kept = (container(from_config(OLD), each) for each in (CONFCOM, STRICT))
    assert lost["exec_processes"] == []
    assert kept["exec_processes"] == [{"command": ["sh"], "signals": [9]}]
    assert not lost["env_rules"][0]["required"]
    assert kept["env_rules"][0]["required"]
    assert lost["mounts"][0]["options"][2] == "ro"
    assert kept["mounts"][0]["options"][2] == "rw"
    assert len(policy(from_config(OLD), CONFCOM).fragments) == 1
    assert policy(from_config(OLD), STRICT).fragments[0] == OWN


def test_the_old_form_brings_probes_and_elevation_along() -> None:
    old = json.loads(json.dumps(OLD))
    probes = {f"{kind}Probe": {"exec": {"command": [kind]}} for kind in ("readiness", "liveness")}
    old["containers"][0] |= {"allow_elevated": True, "securityContext": {"runAsUser": 7}, **probes}
    for each in (CONFCOM, STRICT):
        made = container(from_config(old), each)
        assert made["allow_elevated"]
        assert made["user"]["user_idname"]["pattern"] == "7"
        assert [process["command"] for process in made["exec_processes"]][-2:] == [
            ["liveness"],
            ["readiness"],
        ]


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("app", "app:latest"),
        ("host:5000/app", "host:5000/app:latest"),
        ("host:5000/app:1", "host:5000/app:1"),
        ("app@sha256:00", "app@sha256:00"),
    ],
)
def test_a_port_is_no_tag(name: str, full: str) -> None:
    assert tagged(name) == full


def test_an_empty_value_of_the_parameter_file_counts() -> None:
    declared = {"a": {"defaultValue": "d"}, "b": {"defaultValue": 7}, "c": {"defaultValue": True}}
    given = {"parameters": {"a": {"value": ""}, "b": {"value": 0}, "c": {"value": False}}}
    document = template(
        variables(*(f"[parameters('{name}')]" for name in "abc")), parameters=declared
    )
    read = from_template(document, given, approve=True)
    assert patterns(read, profile=CONFCOM)[:3] == ["V0=.*", "V1=.*", "V2=.*"]
    assert patterns(read, profile=STRICT)[:3] == ["V0=", "V1=0", "V2=False"]


def test_a_parameter_may_be_spelt_otherwise_in_its_file() -> None:
    document = template(variables("[parameters('Name')]"), parameters={"name": {}})
    given = {"parameters": {"NAME": {"value": "x"}}}
    assert patterns(from_template(document, given))[0] == "V0=x"
    assert faults(from_template(document, given), CONFCOM)


def test_a_value_in_a_vault_is_not_the_default() -> None:
    declared = {"a": {"type": "securestring", "defaultValue": "d"}}
    given = {"parameters": {"a": {"reference": {"secretName": "s"}}}}
    read = from_template(template(variables("[parameters('a')]"), parameters=declared), given)
    assert [found.wanted for found in faults(read)] == ["a value for the parameter 'a'"]
    approved = from_template(
        template(variables("[parameters('a')]"), parameters=declared), given, approve=True
    )
    assert patterns(approved)[0] == "^V0=.*$"
    assert patterns(approved, profile=CONFCOM)[0] == "V0=.*"


def test_variables_may_hold_lists_and_name_others() -> None:
    own = {"all": ["[variables('one')]", "x-[parameters('n')]"], "one": "[[literal"}
    document = template(
        {"command": "[variables('all')]"}, variables=own, parameters={"n": {"defaultValue": 5}}
    )
    assert container(from_template(document))["command"] == ["[literal", "x-5"]


# ---- what confcom lets pass, or stops at, as it does


CONFCOM_WRITES: dict[str, tuple[dict[str, Any], str, object]] = {
    "a number in a command": ({"command": ["x", 5]}, "command", ["x", 5]),
    "no command": ({"command": []}, "command", None),
    "true for a user": (
        {"securityContext": {"runAsUser": True}},
        "user",
        {
            "group_idnames": [{"pattern": "", "strategy": "any"}],
            "umask": "0022",
            "user_idname": {"pattern": "True", "strategy": "id"},
        },
    ),
    "other words for privileged": (
        {"securityContext": {"privileged": "yes"}},
        "allow_elevated",
        False,
    ),
    "an empty word for escalation": (
        {"securityContext": {"allowPrivilegeEscalation": ""}},
        "no_new_privileges",
        True,
    ),
    "a profile by its name": (
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        "seccomp_profile_sha256",
        "",
    ),
    "blanks before a reference": ({"command": ["a  [variables('v')]"]}, "command", ["aX"]),
    "a reference to nothing inside": (
        {"command": ["a-[variables('w')]"]},
        "command",
        ["a-a-[variables('w')]"],
    ),
    "a function of ARM": ({"command": ["[concat('a')]"]}, "command", ["[concat('a')]"]),
}


@pytest.mark.parametrize("name", CONFCOM_WRITES)
def test_confcom_writes(name: str) -> None:
    properties, field, wanted = CONFCOM_WRITES[name]
    read = from_template(template(properties, variables={"v": "X"}))
    bare = dataclasses.replace(APP, entrypoint=(), cmd=())
    assert container(read, CONFCOM, images={"demo/app:1": bare})[field] == wanted


CONFCOM_STOPS: dict[str, Read] = {
    "an undeclared parameter": from_template(template({"command": ["[parameters('q')]"]})),
    "a parameter in a config": from_config(config({"command": ["[parameters('q')]"]})),
    "a name that makes a variable a parameter": from_template(
        template(
            {"environmentVariables": [{"name": "parameters", "value": "[variables('v')]"}]},
            variables={"v": "X"},
        )
    ),
    "a seccomp profile in clear": from_template(
        template({"securityContext": {"seccompProfile": "{}"}})
    ),
    "an empty seccomp profile": from_template(
        template({"securityContext": {"seccompProfile": ""}})
    ),
    "a config without an image": from_config(config({"image": ""})),
    "a kind of volume in other case": from_template(
        template(
            {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            group={"volumes": [{"name": "v", "EmptyDir": {}}]},
        )
    ),
    "a resource without a type": from_template({"resources": [*template()["resources"], {}]}),
    "a Secret nobody approves": from_pods(
        POD + "    env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n"
    ),
}


@pytest.mark.parametrize("name", CONFCOM_STOPS)
def test_confcom_stops_at(name: str) -> None:
    assert faults(CONFCOM_STOPS[name], CONFCOM)


def test_the_platforms_own_helpers_get_nothing_added() -> None:
    helper = "mcr.microsoft.com/aci/sc-proxy"
    read = from_template(template({"image": f"{helper}:1", "command": ["/x"]}))
    (made,), complaints = attempt(read, CONFCOM, images={f"{helper}:1": APP})
    complaints.check()
    head, _, containers = made.text.decode().partition("containers := ")
    assert head == (
        'package microsoftcontainerinstance\n\napi_version := "0.10.0"\n'
        'framework_version := "0.2.3"\n\n'
    )
    (only,) = json.loads(containers)
    assert (only["env_rules"], only["mounts"], only["command"]) == ([], [], ["/x"])


# ---- alike in all profiles


@pytest.mark.parametrize("profile_", [CONFCOM, STRICT], ids=["confcom", "strict"])
def test_what_needs_no_repair_is_written_alike(profile_: profile.Profile) -> None:
    """So that hashes agree: nothing in the strict default changes what was right."""
    document = template(
        {
            **variables("a=b", ""),
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}],
            "configMap": {"keyValuePairs": {}},
            "securityContext": {"privileged": "true", "runAsGroup": 0},
        },
        group={"volumes": [{"name": "v", "azureFile": {}}], "initContainers": []},
    )
    (made,), complaints = attempt(from_template(document), profile_)
    complaints.check()
    assert made.text == attempt(from_template(document), CONFCOM)[0][0].text


def test_the_order_of_rules_is_template_image_platform() -> None:
    image = dataclasses.replace(APP, env=("V0=image", "B=2", "HOSTNAME=h"))
    read = from_template(template(variables("template")))
    found = [rule["pattern"] for rule in of_image(image, read)["env_rules"]]
    assert found[:5] == ["V0=template", "B=2", "HOSTNAME=h", "TERM=xterm", "(?i)(FABRIC)_.+=.+"]
    assert "HOSTNAME=.+" not in found


def test_a_number_for_user_or_group_replaces_all_the_image_says() -> None:
    image = dataclasses.replace(APP, user="web:1000")
    assert of_image(image)["user"]["user_idname"] == {"pattern": "web", "strategy": "name"}
    assert of_image(image)["user"]["group_idnames"] == [{"pattern": "1000", "strategy": "id"}]
    read = from_template(template({"securityContext": {"runAsGroup": 5}}))
    assert of_image(image, read)["user"]["user_idname"] == {"pattern": "", "strategy": "any"}


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        ("", ["/srv/app", "--serve"]),
        ("    args: [x]\n", ["/srv/app", "x"]),
        ("    command: [y]\n", ["y"]),
        ("    command: [y]\n    args: [x]\n", ["y", "x"]),
    ],
)
def test_a_pod_replaces_entrypoint_and_arguments_apart(lines: str, command: list[str]) -> None:
    for each in (CONFCOM, STRICT):
        assert container(from_pods(POD + lines), each)["command"] == command


def test_a_pods_capabilities_have_names_of_kubernetes() -> None:
    lines = "    securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}\n"
    made = container(from_pods(POD + lines))
    assert made["capabilities"]["bounding"] == ["CAP_NET_ADMIN"]


STATEFUL = """
kind: StatefulSet
metadata: {name: s}
spec:
  volumeClaimTemplates:
  - metadata: {name: v}
    spec: {accessModes: [ReadOnlyMany]}
  template:
    spec:
      containers:
      - name: app
        image: demo/app:1
        volumeMounts: [{name: v, mountPath: /v, readOnly: false}]
"""


def test_claims_that_many_may_read_are_read_only_and_said_so() -> None:
    (made,), complaints = attempt(from_pods(STATEFUL))
    assert '"/v","options":["rbind","rshared","ro"]' in made.text.decode()
    assert any("always read-only" in remark for remark in complaints.remarks)
    assert made.group.path == (0, "spec", "template")


def test_a_config_of_a_virtual_node_gets_what_pods_get() -> None:
    document = config(
        {"securityContext": {"privileged": True}},
        scenario="VN2",
        labels={config_file.IDENTITY_LABEL: "true"},
    )
    for each in (CONFCOM, STRICT):
        made = container(from_config(document), each)
        assert [mount["destination"] for mount in made["mounts"]] == [
            *("/sys/fs/cgroup", "/sys", "/var/run/secrets/azure/tokens", "/etc/resolv.conf"),
            *("/var/run/secrets/kubernetes.io/serviceaccount", "/etc/hosts"),
            *("/dev/termination-log", "/etc/hostname"),
        ]
        assert made["env_rules"][0]["pattern"] == "AZURE_CLIENT_ID=.+"


# ---- options and profiles


def test_an_image_alone_takes_every_option_but_confcoms_takes_none() -> None:
    def both(each: profile.Profile) -> tuple[int, int]:
        options = Options(debug=True, default_fragment=False)
        (made,), complaints = attempt(
            lambda found: config_file.of_image("demo/app:1", found), each, options
        )
        complaints.check()
        return made.text.count(b"/bin/bash"), made.text.count(b"infra-fragment")

    assert both(CONFCOM) == (0, 1)
    assert both(STRICT) == (1, 0)


def test_ready_containers_stand_behind_the_templates_and_before_pause() -> None:
    extra = {**container(from_template(template())), "name": "extra"}
    read = policy(from_template(template()), options=Options(containers=[extra]))
    assert [each["name"] for each in read.containers] == ["app", "extra", "pause-container"]
    silent = Options(containers=[extra], allow_stdio=False)
    assert not any(
        each["allow_stdio_access"]
        for each in policy(from_template(template()), options=silent).containers
    )


def test_patterns_of_people_are_anchored_by_strict_profiles() -> None:
    entries = [{"name": "A", "value": "x|y", "regex": True}]
    read = from_config(config({"environmentVariables": entries}))
    assert patterns(read, profile=CONFCOM)[0] == "A=x|y"
    assert patterns(read, profile=STRICT)[0] == "^(?:A=x|y)$"
    assert "HOSTNAME=.+" in patterns(read, profile=STRICT)
    assert "^HOSTNAME=.+$" in patterns(read, profile=profile.named("aci-2026"))


def test_the_newer_profile_pins_other_numbers() -> None:
    read = policy(from_template(template()), profile.named("aci-2026"))
    assert (read.api_version, read.framework_version) == ("0.11.0", "0.2.3")
    assert [each["signals"] for each in read.containers] == [[9, 15], [9, 15]]
    assert read.fragments[0]["minimum_svn"] == "4"
    assert read.binds_rw_unmount
    assert not policy(from_template(template()), profile.named("confcom-2.0")).binds_rw_unmount


def test_a_profile_with_other_versions_says_so() -> None:
    changed = STRICT.changed(api_version="0.12.0", framework_version="0.5.0")
    assert changed.name == "aci-2025, api 0.12.0, framework 0.5.0"
    assert STRICT.changed(api_version="0.10.0") is STRICT
    assert not policy(from_template(template()), changed).flags["allow_host_network"]


@pytest.mark.parametrize("version", ["1", "1.0", '0.2.3"\nx := 1', "x.y.z", "0.10.0\n"])
def test_a_version_is_three_numbers(version: str) -> None:
    """It goes into the text as it is."""
    with pytest.raises(ConfigError, match="three numbers"):
        STRICT.changed(framework_version=version)
    with pytest.raises(ConfigError, match="three numbers"):
        STRICT.changed(api_version=version)


def test_an_unknown_profile_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="aci-2025"):
        profile.named("aci-1999")


SECRET = {"environmentVariables": [{"name": "A", "secureValue": "hush"}]}
REMARKS: dict[str, tuple[Read, profile.Profile, str]] = {
    "an old fragment": (from_template(template()), STRICT, "4 is advised"),
    "a moving name": (
        from_config(config({"image": "demo/app"})),
        CONFCOM,
        "another image tomorrow",
    ),
}


def test_a_secret_in_the_policy_is_remarked_on_without_telling_it() -> None:
    _, complaints = attempt(from_template(template(SECRET)))
    complaints.check()
    (words,) = (remark for remark in complaints.remarks if "secret" in remark)
    assert words.startswith("app, environmentVariables.A: ")
    assert "hush" not in words


def test_debug_is_remarked_on() -> None:
    _, complaints = attempt(from_template(template()), CONFCOM, Options(debug=True))
    assert [remark[:5] for remark in complaints.remarks] == ["debug"]


@pytest.mark.parametrize("name", REMARKS)
def test_a_remark_is_made_on(name: str) -> None:
    read, each, words = REMARKS[name]
    _, complaints = attempt(read, each, images={"demo/app:1": APP, "demo/app": APP})
    complaints.check()
    assert [words in remark for remark in complaints.remarks] == [True]

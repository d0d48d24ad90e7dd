"""The framework's rules one by one: what only that rule decides, and what is remembered."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.framework import (
    Enforcer,
    Fragment,
    FragmentDecision,
    Guest,
    Policy,
    versions,
)
from sealserve.policy.execution.framework.points import POINTS
from support.policy_guest import (
    ANYBODY,
    BINDINGS,
    CAPABILITIES,
    CONTAINER,
    ID,
    LEFT,
    ROOT,
    START,
    USER,
    create,
    failed,
    guest,
    mounted,
    text,
)

OTHER = "02" * 32


def test_the_plain_container_starts() -> None:
    decision = create(mounted(guest({})))
    assert decision.allowed
    assert decision.result == {
        "env_list": [],
        "caps_list": {name: sorted(each) for name, each in CAPABILITIES.items()},
        "allow_stdio_access": True,
    }


def rule(pattern: str, strategy: str = "string", required: bool = False) -> dict[str, Any]:
    return {"pattern": pattern, "strategy": strategy, "required": required}


SHARE = {"destination": "/d", "options": ["rw"], "source": "sandbox:///d/.+", "type": "bind"}
MOUNT = {"destination": "/d", "options": ["rw"], "source": "/sandbox/d/x", "type": "bind"}

# What the policy has, what is asked for, and the one condition that fails.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "must gain no privileges": ({"no_new_privileges": True}, {}, "no_new_privileges"),
    "umask": ({}, {"umask": "0000"}, "user"),
    "user by id": (
        {"user": {**USER, "user_idname": {"pattern": "5", "strategy": "id"}}},
        {},
        "user",
    ),
    "user by pattern": (
        {"user": {**USER, "user_idname": {"pattern": "r", "strategy": "re2"}}},
        {},
        "user",
    ),
    "a strategy that is none": (
        {"user": {**USER, "user_idname": {"pattern": "0", "strategy": "x"}}},
        {},
        "user",
    ),
    "no group fits": ({"user": {**USER, "group_idnames": []}}, {}, "user"),
    "privileged": ({}, {"privileged": True}, "allow_elevated"),
    "folder": ({}, {"workingDir": "/x"}, "working_dir"),
    "command": ({}, {"argList": ["app", "-x"]}, "command"),
    "no command in the policy": ({"command": None}, {"argList": []}, "command"),
    "mount": ({}, {"mounts": [MOUNT]}, "mounts"),
    "mount type": ({"mounts": [SHARE]}, {"mounts": [{**MOUNT, "type": "tmpfs"}]}, "mounts"),
    "mount place": ({"mounts": [SHARE]}, {"mounts": [{**MOUNT, "destination": "/e"}]}, "mounts"),
    "mount options": ({"mounts": [SHARE]}, {"mounts": [{**MOUNT, "options": ["ro"]}]}, "mounts"),
    "one option more": (
        {"mounts": [SHARE]},
        {"mounts": [{**MOUNT, "options": ["rw", "rw"]}]},
        "mounts",
    ),
    "mount source": ({"mounts": [SHARE]}, {"mounts": [{**MOUNT, "source": "/d/x"}]}, "mounts"),
    "privileged mounts of a plain container": (
        {},
        {"mounts": [{"destination": "/sys", "options": ["nosuid", "noexec", "nodev", "rw"],
                     "source": "sysfs", "type": "sysfs"}]},
        "mounts",
    ),
    "seccomp": ({}, {"seccompProfileSHA256": "bb" * 32}, "seccomp_profile_sha256"),
    "devices": ({}, {"devices": [{"path": "/dev/x"}]}, "devices"),
    "required variable": ({"env_rules": [rule("A=1", required=True)]}, {}, "env_rules"),
    "capabilities": ({}, {"capabilities": {**CAPABILITIES, "permitted": []}}, "capabilities"),
    "a started name": ({}, {"containerID": OTHER}, "containerID"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_one_condition_alone_keeps_a_container_from_starting(name: str) -> None:
    fields, asked, field = REFUSED[name]
    decision = create(mounted(guest(fields)), **asked)
    assert not decision.allowed
    assert failed(decision) == [field]


ALLOWED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a user by name": (
        {"user": {**USER, "user_idname": {"pattern": "root", "strategy": "name"}}},
        {},
    ),
    "a user by pattern": (
        {"user": {**USER, "user_idname": {"pattern": "ro+t", "strategy": "re2"}}},
        {},
    ),
    "every group fits some entry": (
        {"user": {**USER, "group_idnames": [{"pattern": "1", "strategy": "id"}, ANYBODY]}},
        {"groups": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]},
    ),
    "privileged": (
        {"allow_elevated": True, "capabilities": CAPABILITIES},
        {"privileged": True},
    ),
    "no privileges asked, none needed": ({"allow_elevated": True}, {}),
    "a mount by pattern": ({"mounts": [SHARE]}, {"mounts": [MOUNT]}),
    "options in another order": (
        {"mounts": [{**SHARE, "options": ["rw", "x"]}]},
        {"mounts": [{**MOUNT, "options": ["x", "rw"]}]},
    ),
    "huge pages": (
        {"mounts": [{**SHARE, "source": "hugepages://2M/.+"}]},
        {"mounts": [{**MOUNT, "source": "/huge2M/a"}]},
    ),
    "the very source": (
        {"mounts": [{**SHARE, "source": "/d(x"}]},
        {"mounts": [{**MOUNT, "source": "/d(x"}]},
    ),
    "what every container mounts": (
        {},
        {"mounts": [{"destination": "/proc", "options": ["nosuid", "noexec", "nodev"],
                     "source": "proc", "type": "proc"}]},
    ),
    "mounts of the policy that are not asked for": ({"mounts": [SHARE]}, {}),
    "more privileges kept out than asked": ({}, {"noNewPrivileges": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_these_start(name: str) -> None:
    fields, asked = ALLOWED[name]
    decision = create(mounted(guest(fields)), **asked)
    assert decision.allowed, decision.considered


@pytest.mark.parametrize("name", sorted({*START} - {"sandboxDir", "hugePagesDir", "mounts"}))
def test_a_request_that_leaves_something_out_is_denied_if_it_matters(name: str) -> None:
    """Nothing is quietly something: only what can be false by silence may be left out."""
    asked = {key: value for key, value in START.items() if key != name}
    decision = mounted(guest({})).ask("create_container", asked)
    assert decision.allowed == (name in ("noNewPrivileges", "isSandboxContainer", "envList"))


MISSING = sorted({*CONTAINER} - {"exec_processes", "signals", "layers"})


@pytest.mark.parametrize("name", MISSING)
def test_a_container_of_the_newest_framework_without_a_field_never_starts(name: str) -> None:
    enforcer = mounted(guest({name: LEFT}))
    assert not create(enforcer).allowed


# ---- variables and capabilities


def test_as_many_variables_as_possible_are_kept() -> None:
    rules = {"env_rules": [rule("A=1"), rule("B=.*", "re2")]}
    decision = create(mounted(guest(rules)), envList=["A=1", "A=2", "B=x", "C=3"])
    assert decision.result["env_list"] == ["A=1", "B=x"]
    strict = guest(rules, allow_environment_variable_dropping=False)
    assert failed(create(mounted(strict), envList=["A=1", "C=3"])) == ["env_rules"]


def test_the_container_that_keeps_most_is_meant() -> None:
    two = ({"env_rules": [rule("A=1")]}, {"env_rules": [rule("A=1"), rule("B=2")]})
    enforcer = mounted(guest(*two))
    decision = create(enforcer, envList=["A=1", "B=2"])
    assert decision.result["env_list"] == ["A=1", "B=2"]
    assert [each.container for each in decision.considered if each.held] == ["containers[1]"]


def test_containers_that_keep_different_variables_cannot_be_told_apart() -> None:
    two = ({"env_rules": [rule("A=1")]}, {"env_rules": [rule("B=2")]})
    decision = create(mounted(guest(*two)), envList=["A=1", "B=2"])
    assert not decision.allowed
    assert failed(decision) == ["env_rules", "env_rules"]


def test_containers_that_differ_in_capabilities_alone_cannot_be_told_apart() -> None:
    one, other = ({**CAPABILITIES, "bounding": [name]} for name in ("CAP_KILL", "CAP_CHOWN"))
    decision = create(mounted(guest({"capabilities": one}, {"capabilities": other})))
    assert not decision.allowed
    assert decision.reasons == ("containers only distinguishable by capabilties",)


def test_containers_that_differ_in_output_alone_cannot_be_told_apart() -> None:
    decision = create(mounted(guest({}, {"allow_stdio_access": False})))
    assert failed(decision) == ["allow_stdio_access", "allow_stdio_access"]
    assert decision.reasons == ("containers only distinguishable by allow_stdio_access",)


def test_capabilities_that_a_policy_does_not_list_are_the_guests() -> None:
    every = Guest().privileged_capabilities
    asked = {name: list(every) for name in CAPABILITIES} | {"ambient": []}
    decision = create(mounted(guest({"allow_elevated": True})), privileged=True, capabilities=asked)
    assert decision.result["caps_list"] == {n: sorted(each) for n, each in asked.items()}
    strict = guest({}, allow_capability_dropping=False)
    assert failed(create(mounted(strict), capabilities=asked)) == ["capabilities"]


# ---- processes, signals, the end


def test_what_runs_in_a_container_narrows_what_it_is() -> None:
    probes = ({"exec_processes": [{"command": [name], "signals": []}]} for name in ("a", "b"))
    enforcer = mounted(guest(*probes))
    assert create(enforcer).allowed
    ask = {**START, "argList": ["a"]}
    assert enforcer.ask("exec_in_container", ask).allowed
    assert not enforcer.ask("exec_in_container", {**ask, "argList": ["b"]}).allowed
    assert enforcer.ask("exec_in_container", ask).allowed


SIGNALS = [
    ({"signal": 9, "isInitProcess": True}, True),
    ({"signal": 15, "isInitProcess": True}, False),
    ({"signal": 2, "isInitProcess": False, "argList": ["probe"]}, True),
    ({"signal": 9, "isInitProcess": False, "argList": ["probe"]}, False),
    ({"signal": 2, "isInitProcess": False, "argList": ["other"]}, False),
    ({"signal": True, "isInitProcess": True}, False),
]


@pytest.mark.parametrize(("asked", "allowed"), SIGNALS)
def test_signals(asked: dict[str, Any], allowed: bool) -> None:
    enforcer = mounted(guest({"signals": [9, 1]}))
    before = enforcer.ask("signal_container_process", {"containerID": ID, **asked})
    assert failed(before)[0] == "containerID"
    assert create(enforcer).allowed
    decision = enforcer.ask("signal_container_process", {"containerID": ID, **asked})
    assert decision.allowed == allowed


def test_a_container_that_was_shut_down_never_comes_back() -> None:
    enforcer = mounted(guest({}))
    assert create(enforcer).allowed
    assert enforcer.ask("shutdown_container", {"containerID": ID}).allowed
    assert enforcer.ask("unmount_overlay", {"unmountTarget": f"/run/gcs/c/{ID}/rootfs"}).allowed
    place = {"layerPaths": ["/run/mounts/scsi/m10"], "target": f"/run/gcs/c/{ID}/rootfs"}
    assert enforcer.ask("mount_overlay", {"containerID": ID, **place}).allowed
    assert create(enforcer).reasons == ("container already started",)


def test_a_share_is_mounted_by_the_container_it_belongs_to() -> None:
    enforcer = mounted(guest({"mounts": [{**SHARE, "source": "plan9://"}]}))
    target = f"/run/gcs/c/{ID}/mounts/m1"
    asked = {"rootPrefix": "/run/gcs/c", "mountPathPrefix": "/mounts/m[0-9]+", "target": target}
    assert failed(create(enforcer, mounts=[{**MOUNT, "source": target}])) == ["mounts"]
    assert enforcer.ask("plan9_mount", asked).allowed
    assert create(enforcer, mounts=[{**MOUNT, "source": target}]).allowed
    again = enforcer.ask("plan9_mount", asked)
    assert again.reasons == ("device already mounted at path",)


def test_a_disk_is_unmounted_as_what_it_was_mounted() -> None:
    enforcer = guest({})
    place = "/run/gcs/c/" + "ab" * 32
    asked = {
        "target": place,
        "encrypted": True,
        "ensureFilesystem": True,
        "filesystem": "ext4",
        "mountPathRegex": "/run/gcs/c/[0-9a-f]{64}",
    }
    assert enforcer.ask("rw_mount_device", asked).allowed
    told = enforcer.ask("unmount_device", {"unmountTarget": place}).reasons
    assert told == ("received read-only unmount request, but device provided is read-write",)
    assert enforcer.ask("rw_unmount_device", {"unmountTarget": place}).allowed
    assert enforcer.ask("rw_mount_device", asked).allowed
    assert mounted(enforcer)
    told = enforcer.ask("rw_unmount_device", {"unmountTarget": "/run/mounts/scsi/m10"}).reasons
    assert told == ("received read-write unmount request, but device provided is read-only",)


def test_what_was_denied_changes_nothing() -> None:
    enforcer = mounted(guest({}))
    assert not create(enforcer, argList=["x"]).allowed
    assert not enforcer.ask("shutdown_container", {"containerID": ID}).allowed
    assert create(enforcer).allowed


# ---- policies of another time


def test_a_policy_gets_the_default_of_points_it_never_heard_of() -> None:
    bindings = {"mount_device": BINDINGS["mount_device"]}
    enforcer = guest({}, api="0.1.0", bindings=bindings)
    for name, point in POINTS.items():
        if point.since == "0.1.0" or name == "load_fragment":
            continue
        decision = enforcer.ask(name, {})
        if point.older == "framework":
            assert (decision.source, decision.allowed) == ("framework", False)
        else:
            assert (decision.source, decision.allowed) == ("default", point.older == "allow")
    missing = enforcer.ask("mount_overlay", {})
    assert missing.policy_error == "rule is missing from policy"
    assert failed(missing) == ["mount_overlay"]
    assert failed(enforcer.ask("host_network", {})) == ["api_version"]
    assert failed(enforcer.ask("nothing_of_the_kind", {})) == ["point"]


def test_a_policy_answers_for_itself_where_it_wants_to() -> None:
    bindings = {"dump_stacks": '{"allowed": true}', "runtime_logging": '{"allowed": false}'}
    enforcer = guest({}, bindings={**bindings, "get_properties": '{"x": 1}'})
    decision = enforcer.ask("dump_stacks", {})
    assert (decision.allowed, decision.source) == (True, "policy")
    assert failed(enforcer.ask("runtime_logging", {})) == ["runtime_logging"]
    assert enforcer.ask("get_properties", {}).policy_error == "the rule's value has no allowed"
    assert "dump_stacks := {" in decision.rule


def test_without_an_api_version_everything_is_denied() -> None:
    policy = text({}).replace('api_version := "0.12.0"', "")
    enforcer = Enforcer(Policy.parse(policy.encode()))
    decision = enforcer.ask("get_properties", {})
    assert (decision.allowed, decision.source) == (False, "")
    assert decision.policy_error == "policy does not define api_version"
    assert failed(decision) == ["api_version"]


AHEAD = "framework_version is ahead of the current version: 0.6.0 is greater than 0.5.0"
VERSIONS = {
    "ahead": ('framework_version := "0.6.0"', AHEAD),
    "missing": ("", "framework_version is missing. Current version: 0.5.0"),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_a_framework_version_that_is_none_of_ours(name: str) -> None:
    line, reason = VERSIONS[name]
    policy = text({}).replace('framework_version := "0.5.0"', line)
    enforcer = Enforcer(Policy.parse(policy.encode()))
    place = "/run/mounts/scsi/m1"
    asked = {"target": place, "deviceHash": ROOT, "mountPathRegex": place}
    assert enforcer.ask("mount_device", asked).allowed
    overlay = {"containerID": ID, "layerPaths": [place], "target": "/o"}
    told = enforcer.ask("mount_overlay", overlay).reasons
    assert told == tuple(sorted([reason, "no matching containers for overlay"]))


# Fields that came with a version, and a request that tells whether they count.
NONE_AT_ALL: dict[str, list[str]] = {name: [] for name in CAPABILITIES}
FILLED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "no_new_privileges": ("0.2.0", {"no_new_privileges": True}, {}),
    "user": ("0.2.1", {"user": {**USER, "umask": "0077"}}, {}),
    "capabilities": (
        "0.2.2",
        {"capabilities": NONE_AT_ALL, "env_rules": []},
        {},
    ),
    "seccomp": ("0.2.3", {"seccomp_profile_sha256": "bb" * 32}, {}),
}


@pytest.mark.parametrize("name", FILLED)
def test_fields_count_from_the_version_that_brought_them(name: str) -> None:
    since, fields, asked = FILLED[name]
    major, minor, patch = (int(part) for part in since.split("."))
    before = f"{major}.{minor}.{patch - 1}" if patch else "0.1.9"
    strict = {"allow_capability_dropping": False}
    assert not create(mounted(guest(fields, framework=since, **strict)), **asked).allowed
    assert create(mounted(guest(fields, framework=before, **strict)), **asked).allowed
    old = {key: LEFT for key in fields if key != "env_rules"}
    assert create(mounted(guest(old, framework=before, **strict)), **asked).allowed


@pytest.mark.parametrize(("framework", "allowed"), [("0.4.0", True), ("0.4.1", False)])
def test_old_policies_let_every_process_be_killed(framework: str, allowed: bool) -> None:
    enforcer = mounted(guest({"signals": []}, framework=framework))
    assert create(enforcer).allowed
    asked = {"containerID": ID, "signal": 15, "isInitProcess": True}
    assert enforcer.ask("signal_container_process", asked).allowed == allowed


def test_a_container_of_an_old_policy_without_a_field_vanishes() -> None:
    policy = Policy.parse(text({"name": "web", "mounts": LEFT}, framework="0.2.3").encode())
    assert policy.containers() == []
    assert policy.vanished() == [("containers[0] (web)", ["mounts"])]


def test_dropping_capabilities_means_something_from_0_2_2_on() -> None:
    more = {**CAPABILITIES, "bounding": [*CAPABILITIES["bounding"], "CAP_BPF"]}
    assert create(mounted(guest({}, framework="0.2.2")), capabilities=more).allowed
    assert not create(mounted(guest({}, framework="0.2.1")), capabilities=more).allowed


def test_platform_rules_make_a_container_for_each_platform() -> None:
    rules = [{"env_rules": [rule("P=1")]}, {"env_rules": [rule("P=2")], "mounts": [SHARE]}]
    asked = {"envList": ["P=2"], "mounts": [MOUNT]}
    decision = create(mounted(guest({}, platform_rules=rules)), **asked)
    assert [each.container for each in decision.considered if each.held] == [
        "containers[0] with platform_rules[1]"
    ]
    old = guest({}, platform_rules=rules, framework="0.4.1")
    assert failed(create(mounted(old), **asked)) == ["mounts"]


# ---- fragments

ISSUER = "did:x509:0:sha256:A::eku:1.2"
FEED = "example.test/f"


def entry(**more: Any) -> dict[str, Any]:
    told = {"issuer": ISSUER, "feed": FEED, "minimum_svn": "2", "includes": ["containers"]}
    return {**told, **more}


def fragment(*lines: str, svn: str = 'svn := "2"', package: str = "f") -> str:
    return "\n".join([f"package {package}", 'framework_version := "0.5.0"', svn, *lines])


def load(enforcer: Enforcer, module: str, **more: Any) -> FragmentDecision:
    return enforcer.load(Fragment(module, **{"issuer": ISSUER, "feed": FEED, **more}))


def test_a_fragments_container_starts_after_it_was_loaded() -> None:
    container = text({"layers": ["bb" * 32]}).splitlines()
    (line,) = (each for each in container if each.startswith("containers"))
    enforcer = guest(fragments=[entry()])
    assert load(enforcer, fragment(line)).allowed
    assert create(mounted(enforcer, layers=["bb" * 32])).allowed


SVNS: dict[str, tuple[Any, str, Any, bool]] = {
    "text": ("2", 'svn := "2"', None, True),
    "a number": ("2", "svn := 3", None, True),
    "too low": ("2", 'svn := "1"', None, False),
    "ten is more than nine": ("9", 'svn := "10"', None, True),
    "in the header alone": ("2", "", 2, True),
    "in the header, too low": ("2", "", 1, False),
    "in both, equal": ("2", 'svn := "2"', 2, True),
    "in both, different": ("2", 'svn := "3"', 2, False),
    "nowhere": ("2", "", None, False),
    "semantic": ("1.2.0", 'svn := "1.10.0"', None, True),
    "semantic, too low": ("1.2.0", 'svn := "1.1.9"', None, False),
    "semantic and a number": ("1.2.0", 'svn := "3"', None, False),
    "a number and semantic": ("3", 'svn := "4.0.0"', None, False),
    "none": ("2", 'svn := "two"', None, False),
}


@pytest.mark.parametrize("name", SVNS)
def test_versions_of_fragments(name: str) -> None:
    minimum, line, header, allowed = SVNS[name]
    enforcer = guest(fragments=[entry(minimum_svn=minimum)])
    assert load(enforcer, fragment(svn=line), header_svn=header).allowed == allowed


KINDS = "fragment svn and the specified minimum are different types"


@pytest.mark.parametrize("name", ["semantic and a number", "a number and semantic"])
def test_versions_of_two_kinds_are_told(name: str) -> None:
    minimum, line, _, _ = SVNS[name]
    decision = load(guest(fragments=[entry(minimum_svn=minimum)]), fragment(svn=line))
    assert decision.loads[0].reasons == (KINDS,)


RECEIPTS: dict[str, tuple[list[str], list[Any], bool]] = {
    "none needed": ([], [], True),
    "any": (["*"], [{"issuer": "l", "ttl_subjects": []}], True),
    "any, none there": (["*"], [], False),
    "a ledger": (["l"], [{"issuer": "l"}], True),
    "another ledger": (["l"], [{"issuer": "m"}], False),
    "a trust list": (["TTL:s"], [{"issuer": "m", "ttl_subjects": ["s"]}], True),
    "another trust list": (["TTL:s"], [{"issuer": "s", "ttl_subjects": ["t"]}], False),
    "all of two": (["l", "m"], [{"issuer": "l"}], False),
}


@pytest.mark.parametrize("framework", ["0.5.0", "0.2.3"])
@pytest.mark.parametrize("name", RECEIPTS)
def test_receipts(name: str, framework: str) -> None:
    required, receipts, allowed = RECEIPTS[name]
    enforcer = guest(fragments=[entry(required_receipts=required)], framework=framework)
    decision = load(enforcer, fragment(), receipts=tuple(receipts))
    assert decision.allowed == allowed
    if not allowed:
        assert decision.check is not None
        assert decision.check.reasons[0].startswith("missing receipt from ")


PARAMETERS = 'containers := [{"layers": [parameter("layer")]}]'


@pytest.mark.parametrize("framework", ["0.5.0", "0.2.3"])
def test_parameters_come_from_whoever_admits_the_fragment(framework: str) -> None:
    entries = [entry(parameters={"layer": "bb"}), entry(parameters={"layer": "cc"})]
    enforcer = guest(fragments=entries, framework=framework)
    decision = load(enforcer, fragment(PARAMETERS))
    assert decision.parameters == ({"layer": "bb"}, {"layer": "cc"})
    assert [each.allowed for each in decision.loads] == [True, True]
    for layer, allowed in (("bb", True), ("cc", True), ("dd", False)):
        asked = {"target": f"/{layer}", "deviceHash": layer, "mountPathRegex": "/.+"}
        assert enforcer.ask("mount_device", asked).allowed == allowed


def test_a_parameter_has_the_default_that_the_fragment_declares() -> None:
    declared = 'parameters_api := {"layer": {"default": "dd"}}'
    enforcer = guest(fragments=[entry()])
    assert load(enforcer, fragment(PARAMETERS, declared)).parameters == ({},)
    asked = {"target": "/d", "deviceHash": "dd", "mountPathRegex": "/.+"}
    assert enforcer.ask("mount_device", asked).allowed


def test_without_a_value_a_rule_is_not_there() -> None:
    enforcer = guest(fragments=[entry()])
    assert load(enforcer, fragment(PARAMETERS)).allowed
    asked = {"target": "/d", "deviceHash": "dd", "mountPathRegex": "/.+"}
    assert not enforcer.ask("mount_device", asked).allowed


def test_a_fragment_admits_others_with_parameters_of_its_own() -> None:
    inner = '[{"issuer": "i", "feed": "g", "minimum_svn": "1", "includes": ["containers"], '
    nested = f'fragments := {inner}"parameters": {{"layer": parameter("layer")}}}}]'
    outer = entry(includes=["fragments"], parameters={"layer": "bb"})
    enforcer = guest(fragments=[outer])
    assert not load(enforcer, fragment(PARAMETERS), issuer="i", feed="g").allowed
    assert load(enforcer, fragment(nested)).allowed
    decision = load(enforcer, fragment(PARAMETERS, package="g"), issuer="i", feed="g")
    assert (decision.allowed, decision.parameters) == (True, ({"layer": "bb"},))


def test_only_what_is_included_is_taken() -> None:
    processes = 'external_processes := [{"command": ["x"], "env_rules": [], "working_dir": "/"}]'
    enforcer = guest(fragments=[entry(includes=["containers"])])
    assert load(enforcer, fragment(processes)).allowed
    told = enforcer.ask("exec_external", {"argList": ["x"], "envList": [], "workingDir": "/"})
    assert failed(told) == ["external_processes"]


def test_a_module_that_stays_is_told() -> None:
    decision = load(guest(fragments=[entry(includes=["namespace"])]), fragment())
    assert decision.loads[0].result["add_module"] is True


def test_entries_that_include_different_things_are_an_error() -> None:
    entries = [entry(), entry(includes=["fragments"])]
    decision = load(guest(fragments=entries), fragment())
    assert not decision.allowed
    assert "include different things" in decision.loads[0].policy_error
    assert failed(decision.loads[0]) == ["includes"]


def test_two_feeds_of_one_issuer_stay_apart() -> None:
    entries = [entry(), entry(feed="other")]
    enforcer = guest(fragments=entries)
    for feed, layer in ((FEED, "bb"), ("other", "cc")):
        line = f'containers := [{{"layers": ["{layer}"]}}]'
        assert load(enforcer, fragment(line), feed=feed).allowed
    for layer in ("bb", "cc"):
        asked = {"target": f"/{layer}", "deviceHash": layer, "mountPathRegex": "/.+"}
        assert enforcer.ask("mount_device", asked).allowed


NAMES = ["package policy", "package framework", "package api", "package a.b", "", "x", "package"]


@pytest.mark.parametrize("line", NAMES)
def test_packages_that_no_fragment_may_have(line: str) -> None:
    decision = load(guest(fragments=[entry()]), f"{line}\nx := 1")
    assert (decision.allowed, decision.check) == (False, None)
    assert decision.policy_error.startswith("namespace: ")


def test_a_fragment_that_is_no_data_is_refused_only_once_it_is_admitted() -> None:
    module = "package f\nx { true }"
    assert not load(guest(), module).allowed
    with pytest.raises(ConfigError, match="'x' is a rule of its own"):
        load(guest(fragments=[entry()]), module)


LISTS = [{"issuer": "i", "subject": "s", "minimum_svn": "2", "allowed_ledgers": ["a"]}]


@pytest.mark.parametrize(
    ("lists", "asked", "allowed"),
    [
        (LISTS, {}, ["a"]),
        (LISTS, {"svn": 1}, None),
        (LISTS, {"subject": "t"}, None),
        (LISTS, {"issuer": "j"}, None),
        (LISTS, {"ledgers": ["b"]}, None),
        ([{**LISTS[0], "allowed_ledgers": ["*"]}], {}, ["a", "b"]),
    ],
)
def test_trust_lists(lists: list[Any], asked: dict[str, Any], allowed: list[str] | None) -> None:
    enforcer = guest(transparency_trust_lists=lists)
    given_list = {"issuer": "i", "subject": "s", "svn": 2, "ledgers": ["a", "b"], **asked}
    decision = enforcer.ask("load_transparency_trust_list", given_list)
    assert decision.allowed == (allowed is not None)
    assert decision.result.get("allowed_ledgers") == allowed
    assert decision.allowed or len(decision.reasons) == 1
    old = guest(transparency_trust_lists=lists, framework="0.4.1")
    assert not old.ask("load_transparency_trust_list", given_list).allowed


# ---- versions and policies that cannot be judged

ORDER = ["0.2.3", "0.3.0", "0.9.0", "0.10.0-a.1", "0.10.0-a.b", "0.10.0", "0.10.1", "1.0.0"]


@pytest.mark.parametrize("one", ORDER)
@pytest.mark.parametrize("other", ORDER)
def test_versions_are_ordered(one: str, other: str) -> None:
    wanted = ORDER.index(one) - ORDER.index(other)
    assert versions.compare(one, other) == (wanted > 0) - (wanted < 0)


@given(st.none() | st.text(max_size=8) | st.integers() | st.booleans())
def test_what_is_no_version_compares_with_nothing(value: object) -> None:
    if not versions.is_semver(value):
        assert versions.compare(value, "0.2.3") is None
        assert not versions.at_least(value, "0.0.0")
        assert not versions.below(value, "9.9.9")


COMPUTED = {
    "another rule": "mount_device := data.framework.mount_overlay",
    "a binding inside": 'mount_device := {"allowed": data.framework.mount_device}',
    "data from the framework": "containers := data.framework.containers",
    "a flag": "allow_dump_stacks := data.framework.allow_dump_stacks",
    "a parameter": 'x := parameter("x")',
    "another reason": 'reason := {"errors": data.framework.mount_device}',
}


@pytest.mark.parametrize("name", COMPUTED)
def test_policies_that_compute_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is computed from") as caught:
        Policy.parse(f"package policy\n{COMPUTED[name]}\n".encode())
    assert caught.value.line == 2


# What the guest's RE2 finds, anchored by first and last letter; one that it refuses finds nothing.
FOUND = [
    ("A=1|B=2", "A=1xyz", True),
    ("A=1|B=2", "xyzB=2", True),
    ("A=1|B=2", "xA=1", False),
    ("^A=1", "A=12", False),
    ("A=1$", "xA=1", False),
    ("A=.", "A=\n", False),
    ("(?s)A=.", "A=\n", True),
    ("(?i)a=1", "A=1", True),
    ("A=\\d", "A=٣", False),
    ("A=(1", "A=(1", False),
    ("A=(?=1)1", "A=1", False),
    ("A=\\C", "A=1", False),
    ("A=\\\\C", "A=\\C", True),
]


@pytest.mark.parametrize(("pattern", "variable", "found"), FOUND)
def test_patterns_are_the_guests(pattern: str, variable: str, found: bool) -> None:
    rules = {"env_rules": [rule(pattern, "re2")]}
    decision = create(mounted(guest(rules)), envList=[variable])
    assert decision.result["env_list"] == ([variable] if found else [])


def test_patterns_need_their_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError, match="google-re2"):
        guest()

"""The policy of one process: written from three inputs, read strictly, enforced like the guest."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError, PolicyViolation
from sealserve.policy.execution import EnvRule, ExecutionPolicy, generate_process
from sealserve.policy.execution.environment import anchored, rule
from sealserve.policy.execution.text import MAX_POLICY_BYTES, PolicyText, parse
from support.policy_guest import ANYBODY, SOMEBODY

CONFCOM = Path(__file__).parent.parent / "vectors" / "policy" / "confcom"
COMMAND = ("python", "-m", "sealserve", "serve", "model.sealed")
TEXT = generate_process(COMMAND, env_rules=["LANG=C.UTF-8", "re2:HOSTNAME=.+"], working_dir="/srv")
POLICY = ExecutionPolicy.parse(TEXT)

# The whole file, so that no later change of ours moves anybody's HOST_DATA.
WHOLE = """package policy

import future.keywords.every
import future.keywords.in

api_version := "0.10.0"
framework_version := "0.2.3"

fragments := []

containers := [{"allow_elevated":false,"allow_stdio_access":true,"capabilities":null,\
"command":["python","-m","sealserve","serve","model.sealed"],"env_rules":[\
{"pattern":"LANG=C.UTF-8","required":false,"strategy":"string"},\
{"pattern":"^HOSTNAME=.+$","required":false,"strategy":"re2"}],"exec_processes":[],"id":"process",\
"layers":[],"mounts":[],"name":"process","no_new_privileges":false,"seccomp_profile_sha256":"",\
"signals":[],"user":{"group_idnames":[{"pattern":"","strategy":"any"}],"umask":"0022",\
"user_idname":{"pattern":"","strategy":"any"}},"working_dir":"/srv"}]

allow_properties_access := true
allow_dump_stacks := false
allow_runtime_logging := false
allow_environment_variable_dropping := true
allow_unencrypted_scratch := false
allow_capability_dropping := true

mount_device := data.framework.mount_device
unmount_device := data.framework.unmount_device
mount_overlay := data.framework.mount_overlay
unmount_overlay := data.framework.unmount_overlay
create_container := data.framework.create_container
exec_in_container := data.framework.exec_in_container
exec_external := data.framework.exec_external
shutdown_container := data.framework.shutdown_container
signal_container_process := data.framework.signal_container_process
plan9_mount := data.framework.plan9_mount
plan9_unmount := data.framework.plan9_unmount
get_properties := data.framework.get_properties
dump_stacks := data.framework.dump_stacks
runtime_logging := data.framework.runtime_logging
load_fragment := data.framework.load_fragment
scratch_mount := data.framework.scratch_mount
scratch_unmount := data.framework.scratch_unmount

reason := {"errors": data.framework.errors}"""


def with_container(**changes: object) -> bytes:
    container = {**parse(TEXT).containers[0], **changes}
    return PolicyText(containers=[container]).encode()


def without(key: str) -> bytes:
    container = dict(parse(TEXT).containers[0])
    del container[key]
    return PolicyText(containers=[container]).encode()


def test_the_text_is_this_text() -> None:
    assert WHOLE.encode() == TEXT


def test_the_hash_covers_the_exact_bytes() -> None:
    assert POLICY.sha256 == hashlib.sha256(TEXT).digest()


def test_what_is_generated_is_read_back() -> None:
    assert POLICY.command == COMMAND
    assert POLICY.working_dir == "/srv"
    assert POLICY.env_rules == (
        EnvRule("LANG=C.UTF-8"),
        EnvRule("^HOSTNAME=.+$", "re2"),
    )


def test_names_are_for_people_and_may_differ_or_be_left_out() -> None:
    assert ExecutionPolicy.parse(with_container(id="image", name="x")).command == COMMAND
    assert ExecutionPolicy.parse(without("id")).command == COMMAND


PROFILE: Mapping[str, object] = {
    "allow_elevated": True,
    "allow_stdio_access": False,
    "capabilities": {"ambient": []},
    "exec_processes": [{"command": ["sh"], "signals": []}],
    "layers": ["00" * 32],
    "mounts": [{"destination": "/x"}],
    "no_new_privileges": True,
    "seccomp_profile_sha256": "00" * 32,
    "signals": [9],
    "user": "root",
    "command": None,
    "env_rules": {},
    "working_dir": "srv",
    "id": 1,
    "name": None,
    "new_field": True,
}


@pytest.mark.parametrize("key", PROFILE)
def test_another_value_is_refused_and_the_key_named(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(with_container(**{key: PROFILE[key]}), file="p.rego")
    assert caught.value.key == f"containers[0].{key}"
    assert (caught.value.file, caught.value.line) == ("p.rego", 11)


STRANGE = {
    "a long field": {"x" * 20_000: 1},
    "a field that moves the cursor": {"\x1b[2J": 1},
    "a long value": {"layers": ["x" * 20_000]},
    "a long command": {"command": ["x" * 20_000, 1]},
    "a long variable": {
        "env_rules": [{"pattern": "x" * 20_000, "required": False, "strategy": "string"}]
    },
}


@pytest.mark.parametrize("fields", STRANGE.values(), ids=STRANGE)
def test_a_refusal_is_a_line_for_people(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(with_container(**fields), file="p.rego")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 2000


def test_long_fragments_are_not_all_repeated() -> None:
    data = with_container().replace(
        b"fragments := []", b'fragments := [\n  {\n    "%s": 1\n  }\n]' % (b"x" * 20_000)
    )
    with pytest.raises(ConfigError, match="a process policy has") as caught:
        ExecutionPolicy.parse(data)
    assert len(caught.value.message) < 2000


@pytest.mark.parametrize("key", sorted({*PROFILE} - {"id", "name", "new_field"}))
def test_a_missing_value_is_refused_and_the_key_named(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(without(key))
    assert caught.value.key == f"containers[0].{key}"


@pytest.mark.parametrize(("key", "value"), [("allow_elevated", 0), ("no_new_privileges", 0.0)])
def test_a_number_is_not_false(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        ExecutionPolicy.parse(with_container(**{key: value}))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b'api_version := "0.10.0"', b'api_version := "0.11.0"', "api_version"),
        (b'framework_version := "0.2.3"', b'framework_version := "0.5.0"', "framework_version"),
        (b"allow_dump_stacks := false", b"allow_dump_stacks := true", "allow_dump_stacks"),
        (
            b"allow_runtime_logging := false",
            b"allow_runtime_logging := true",
            "allow_runtime_logging",
        ),
        (
            b"allow_environment_variable_dropping := true",
            b"allow_environment_variable_dropping := false",
            "allow_environment_variable_dropping",
        ),
        (b"fragments := []", b'fragments := [\n  {\n    "feed": "x"\n  }\n]', "fragments"),
    ],
)
def test_another_head_is_refused_and_the_key_named(old: bytes, new: bytes, key: str) -> None:
    changed = TEXT.replace(old, new)
    if key == "api_version":
        changed = changed.replace(
            b"\n\nreason", b"\nrw_mount_device := data.framework.rw_mount_device\n\nreason"
        )
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(changed)
    assert caught.value.key == key


def test_two_containers_or_none_are_refused() -> None:
    container = parse(TEXT).containers[0]
    for containers in ([], [container, container]):
        with pytest.raises(ConfigError) as caught:
            ExecutionPolicy.parse(PolicyText(containers=containers).encode())
        assert caught.value.key == "containers"


def test_a_policy_for_an_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="process policy"):
        ExecutionPolicy.parse((CONFCOM / "image_defaults-no_default_fragments.rego").read_bytes())


RULES: Mapping[str, object] = {
    "no object": "A=B",
    "pattern missing": {"required": False, "strategy": "string"},
    "a key more": {"pattern": "A=B", "required": False, "strategy": "string", "x": 1},
    "unknown strategy": {"pattern": "A=B", "required": False, "strategy": "glob"},
    "required is text": {"pattern": "A=B", "required": "no", "strategy": "string"},
    "pattern is a number": {"pattern": 1, "required": False, "strategy": "string"},
    "no name": {"pattern": "=B", "required": False, "strategy": "string"},
    "no equals sign": {"pattern": "A", "required": False, "strategy": "string"},
    "a NUL": {"pattern": "A=\0", "required": False, "strategy": "string"},
    "not RE2": {"pattern": "(", "required": False, "strategy": "re2"},
    "a backreference": {"pattern": r"(A)=\1", "required": False, "strategy": "re2"},
    "a pattern too long": {"pattern": "A" * 4097, "required": False, "strategy": "re2"},
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(with_container(env_rules=[RULES[name]]))
    assert caught.value.key.startswith("containers[0].env_rules[0]")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"command": ["a\0b"]}, "command"),
        ({"command": ["caf\udce9"]}, "command"),
        ({"working_dir": ""}, "working_dir"),
        ({"working_dir": "srv"}, "working_dir"),
        ({"working_dir": "/\udce9"}, "working_dir"),
        ({"env_rules": ["A"]}, "env_rules[0].pattern"),
        ({"env_rules": ["=1"]}, "env_rules[0].pattern"),
        ({"env_rules": ["A=1", "re2:("]}, "env_rules[1].pattern"),
        ({"env_rules": ["A=\udce9"]}, "env_rules[0].pattern"),
    ],
)
def test_what_could_never_start_is_not_written(arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        generate_process(**{"command": ["x"], **arguments})  # type: ignore[arg-type]
    assert caught.value.key == f"containers[0].{key}"


def test_a_rule_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        generate_process(["x"], env_rules=["A=1", "A=1"])


def test_a_policy_over_the_limit_is_not_written() -> None:
    with pytest.raises(ConfigError, match="at most"):
        generate_process(["x" * MAX_POLICY_BYTES])


def test_the_exact_start_is_allowed_and_other_variables_are_dropped() -> None:
    environment = {
        "LANG": "C.UTF-8",
        "HOSTNAME": "box",
        "LD_PRELOAD": "/x.so:HOSTNAME=1",
        "PATH": "/bin",
    }
    allowed = POLICY.may_start(COMMAND, environment, "/srv", SOMEBODY)
    assert allowed == {"LANG": "C.UTF-8", "HOSTNAME": "box"}


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C"},
        {"LANG": "C.UTF-8 "},
        {"HOSTNAME": ""},
        {"HOSTNAME": "a\nb"},
        {"XHOSTNAME": "a"},
        {"HOSTNAME": "\udce9"},
    ],
)
def test_a_variable_that_matches_no_rule_is_dropped(environment: dict[str, str]) -> None:
    assert POLICY.may_start(COMMAND, environment, "/srv", SOMEBODY) == {}


@pytest.mark.parametrize(
    "command",
    [(*COMMAND, "--more"), COMMAND[:-1], ("/usr/bin/python", *COMMAND[1:]), (" ".join(COMMAND),)],
)
def test_another_command_is_refused_with_both_sides(command: tuple[str, ...]) -> None:
    with pytest.raises(PolicyViolation) as caught:
        POLICY.may_start(command, {}, "/srv", SOMEBODY)
    (finding,) = caught.value.findings
    assert finding.code == "command"
    assert json.loads(finding.seen) == list(command)
    assert json.loads(finding.wanted) == list(COMMAND)


def test_another_working_directory_is_refused_with_both_sides() -> None:
    with pytest.raises(PolicyViolation) as caught:
        POLICY.may_start(COMMAND, {}, "/", SOMEBODY)
    (finding,) = caught.value.findings
    assert (finding.code, finding.seen, finding.wanted) == ("working_dir", '"/"', '"/srv"')


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        (EnvRule("TOKEN=abc", required=True), "abc"),
        (EnvRule("^TOKEN=[a-z]+$", "re2", required=True), "xyz"),
    ],
)
def test_a_required_variable_has_to_be_there_and_is_never_quoted(rule: EnvRule, met: str) -> None:
    policy = ExecutionPolicy.parse(generate_process(["x"], env_rules=[rule]))
    assert policy.may_start(["x"], {"TOKEN": met}, "/", SOMEBODY) == {"TOKEN": met}
    for environment in ({}, {"TOKEN": "S3CRET"}):
        with pytest.raises(PolicyViolation) as caught:
            policy.may_start(["x"], environment, "/", SOMEBODY)
        (finding,) = caught.value.findings
        assert finding.code == "env_rules"
        assert "S3CRET" not in str(caught.value)


def test_every_failed_condition_is_shown_in_one_run() -> None:
    with pytest.raises(PolicyViolation) as caught:
        POLICY.may_start(["sh"], {}, "/", SOMEBODY)
    assert [finding.code for finding in caught.value.findings] == [
        "working_dir",
        "command",
    ]
    assert "policy generate --process" in caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("A=.+", "^A=.+$"),
        ("^A=.+$", "^A=.+$"),
        ("^A=.+", "^(?:^A=.+)$"),
        ("A=1|B=2", "^(?:A=1|B=2)$"),
        ("^A=1|B=2$", "^(?:^A=1|B=2$)$"),
        (r"^A=\$", r"^(?:^A=\$)$"),
        ("(?i)a=.+", "^(?:(?i)a=.+)$"),
        ("(?m)A=1$", "^(?:(?m)A=1$)$"),
    ],
)
def test_patterns_are_written_with_anchors_that_hold(pattern: str, written: str) -> None:
    assert anchored(pattern) == written


@pytest.mark.parametrize("pattern", ["A=1|B=2", "^A=1|B=2$", "(?m)^A=1$", "(?m)^A=1$|^B=2$"])
def test_no_pattern_lets_more_in_around_it(pattern: str) -> None:
    policy = ExecutionPolicy.parse(generate_process(["x"], env_rules=[f"re2:{pattern}"]))
    assert policy.may_start(["x"], {"A": "1"}, "/", SOMEBODY) == {"A": "1"}
    for value in ("/x.so:A=1", "B=2", "x\nA=1", "x\nB=2", "A=1\n"):
        assert policy.may_start(["x"], {"LD_PRELOAD": value}, "/", SOMEBODY) == {}


def test_patterns_without_the_engine_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError, match="google-re2") as caught:
        generate_process(["x"], env_rules=["re2:NEVER_SEEN_BEFORE=.*"])
    assert "sealserve[owner]" in caught.value.hint
    assert generate_process(["x"], env_rules=["A=1"])


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


@given(
    command=st.lists(WORDS, min_size=1, max_size=5).filter(lambda words: bool(words[0])),
    variables=st.dictionaries(NAMES, WORDS, max_size=4),
    working_dir=WORDS.map(lambda path: f"/{path}"),
)
def test_what_a_policy_says_may_start_and_nothing_else_of_the_environment(
    command: list[str], variables: dict[str, str], working_dir: str
) -> None:
    rules = [f"{name}={value}" for name, value in variables.items()]
    policy = ExecutionPolicy.parse(
        generate_process(command, env_rules=rules, working_dir=working_dir)
    )
    environment = {**variables, "lower_case": "dropped"}
    assert policy.may_start(command, environment, working_dir, SOMEBODY) == variables
    with pytest.raises(PolicyViolation):
        policy.may_start([*command, "more"], environment, working_dir, SOMEBODY)


# ---- beside a plain comparison

RULE_TEXTS = {"A=1": "A=1", "B=.+": "re2:B=.+", "A=1|X=2": "re2:A=1|X=2", "LANG=": "LANG="}
RULE_TEXTS["[AX]=[12]"] = "re2:[AX]=[12]"
SETTINGS = st.dictionaries(
    st.sampled_from(["A", "B", "LANG", "X"]), st.sampled_from(["1", "2", "", "a b"]), max_size=3
)


@given(
    rules=st.lists(st.sampled_from(sorted(RULE_TEXTS)), unique=True),
    required=st.sets(st.sampled_from(sorted(RULE_TEXTS))),
    variables=SETTINGS,
    command=st.sampled_from([["app"], ["app", "-x"], ["a"], ["app", ""], []]),
    folder=st.sampled_from(["/", "/srv", "/srv/"]),
)
def test_what_starts_is_what_a_plain_comparison_lets_start(
    rules: list[str], required: set[str], variables: dict[str, str], command: list[str], folder: str
) -> None:
    """Nothing more and nothing less: equal words, equal folder, required variables, no others."""
    made = [replace(rule(RULE_TEXTS[each]), required=each in required) for each in rules]
    policy = ExecutionPolicy.parse(generate_process(["app"], env_rules=made, working_dir="/srv"))
    told = {name: f"{name}={value}" for name, value in variables.items()}
    kept = {n: variables[n] for n in told if any(re.fullmatch(each, told[n]) for each in rules)}
    met = all(
        any(re.fullmatch(each, text) for text in told.values()) for each in required & {*rules}
    )
    if command == ["app"] and folder == "/srv" and met:
        assert policy.may_start(command, variables, folder, SOMEBODY) == kept
        return
    with pytest.raises(PolicyViolation):
        policy.may_start(command, variables, folder, SOMEBODY)


# ---- who starts

GROUPS = [{"pattern": "1000", "strategy": "id"}, {"pattern": "sudo", "strategy": "name"}]
PEOPLE = {
    "the number": {"user_idname": {"pattern": "1000", "strategy": "id"}},
    "the name": {"user_idname": {"pattern": "somebody", "strategy": "name"}},
    "a pattern": {"user_idname": {"pattern": "some.*", "strategy": "re2"}},
    "every group": {"group_idnames": GROUPS},
}
OTHERS = {
    "another number": {"user_idname": {"pattern": "0", "strategy": "id"}},
    "another name": {"user_idname": {"pattern": "root", "strategy": "name"}},
    "a pattern of a part": {"user_idname": {"pattern": "some", "strategy": "re2"}},
    "one group too few": {"group_idnames": GROUPS[:1]},
    "no group": {"group_idnames": []},
}
ANYONE = {"group_idnames": [ANYBODY], "umask": "0022", "user_idname": ANYBODY}


@pytest.mark.parametrize("name", PEOPLE)
def test_who_is_named_may_start(name: str) -> None:
    policy = ExecutionPolicy.parse(with_container(user={**ANYONE, **PEOPLE[name]}))
    assert policy.may_start(COMMAND, {}, "/srv", SOMEBODY) == {}


@pytest.mark.parametrize("name", OTHERS)
def test_nobody_else_may_start(name: str) -> None:
    policy = ExecutionPolicy.parse(with_container(user={**ANYONE, **OTHERS[name]}))
    with pytest.raises(PolicyViolation) as caught:
        policy.may_start(COMMAND, {}, "/srv", SOMEBODY)
    (finding,) = caught.value.findings
    assert finding.code == "user"
    assert '"id": "1000", "name": "somebody"' in finding.seen


NOBODY: Mapping[str, dict[str, object]] = {
    "user": {"extra": 1},
    "user.umask": {"umask": "0077"},
    "user.group_idnames": {"group_idnames": {}},
    "user.group_idnames[1]": {"group_idnames": [ANYBODY, "root"]},
    "user.user_idname": {"user_idname": {"pattern": ""}},
    "user.user_idname.strategy": {"user_idname": {"pattern": "", "strategy": "all"}},
    "user.user_idname.pattern": {"user_idname": {"pattern": "(", "strategy": "re2"}},
    "user.group_idnames[0].pattern": {"group_idnames": [{"pattern": 0, "strategy": "id"}]},
}


@pytest.mark.parametrize("key", NOBODY)
def test_a_user_of_another_form_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionPolicy.parse(with_container(user={**ANYONE, **NOBODY[key]}))
    assert caught.value.key == f"containers[0].{key}"


def test_a_denial_says_what_decided_what_held_and_the_way_out() -> None:
    with pytest.raises(PolicyViolation) as caught:
        POLICY.may_start(["sh"], {}, "/srv", SOMEBODY)
    told = str(caught.value)
    assert "create_container is denied by line 24 of the policy" in told
    assert "not containers[0] (process): command failed; no_new_privileges, user, " in told
    assert "guest: invalid command" in told
    (finding,) = caught.value.findings
    assert finding.hint


def test_what_a_denial_repeats_of_a_policy_moves_no_cursor() -> None:
    policy = ExecutionPolicy.parse(with_container(name="\x1b[2J\n" * 400))
    with pytest.raises(PolicyViolation) as caught:
        policy.may_start(["sh"], {}, "/srv", SOMEBODY)
    told = str(caught.value)
    assert told.replace("\n", "").isprintable()
    assert len(told) < 4000

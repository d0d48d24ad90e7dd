"""One start, asked as a host asks a guest: what comes through, and what alone refuses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from sealserve.native.errors import ConfigError, PolicyViolation
from sealserve.policy.execution.platform import DEFAULT_CAPABILITIES
from sealserve.policy.execution.start import Decider, Permitted, Person, Start, User
from support.policy_guest import ANYBODY, FLAGS, text

BASE, TOP = "aa" * 32, "bb" * 32
MOUNT = {
    "destination": "/data",
    "options": ["rbind", "rshared", "ro"],
    "source": "sandbox:///volumes/.+",
    "type": "bind",
}
ASKED_MOUNT = {**MOUNT, "source": "/pod/volumes/0"}
CONTAINER: Mapping[str, Any] = {
    "name": "app",
    "layers": [BASE, TOP],
    "command": ["app", "-x"],
    "env_rules": [
        {"pattern": "A=1", "strategy": "string", "required": True},
        {"pattern": "B=.+", "strategy": "re2", "required": False},
    ],
    "working_dir": "/srv",
    "no_new_privileges": True,
    "mounts": [MOUNT],
    "user": {
        "user_idname": {"pattern": "5", "strategy": "id"},
        "group_idnames": [{"pattern": "6", "strategy": "id"}],
        "umask": "0022",
    },
}
START = Start(
    command=["app", "-x"],
    environment={"A": "1", "B": "2", "LD_PRELOAD": "/x.so:B=2"},
    working_dir="/srv",
    user=User(Person("5"), (Person("6"),)),
    layers=[BASE, TOP],
    mounts=[ASKED_MOUNT],
    sandbox_dir="/pod",
    no_new_privileges=True,
    capabilities=[*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"],
)


def asked(changes: Mapping[str, Any] | None = None, **start: Any) -> Permitted:
    """The start with these differences, under the policy with those."""
    policy = text({**CONTAINER, **(changes or {})}).encode()
    return Decider.parse(policy).ask(dataclasses.replace(START, **start))


def test_what_the_policy_describes_may_start() -> None:
    permitted = asked()
    assert permitted.environment == {"A": "1", "B": "2"}
    assert permitted.capabilities == tuple(DEFAULT_CAPABILITIES)
    assert permitted.stdio


def test_less_than_the_policy_describes_may_start() -> None:
    """Mounts need not be asked for, nor variables that are not required."""
    assert asked(mounts=[], environment={"A": "1"}).environment == {"A": "1"}


def test_output_stays_where_the_policy_says_so() -> None:
    assert not asked({"allow_stdio_access": False}).stdio


STARTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "a changed layer": ("mount_device", "deviceHash", {"layers": [BASE, "bc" * 32]}),
    "layers in another order": ("mount_overlay", "layers", {"layers": [TOP, BASE]}),
    "a layer less": ("mount_overlay", "layers", {"layers": [BASE]}),
    "a layer twice": ("mount_overlay", "layers", {"layers": [BASE, TOP, TOP]}),
    "no layers": ("mount_overlay", "layers", {"layers": []}),
    "another command": ("create_container", "command", {"command": ["app"]}),
    "another folder": ("create_container", "working_dir", {"working_dir": "/srv/"}),
    "another user": ("create_container", "user", {"user": User(Person("0"), (Person("6"),))}),
    "another group": ("create_container", "user", {"user": User(Person("5"), (Person("0"),))}),
    "a group more": (
        "create_container",
        "user",
        {"user": User(Person("5"), (Person("6"), Person("0")))},
    ),
    "a name for a number": (
        "create_container",
        "user",
        {"user": User(Person("", "5"), (Person("6"),))},
    ),
    "another place for a mount": (
        "create_container",
        "mounts",
        {"mounts": [{**ASKED_MOUNT, "destination": "/etc"}]},
    ),
    "another source for a mount": (
        "create_container",
        "mounts",
        {"mounts": [{**ASKED_MOUNT, "source": "/etc"}]},
    ),
    "a mount that may be written": (
        "create_container",
        "mounts",
        {"mounts": [{**ASKED_MOUNT, "options": ["rbind", "rshared", "rw"]}]},
    ),
    "another pod": ("create_container", "mounts", {"sandbox_dir": "/other"}),
    "no pod": ("create_container", "mounts", {"sandbox_dir": ""}),
    "new privileges": ("create_container", "no_new_privileges", {"no_new_privileges": False}),
    "no required variable": ("create_container", "env_rules", {"environment": {"B": "2"}}),
    "another value of it": ("create_container", "env_rules", {"environment": {"A": "SECRET"}}),
    "a capability too few": (
        "create_container",
        "capabilities",
        {"capabilities": DEFAULT_CAPABILITIES[1:]},
    ),
}
LISTS = {name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted", "inheritable")}
POLICIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "a seccomp profile": ("seccomp_profile_sha256", {"seccomp_profile_sha256": "ab" * 32}),
    "another umask": ("user", {"user": {**CONTAINER["user"], "umask": "0077"}}),
    "inherited capabilities": ("capabilities", {"capabilities": {**LISTS, "ambient": []}}),
}


def denied(point: str, field: str, caught: pytest.ExceptionInfo[PolicyViolation]) -> None:
    told = str(caught.value)
    assert f"  {point} is denied by line " in told
    assert "SECRET" not in told
    *general, finding = caught.value.findings
    assert [each.code for each in general] == (["layerPaths"] if field == "layers" else [])
    assert finding.code == field
    assert finding.seen != finding.wanted
    assert finding.hint


@pytest.mark.parametrize("name", STARTS)
def test_one_difference_alone_refuses_a_start(name: str) -> None:
    point, field, start = STARTS[name]
    with pytest.raises(PolicyViolation) as caught:
        asked(**start)
    denied(point, field, caught)


@pytest.mark.parametrize("name", POLICIES)
def test_what_we_never_ask_for_refuses_a_start(name: str) -> None:
    field, changes = POLICIES[name]
    with pytest.raises(PolicyViolation) as caught:
        asked(changes)
    denied("create_container", field, caught)


def test_without_dropping_a_variable_too_many_refuses_a_start() -> None:
    rules = {**FLAGS, "allow_environment_variable_dropping": False}
    with pytest.raises(PolicyViolation) as caught:
        Decider.parse(text(CONTAINER, **rules).encode()).ask(START)
    denied("create_container", "env_rules", caught)


def test_several_containers_are_told_apart() -> None:
    other = {**CONTAINER, "name": "other", "command": ["other"]}
    third = {**other, "name": "third", "working_dir": "/x"}
    policy = text(CONTAINER, other, third).encode()
    with pytest.raises(PolicyViolation) as caught:
        Decider.parse(policy).ask(dataclasses.replace(START, command=["x"]))
    assert [finding.code for finding in caught.value.findings] == [
        "containers[0] (app), command",
        "containers[1] (other), command",
    ]
    assert "not 1 more, which missed by more" in str(caught.value)


def test_a_policy_that_allows_everything_does() -> None:
    """Nothing is dropped where no list comes back, and nothing is printed."""
    points = ("mount_device", "mount_overlay", "create_container")
    policy = text(bindings={}, **{name: {"allowed": True} for name in points})
    permitted = Decider.parse(policy.encode()).ask(START)
    assert permitted.environment == START.environment
    assert permitted.capabilities == tuple(START.capabilities)
    assert not permitted.stdio


def test_a_policy_that_cannot_be_asked_says_why() -> None:
    bindings = {name: f"data.framework.{name}" for name in ("mount_device", "mount_overlay")}
    with pytest.raises(PolicyViolation, match="because: rule is missing from policy"):
        Decider.parse(text(CONTAINER, bindings=bindings).encode()).ask(START)


def test_what_is_no_policy_is_told_with_its_file() -> None:
    with pytest.raises(ConfigError) as caught:
        Decider.parse(b"package other", file="p.rego")
    assert caught.value.file == "p.rego"


def test_anybody_is_anybody() -> None:
    anybody = {"user_idname": ANYBODY, "group_idnames": [ANYBODY], "umask": "0022"}
    assert asked({"user": anybody}, user=User(Person("", "app"), (Person("0"),)))

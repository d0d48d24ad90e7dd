"""Files of a deployment, told apart and taken apart."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.deployment import reading
from sealserve.policy.execution.policy_file import PolicyFile
from support.policy_deployment import agreeing, serve, template
from support.policy_generation import unhurried

ROOT = "9f" * 32
CASE = agreeing(ROOT)
COMMAND = ("serve", tuple(serve(("/models/net.sealed", ROOT))))
CARRIED = template(CASE.policy, CASE.commands)

BY_NAME = {
    "policy.rego": "policy",
    "NET.SEALED": "sealed",
    "notes.md": "other",
    "Makefile": "other",
    "x.json": None,
    "X.TOML": None,
}
BY_CONTENT = {
    ("t.json", b'{"resources": []}'): "template",
    ("t.json", b'{"Resources": [], "parameters": {}}'): "template",
    ("r.json", b'{"version": "1.0.0", "anyOf": []}'): "release_policy",
    ("p.json", b'{"parameters": {}}'): "parameters",
    ("p.json", b'\xef\xbb\xbf{"parameters": {}} // with a mark and a comment'): "parameters",
    ("o.json", b"[1, 2]"): "other",
    ("o.json", b"{}"): "other",
    ("t.toml", b'[platform]\nkind = "aci"\n'): "trust",
    ("t.toml", b"[software]\n"): "trust",
    ("c.toml", b'address = "127.0.0.1:8443"\n'): "other",
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_name_says_what_a_file_is_or_leaves_it_to_the_content(name: str) -> None:
    assert reading.kind_by_name(name) == BY_NAME[name]


@pytest.mark.parametrize(("name", "data"), BY_CONTENT)
def test_the_content_says_it(name: str, data: bytes) -> None:
    assert reading.kind_by_content(data, file=name) == BY_CONTENT[name, data]


@pytest.mark.parametrize("name", ["a.json", "a.toml"])
@pytest.mark.parametrize("data", [b"\xff", b"{", b"= 1", b"[" * 5000], ids=repr)
def test_what_is_neither_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(ConfigError, match=name):
        reading.kind_by_content(data, file=name)


@unhurried
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,=\n anyOfresources').map(str.encode))
def test_nothing_but_a_config_error_leaves(data: bytes) -> None:
    for name in ("a.json", "a.toml"):
        with suppress(ConfigError):
            reading.kind_by_content(data, file=name)
    with suppress(ConfigError):
        reading.template(data, data, file="a.json")


def test_a_template_gives_what_it_writes_and_what_its_policy_allows() -> None:
    read = reading.template(CARRIED, None, file="t.json")
    assert read.policy.text == CASE.policy
    assert read.where == "t.json, group clinic"
    assert read.commands == read.allowed == (COMMAND,)
    assert (read.sku, read.identity) == ("confidential", True)


def test_comments_are_no_obstacle() -> None:
    commented = b"// ours\n" + CARRIED.replace(b'"resources"', b'/* all of them */ "resources"')
    assert reading.template(commented, None, file="t.json").commands == (COMMAND,)


def test_two_containers_of_one_name_are_two() -> None:
    text = CASE.changed(commands={"serve": COMMAND[1], "other": ("/bin/other",)}).policy
    both = text.replace(b'"other"', b'"serve"')
    assert reading.commands(PolicyFile(both, "text", "p.rego")) == (
        COMMAND,
        ("serve", ("/bin/other",)),
    )


def test_a_container_without_a_name_goes_by_its_place() -> None:
    text = CASE.policy.replace(b'"name":"serve",', b"")
    ((name, command),) = reading.commands(PolicyFile(text, "text", "p.rego"))
    assert (name, command) == ("containers[0]", COMMAND[1])


def test_a_policy_with_rules_of_its_own_allows_nobody_knows_what() -> None:
    own = b"package policy\n\nallow { true }\n"
    read = reading.template(template(own, CASE.commands), None, file="t.json")
    assert read.allowed is None
    with pytest.raises(ConfigError, match="is a rule of its own"):
        reading.commands(PolicyFile(own, "text", "p.rego"))


def test_a_group_inside_another_resource_is_not_guessed_at() -> None:
    nested = {"type": "x", "properties": {"template": json.loads(CARRIED)}}
    document = {"resources": [*json.loads(CARRIED)["resources"], nested]}
    with pytest.raises(ConfigError, match="a group inside another resource"):
        reading.template(json.dumps(document).encode(), None, file="t.json")


def test_faults_of_a_template_are_told_all_at_once() -> None:
    document = json.loads(CARRIED)
    container = document["resources"][0]["properties"]["containers"][0]
    del container["properties"]["image"]
    container["properties"]["environmentVariables"] = [{"name": ""}]
    with pytest.raises(ConfigError, match="2 faults"):
        reading.template(json.dumps(document).encode(), None, file="t.json")

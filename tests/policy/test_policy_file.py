"""A policy in any file that carries one, and what is said beside its hash."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import form, generate_process
from sealserve.policy.execution.policy_file import PolicyFile, read_all, read_one

VECTORS = Path(__file__).parent.parent / "vectors" / "policy"
TEXT = generate_process(["serve"])
BASE64 = base64.b64encode(TEXT)
POD = b"metadata:\n  annotations:\n    microsoft.containerinstance.virtualnode.ccepolicy: %s\n"


def template(*policies: object, name: str = "group") -> bytes:
    resources = [
        {
            "Type": "Microsoft.ContainerInstance/ContainerGroups",
            "name": f"{name}-{index}",
            "PROPERTIES": {"confidentialcomputeproperties": {"ccepolicy": policy}},
        }
        for index, policy in enumerate(policies)
    ]
    return json.dumps({"resources": [{"type": "other"}, *resources]}).encode()


FORMS = {
    "text": TEXT,
    "base64": BASE64,
    "base64 in lines": b"\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76)) + b"\n",
    "template": template(BASE64.decode()),
    "template with a mark": b"\xef\xbb\xbf" + template(BASE64.decode()),
    "pod": POD % BASE64,
    "pod in quotes": POD % (b'"' + BASE64 + b'"'),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_carries_the_same_text(name: str) -> None:
    found = read_one(FORMS[name], file="f")
    assert (found.text, found.file) == (TEXT, "f")
    assert found.form == name.split(maxsplit=1)[0]
    assert found.sha256 == hashlib.sha256(TEXT).digest()


def test_nested_templates_are_looked_through() -> None:
    outer = {"resources": [{"properties": {"template": json.loads(template(BASE64.decode()))}}]}
    assert read_one(json.dumps(outer).encode()).text == TEXT


def test_of_several_groups_one_is_chosen() -> None:
    data = template(BASE64.decode(), base64.b64encode(TEXT + b"\n").decode())
    assert [each.group for each in read_all(data)] == ["group-0", "group-1"]
    assert read_one(data, group="group-1").text == TEXT + b"\n"
    with pytest.raises(
        ConfigError, match="has 2 policies, of the groups group-0, group-1"
    ) as caught:
        read_one(data, file="t.json")
    assert "--group" in caught.value.hint
    with pytest.raises(ConfigError, match="has no group 'x' with a policy"):
        read_one(data, group="x")


@pytest.mark.parametrize("data", [b"", b"\xff\0", b"x" * 1000, base64.b64encode(b"hello"), b"[1]"])
def test_anything_else_is_the_text_itself(data: bytes) -> None:
    assert read_one(data) == PolicyFile(data, "text", "")


REFUSED = {
    "JSON without a group": (b"{}", "is JSON without a container group"),
    "broken JSON": (b"{", "not JSON"),
    "JSON too deep": (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
    "a group without a policy": (template(""), "group group-0 carries no policy"),
    "a policy that is a number": (template(1), "group group-0 carries no policy"),
    "a policy that is no base64": (template("!!!"), "is not base64: it begins with '!!!'"),
    "half a base64 in a pod": (POD % b"AAAAA", "the annotation is not base64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_should_carry_one(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words) as caught:
        read_all(data, file="t.json")
    assert caught.value.file == "t.json"
    assert caught.value.message.isprintable()


# ---- what is said beside the hash


def warnings(data: bytes) -> str:
    return " ".join(form.name(read_one(data)).warnings)


KNOWN = {
    "security_policy_base64.txt": "CCF's documents",
    "uvm_security_policy_base64.txt": "confidential sidecar's samples",
    "allow_all_default_base64.txt": "the platform's default",
    "allow_all.rego": "confidential-aci-testing",
}


@pytest.mark.parametrize("name", KNOWN)
def test_policies_that_allow_everything_are_named(name: str) -> None:
    named = form.name(read_one((VECTORS / "samples" / name).read_bytes()))
    assert named.allows_everything
    assert KNOWN[name] in named.known


def test_one_that_allows_everything_is_known_by_its_content() -> None:
    data = (VECTORS / "samples/allow_all.rego").read_bytes() + b"# changed\n"
    named = form.name(read_one(data))
    assert (named.allows_everything, named.known) == (True, "")
    once = data.replace(
        b'scratch_mount := {"allowed": true}', b'scratch_mount := {"allowed": false}'
    )
    assert not form.name(read_one(once)).allows_everything
    assert not form.name(read_one(TEXT)).allows_everything


def test_line_ends_are_warned_of_with_the_hash_without_them() -> None:
    told = warnings(TEXT + b"\n\n")
    assert "ends in 2 line end bytes" in told
    assert hashlib.sha256(TEXT).hexdigest() in told
    assert warnings(TEXT) == ""
    assert warnings(base64.b64encode(TEXT + b"\n")) == ""  # there it stands as it is enforced


def test_the_form_for_reading_is_warned_of_with_the_hash_of_the_other() -> None:
    head, _, rest = TEXT.partition(b"containers := ")
    containers, _, tail = rest.partition(b"\n\n")
    pretty = json.dumps(json.loads(containers), indent=2, sort_keys=True).encode()
    told = warnings(head + b"containers := " + pretty + b"\n\n" + tail)
    assert "indented as for reading" in told
    assert hashlib.sha256(TEXT).hexdigest() in told


def test_what_is_no_policy_has_a_hash_and_says_so() -> None:
    assert "not a policy that can be read here" in warnings(b"hello")
    assert "a fragment, package contoso" in warnings(b"package contoso\nx := 1")

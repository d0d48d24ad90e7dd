"""Denials out of a cloud's log: found, decoded, explained."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import denial, denial_words
from sealserve.policy.execution.denial import Denial
from support.policy_decisions import DIRECTORY, ask, cases_of

ERRORS = ("invalid command", "invalid env list: A,B")
INPUT = {"argList": ["x"], "envList": ["A=<<redacted>>"]}


def encoded(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def denied(*errors: str, **more: Any) -> dict[str, Any]:
    return {"decision": "deny", "input": INPUT, "reason": {"errors": list(errors)}, **more}


def marked(content: object) -> bytes:
    return f"failed to create: policyDecision< {encoded(content)} >policyDecision: no".encode()


def read(content: object) -> Denial:
    (found,) = denial.find(marked(content))
    return found


PLACES = {
    "a log": marked(denied(*ERRORS)),
    "a log in JSON": json.dumps({"m": marked(denied(*ERRORS)).decode()})
    .replace("<", "\\u003c")
    .replace(">", "\\u003e")
    .encode(),
    "a page": marked(denied(*ERRORS)).replace(b"<", b"&lt;").replace(b">", b"&gt;"),
    "broken lines": marked(denied(*ERRORS)).replace(b"< ", b"<\n").replace(b" >", b"\n>"),
    "the base64 alone": encoded(denied(*ERRORS)).encode() + b"\n",
}


@pytest.mark.parametrize("place", PLACES)
def test_denials_are_found(place: str) -> None:
    (found,) = denial.find(PLACES[place])
    assert [reason.text for reason in found.reasons] == list(ERRORS)
    assert found.request == INPUT


def test_every_denial_of_a_log_is_found() -> None:
    log = marked(denied("invalid command")) + b"\n" + marked(denied("invalid user"))
    assert [each.reasons[0].text for each in denial.find(log)] == [
        "invalid command",
        "invalid user",
    ]


@pytest.mark.parametrize(
    "data", [b"", b"package policy\n", b"aGVsbG8=", b"\xff\xfe", b"{}", b"abcd"]
)
def test_other_files_have_none(data: bytes) -> None:
    assert denial.find(data) == []


BAD = {
    "no base64": b"policyDecision< AAA >policyDecision",
    "no JSON": b"policyDecision< aGVsbG8= >policyDecision",
    "another decision": marked({"decision": "allow"}),
    "a list": marked([]),
    "text": marked("Unable to marshal error object"),
    "too long": b"policyDecision< " + b"A" * (denial.MAX_DENIAL_CHARS + 4) + b" >policyDecision",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_marked_and_no_denial_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        denial.find(BAD[name], file="log")


def test_a_policy_that_could_not_be_asked_says_why() -> None:
    found = read({"decision": "deny", "reason": "invalid", "policyError": "rule is missing"})
    assert found.policy_error == "rule is missing"
    assert "the policy could not be asked: rule is missing" in denial_words.explain([found])


def test_what_was_left_out_is_named() -> None:
    found = read({"decision": "deny", "truncated": ["reason.error_objects", "input", "reason"]})
    assert denial_words.explain([found]).endswith("left out  reason.error_objects, input, reason")


def test_no_reason_at_all_is_explained() -> None:
    assert "the guest gives no reason" in denial_words.explain([read(denied())])


def test_every_reason_that_we_give_is_known() -> None:
    """What the vectors' guest says is what an owner finds in a log."""
    texts = set()
    for case in cases_of(DIRECTORY):
        enforcer = case.enforcer()
        for step in case.requests.steps:
            decision = ask(enforcer, step)
            loads = [decision.check, *decision.loads] if hasattr(decision, "loads") else [decision]
            texts |= {text for each in loads if each for text in each.reasons}
    assert len(texts) > 25
    unknown = [reason.text for reason in read(denied(*texts)).reasons if not reason.meaning]
    assert [text for text in unknown if text not in SAY_IT_ALL] == []


# These say in their own words what was wrong.
SAY_IT_ALL = {
    "blockdev mounts are not supported",
    "ensureFilesystem must be set on rw device mounts",
    "rw device mounts uses a filesystem that is not allowed",
    "missing fragment svn in either header or rego payload",
    "no scratch at path to unmount",
    "svn in header 2 does not match svn in fragment rego 3",
    "fragment framework_version is ahead of the current version: 9.9.9 is greater than 0.5.0",
}


def test_what_a_log_says_cannot_move_a_cursor() -> None:
    evil = "\x1b[2J\n\u202e"
    told = denial_words.explain([read(denied(evil, truncated=[evil]))])
    assert all(line.isprintable() for line in told.splitlines())


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for text in (data, b"policyDecision<" + base64.b64encode(data) + b">policyDecision"):
        try:
            denial_words.explain(denial.find(text))
        except ConfigError:
            continue

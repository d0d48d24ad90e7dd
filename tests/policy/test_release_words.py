"""A release policy in words: every family of published ones, and nothing that steers a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealserve.policy.release import ReleasePolicy
from sealserve.policy.release_words import explain, to_json

VECTORS = Path(__file__).parent.parent / "vectors" / "policy" / "release"
WORDS = {
    "aci-sidecar": [
        "issued by https://sharedneu.neu.attest.azure.net",
        "with all of",
        "ANYTHING MAY RUN: the platform's default allow-all policy",
        "a compliant confidential container of Azure's",
        "no debug mode",
        "the guest's most privileged level asked",
    ],
    "aks-kata": ["NO EXECUTION POLICY", "an AMD SEV-SNP machine", "Kata container"],
    "cleanroom": ["ANYTHING MAY RUN", "an AMD SEV-SNP machine"],
    "cvm-nested": [
        "with any one of",
        "an AMD SEV-SNP machine: x-ms-isolation-tee.x-ms-attestation-type",
        "an Intel TDX machine",
        "a compliant confidential VM of Azure's",
    ],
}


def read(*conditions: object, authority: str = "https://a.example") -> ReleasePolicy:
    block = {"authority": authority, "allOf": list(conditions)}
    return ReleasePolicy.parse(json.dumps({"version": "1.0.0", "anyOf": [block]}).encode())


@pytest.mark.parametrize(("name", "words"), WORDS.items(), ids=WORDS)
def test_published_policies_in_words(name: str, words: list[str]) -> None:
    told = explain(ReleasePolicy.parse((VECTORS / f"{name}.json").read_bytes()))
    for each in words:
        assert each in told


def test_every_clause_of_a_published_policy_is_told() -> None:
    for name in WORDS:
        data = (VECTORS / f"{name}.json").read_bytes()
        told = explain(ReleasePolicy.parse(data))
        assert told.count(" = ") == data.count(b'"equals"')


def test_the_tree_for_programs() -> None:
    policy = read(
        {"claim": "x-ms-sevsnpvm-is-debuggable", "equals": True},
        {"anyOf": [{"claim": "a.b", "equals": 1}]},
        authority="https://a.example/simulated",
    )
    debug = {
        "claim": "x-ms-sevsnpvm-is-debuggable",
        "equals": True,
        "means": "DEBUG MODE: the host reads its memory",
    }
    unknown = {"any_of": [{"claim": "a.b", "equals": 1, "means": ""}]}
    assert to_json(policy) == {
        "authorities": [
            {
                "authority": "https://a.example/simulated",
                "simulated": True,
                "condition": {"all_of": [debug, unknown]},
            }
        ]
    }
    assert "SIMULATED: it proves nothing about hardware" in explain(policy)


def test_nothing_in_a_policy_steers_a_terminal() -> None:
    told = explain(read({"claim": "a\x1b[2J\x7f", "equals": "\x9b31m\x7f\n" + "y" * 900}))
    assert all(line.isprintable() for line in told.splitlines())
    assert len(told) < 700

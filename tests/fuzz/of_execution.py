"""Policies of strangers, requests of hosts, denials out of logs."""

from __future__ import annotations

import base64
import json

from fuzz.ground import VECTORS
from sealserve.native.errors import ConfigError
from sealserve.policy.execution import (
    denial,
    denial_words,
    explain,
    form,
    generate_process,
    patterns,
    policy_file,
    reach,
    requests,
    simulation,
    simulation_words,
)
from sealserve.policy.execution.compare import beyond
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.reach import syntax
from sealserve.policy.execution.reach.automaton import UndecidedError, common
from support.fuzz_mutations import Target

DECISIONS = VECTORS / "policy/decisions"
PROCESS = generate_process(["app"], env_rules=["A=1", "re2:B=[a-z]+"])


def policy_of_any_layout() -> Target:
    """Read, explained, looked over and compared with itself."""

    def run(data: bytes) -> None:
        policy = Policy.parse(data)
        named = form.name(policy_file.PolicyFile(data, "text", "f"))
        told = explain.explain(named, policy)
        assert all(line.isprintable() for line in told.splitlines())
        assert json.dumps(explain.document(named, policy))
        assert beyond(policy, policy) == ()

    samples = [*(VECTORS / "policy/samples").glob("*.rego"), DECISIONS / "framework_0_5_0.rego"]
    found = [path.read_bytes() for path in sorted(samples)]
    policies = [data for data in found if b"package policy" in data[:400]]
    return Target(run, [PROCESS, *policies], (ConfigError,))


def policy_in_any_file() -> Target:
    """Text, base64, template or pod."""

    def run(data: bytes) -> None:
        for each in policy_file.read_all(data, file="f"):
            form.name(each).document()

    carried = base64.b64encode(PROCESS).decode()
    group = {
        "type": "Microsoft.ContainerInstance/containerGroups",
        "name": "g",
        "properties": {"confidentialComputeProperties": {"ccePolicy": carried}},
    }
    pod = f'a:\n  microsoft.containerinstance.virtualnode.ccepolicy: "{carried}"\n'
    template = json.dumps({"resources": [group]})
    seeds = [PROCESS, carried.encode(), template.encode(), pod.encode()]
    return Target(run, seeds, (ConfigError,))


def host_requests() -> Target:
    """Asked of policies that have containers, fragments and platform rules."""
    texts = ("aci_two_containers", "fragments", "framework_0_5_0")
    policies = [(DECISIONS / f"{name}.rego").read_bytes() for name in texts]

    def run(data: bytes) -> None:
        asked = requests.parse(data)
        for policy in policies:
            answers = simulation.simulate(Policy.parse(policy), asked)
            told = simulation_words.explain(answers)
            assert all(line.isprintable() for line in told.splitlines())
            assert json.dumps(simulation.document(answers))

    seeds = []
    for name in texts:
        read = json.loads((DECISIONS / f"{name}.json").read_bytes())
        steps = [*read["steps"][2:6], *read["steps"][9:12], *read["steps"][-4:]]
        bare = [{k: v for k, v in step.items() if k != "expect"} for step in steps]
        seeds.append(json.dumps({"data": read["data"], "steps": bare}).encode())
    return Target(run, seeds, (ConfigError,))


def denial_in_a_log() -> Target:
    """Found, decoded and explained."""

    def run(data: bytes) -> None:
        found = denial.find(data)
        told = denial_words.explain(found)
        assert all(line.isprintable() for line in told.splitlines())
        assert json.dumps([denial_words.document(each) for each in found])

    reason = {"errors": ["invalid env list: A", "invalid command"], "error_objects": [{}]}
    told = {"decision": "deny", "input": {"argList": ["x"]}, "reason": reason, "truncated": ["x"]}
    text = base64.b64encode(json.dumps(told).encode()).decode()
    seeds = [f"x policyDecision< {text} >policyDecision y".encode(), text.encode()]
    return Target(run, seeds, (ConfigError,))


def variable_pattern() -> Target:
    """What RE2 takes is understood, or said not to be; what is found in it RE2 confirms."""

    def run(data: bytes) -> None:
        pattern = data.decode("utf-8")
        search = patterns.compiled(pattern)
        found = common(syntax.compiled(pattern), syntax.compiled("^[a-c=]*$"))
        if found is None:
            assert not any(search(text) for text in ("", "a", "ab=c", "a=b", "abc="))
        reach.reached({"pattern": pattern, "strategy": "re2"})

    seeds = [b"^A=[a-z]{2,3}$", rb"(?i:L[^D]_\x41|P\w+=\d?)+", b"[[:alpha:]-]|(?P<n>.*?)\\Q.\\E"]
    documented = (patterns.UnusableError, UndecidedError, UnicodeDecodeError)
    return Target(run, seeds, documented, (b"(?s)", b"{1,9}", b"\\b", b"\\pL", b"[^", b"(?m:"))

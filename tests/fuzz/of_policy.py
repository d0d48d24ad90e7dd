"""Files that people write."""

from __future__ import annotations

from contextlib import suppress

from fuzz.ground import NOW, VECTORS, same
from sealserve.native.errors import (
    ConfigError,
    ReleaseError,
)
from sealserve.policy import release_build, release_lint, release_words
from sealserve.policy.execution import text as policy_text
from sealserve.policy.execution.process import ExecutionPolicy, generate_process
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.trust import Trust
from sealserve.policy.trust_diff import beyond
from sealserve.policy.trust_lint import lint
from support.fuzz_mutations import Target
from support.policy_case import ACI, ENDORSED, EVERY_KEY, MEASURED, SIMULATED, SNP, TRUST


def trust() -> Target:
    def run(data: bytes) -> None:
        read = Trust.parse(data, file="trust.toml")
        read.explain()
        lint(read, NOW.date())
        assert beyond(read, read) == ()

    forms = [(SNP, SIMULATED), (f"{SNP}\n", f"{ACI}\n")]
    texts = [TRUST, *(TRUST.replace(*form) for form in forms), EVERY_KEY]
    texts[2] = texts[2].replace(MEASURED, ENDORSED)
    return Target(run, [text.encode() for text in texts], (ConfigError,))


def release_policy() -> Target:
    """Looked over, parsed, told, and evaluated on claims that meet nothing."""

    def run(data: bytes) -> None:
        found = release_lint.lint(data)
        assert all(remark.what.isprintable() for remark in found)
        policy = ReleasePolicy.parse(data)
        assert all(line.isprintable() for line in release_words.explain(policy).splitlines())
        for issuer in (policy.authorities[0].authority, 7, "https://elsewhere"):
            with suppress(ReleaseError):
                policy.evaluate({"iss": issuer, "x": {"y": [1]}, "vmpl": 0})

    paths = [*(VECTORS / "policy/release").glob("*.json")]
    found = [path.read_bytes() for path in sorted(paths) if b'"anyOf"' in path.read_bytes()]
    ours = release_build.build("https://service.example", "73" * 32, simulated=False)
    return Target(run, [ours, *found], (ConfigError,))


def execution_policy() -> Target:
    """Any text of confcom's form."""

    def run(data: bytes) -> None:
        same(policy_text.parse(data).encode(), data)

    paths = sorted((VECTORS / "policy/confcom").glob("*.rego"))
    seeds = []
    for path in paths:
        with suppress(ConfigError):
            policy_text.parse(path.read_bytes())
            seeds.append(path.read_bytes())
    return Target(run, seeds, (ConfigError,))


def process_policy() -> Target:
    """The execution policy of one process, and a start under it."""

    def run(data: bytes) -> None:
        ExecutionPolicy.parse(data)

    rules = ["PATH=/usr/bin", "re2:LANG=[a-z]+"]
    seed = generate_process(["python", "-m", "é"], env_rules=rules, working_dir="/srv")
    return Target(run, [seed], (ConfigError,), (b'"strategy":"re2"', b"(a+)+$", b"[z-a]", b"\\\\C"))

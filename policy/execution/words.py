"""An execution policy of one process in plain words, and what a reviewer should look at twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sealserve.policy.execution.environment import EnvRule
from sealserve.policy.execution.process import ExecutionPolicy


@dataclass(frozen=True)
class _Risk:
    """names: of the variables that carry it. example: one of them, to try a pattern with."""

    names: re.Pattern[str]
    example: str
    why: str


def _risk(names: str, example: str, why: str) -> _Risk:
    return _Risk(re.compile(names, re.IGNORECASE), example, why)


_RISKS = (
    _risk(r"LD_.*", "LD_PRELOAD=/tmp/x.so", "LD_*: the loader would run other code"),
    _risk(r"PYTHON.*", "PYTHONPATH=/tmp", "PYTHON*: the interpreter would run other code"),
    _risk(r"OPENSSL_.*", "OPENSSL_CONF=/tmp/x", "OPENSSL_*: OpenSSL would load other modules"),
    _risk(r"SSL_.*", "SSL_CERT_FILE=/tmp/x", "SSL_*: other certificates would be believed"),
    _risk(r"SSLKEYLOGFILE", "SSLKEYLOGFILE=/tmp/x", "SSLKEYLOGFILE: keys would go to a file"),
    _risk(r".*_PROXY", "HTTPS_PROXY=http://x", "*_PROXY: connections would go elsewhere"),
)


# Names that a pattern spells out, each where an alternative of it begins.
_SPELT_OUT = re.compile(r"(?:^|[\^|(:])([A-Za-z_][A-Za-z0-9_]*)(?=[=)|])")


def rule(entry: EnvRule) -> str:
    """One environment rule as a sentence."""
    kind = "matching" if entry.strategy == "re2" else "exactly"
    need = ", which has to be set" if entry.required else ", which may be set"
    return f"{kind} {entry.pattern}{need}"


def risks(policy: ExecutionPolicy) -> list[str]:
    """What the environment rules could let in.

    A pattern is tried with one example of each kind, and by the names it spells out: one that does
    neither, as `LD_[L]IBRARY_PATH=.*`, may pass unremarked.
    """
    return [
        f"rule {entry.pattern!r} lets in {risk.why}"
        for entry in policy.env_rules
        for risk in _RISKS
        if _lets_in(entry, risk)
    ]


def _lets_in(entry: EnvRule, risk: _Risk) -> bool:
    if entry.strategy == "re2":
        names = _SPELT_OUT.findall(entry.pattern)
        return entry.matches(risk.example) or any(risk.names.fullmatch(name) for name in names)
    return risk.names.fullmatch(entry.pattern.partition("=")[0]) is not None

"""What a text is beside what it says: which hash it has, and what a reader of it should know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import rego
from sealserve.policy.execution.framework.points import POINTS
from sealserve.policy.execution.framework.policy import PACKAGE
from sealserve.policy.execution.framework.values import Fields, items
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.policy_file import PolicyFile
from sealserve.policy.execution.rego import Module
from sealserve.policy.execution.text import NORMAL_FLAGS, PolicyText
from sealserve.policy.known import permissive_name

_ALLOWED = "allowed"


@dataclass(frozen=True)
class Named:
    """A policy's hash with everything that should be said beside it.

    known: what people call a policy of this hash. allows_everything: by its hash or its content.
    """

    policy: PolicyFile
    known: str
    allows_everything: bool
    warnings: tuple[str, ...]

    def document(self) -> Fields:
        """As JSON."""
        return {
            "sha256": self.policy.sha256.hex(),
            "form": self.policy.form,
            "group": self.policy.group,
            "known_as": self.known,
            "allows_everything": self.allows_everything,
            "warnings": list(self.warnings),
        }


def name(policy: PolicyFile) -> Named:
    """Look at any bytes: what is no policy has a hash as well, and says so."""
    known = permissive_name(policy.sha256)
    module, problem = _module(policy)
    warnings = [*problem, *([] if module is None else _of_module(module))]
    if policy.form == "text" and not known:  # elsewhere it stands as it is enforced
        warnings += [*_line_ends(policy.text), *(_pretty(module, policy.text) if module else [])]
    everything = bool(known) or (module is not None and allows_everything(module))
    return Named(policy, known, everything, tuple(warnings))


def allows_everything(module: Module) -> bool:
    """Whether no rule is left to the framework, and every point the policy names is allowed."""
    asked = [rule.value for name, rule in module.rules.items() if name in POINTS]
    return bool(asked) and all(
        isinstance(value, dict) and value.get(_ALLOWED) is True for value in asked
    )


def _module(policy: PolicyFile) -> tuple[Module | None, list[str]]:
    try:
        return rego.parse(policy.text, file=policy.file), []
    except ConfigError as error:
        where = f"line {error.line}: " if error.line else ""
        return None, [f"this is not a policy that can be read here: {where}{error.reason}"]


def _of_module(module: Module) -> list[str]:
    if module.package == PACKAGE:
        return []
    package = cut(module.package)
    return [f"this is a fragment, package {package}: no machine has its hash in HOST_DATA"]


def _line_ends(text: bytes) -> list[str]:
    bare = text.rstrip(b"\r\n")
    if bare == text or not text.strip():
        return []
    return [
        f"the text ends in {len(text) - len(bare)} line end bytes, which count; the policies that "
        f"confcom injects have none, and without them it is {hashlib.sha256(bare).hexdigest()}"
    ]


def _pretty(module: Module, text: bytes) -> list[str]:
    """confcom prints an indented form too, which has another hash and is never injected."""
    compact = _compact(module)
    if not compact or _squeezed(compact) != _squeezed(text) or compact == text.rstrip(b"\r\n"):
        return []
    return [
        "the text is indented as for reading; in the compact form that is injected, the same "
        f"policy is {hashlib.sha256(compact).hexdigest()}"
    ]


def _compact(module: Module) -> bytes:
    rules = module.rules
    flags = {
        name: rule.value
        for name, rule in rules.items()
        if name.startswith("allow_") and isinstance(rule.value, bool)
    }
    versions = [str(rules[n].value) for n in ("api_version", "framework_version") if n in rules]
    if len(versions) != 2 or not NORMAL_FLAGS.keys() <= flags.keys():
        return b""
    try:
        return PolicyText(
            containers=_objects(module, "containers"),
            fragments=_objects(module, "fragments"),
            flags={name: value is True for name, value in flags.items()},
            api_version=versions[0],
            framework_version=versions[1],
        ).encode()
    except (ConfigError, KeyError):  # a version whose layout we do not know, or not all its flags
        return b""


def _objects(module: Module, name: str) -> list[Fields]:
    rule = module.rules.get(name)
    return [item for item in items(rule.value if rule else None) if isinstance(item, dict)]


def _squeezed(text: bytes) -> bytes:
    return b"".join(text.split())

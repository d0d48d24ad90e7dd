"""Release policies: the conditions on a vault key, in Azure Key Vault's grammar, evaluated exactly.

    {"version": "1.0.0",
     "anyOf": [{"authority": "https://issuer", "allOf": [CONDITION, …]}, …]}   or "anyOf" inside
    CONDITION = {"claim": "dotted.name", "equals": text | number | true | false}
              | {"allOf": [CONDITION, …]} | {"anyOf": [CONDITION, …]}

Source: MicrosoftDocs/azure-docs includes/key-management-policy-grammar.md. A claim is compared as
JSON text: `true` is met by "true" and `0` by "0", `true` never by 1. A claim that is missing, null,
a list or an object meets nothing. Who may sign as an authority is not decided here: the claims are
those of a token that was verified for its issuer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from sealserve.native.errors import ConfigError, ReleaseError
from sealserve.policy import strict_json
from sealserve.policy.known import permissive_name

VERSION = "1.0.0"
MAX_POLICY_BYTES = 64 * 1024  # the policies of four families of projects are under 1 KiB
MAX_DEPTH = 16  # levels of JSON: five nested operators, where published policies use one
MAX_CONDITIONS = 256  # evaluation is linear in them
MAX_SHOWN = 20  # failed clauses in one message

COMPLIANT = "azure-compliant-uvm"  # x-ms-compliance-status of confidential ACI
SIMULATED_COMPLIANT = "sealserve-simulated"
SIMULATED_SUFFIX = "/simulated"

Scalar = str | int | float | bool

_AUTHORITY = re.compile(r"https://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Equals:
    """One comparison. claim: the way into nested objects, outermost name first."""

    claim: tuple[str, ...]
    value: Scalar


@dataclass(frozen=True)
class AllOf:
    """Every part has to hold; never empty."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """One part has to hold; never empty."""

    parts: tuple[Condition, ...]


Condition = Equals | AllOf | AnyOf


@dataclass(frozen=True)
class Authority:
    """What holders of this issuer's tokens have to show."""

    authority: str
    condition: AllOf | AnyOf


@dataclass(frozen=True)
class ReleasePolicy:
    """A parsed release policy: any one authority whose conditions hold suffices."""

    authorities: tuple[Authority, ...]

    @classmethod
    def parse(cls, data: bytes, *, file: str = "") -> ReleasePolicy:
        """Read a release policy; ConfigError names the place of anything outside the grammar."""
        return cls(_Reader(file).policy(data))

    def evaluate(self, claims: Mapping[str, object]) -> None:
        """Return if the claims of a verified token meet the policy.

        Raises ReleaseError otherwise; `denied` is the first clause that failed with seen and
        wanted, the message lists the others as well.
        """
        issuer = claims.get("iss")
        blocks = [entry for entry in self.authorities if _same_authority(entry.authority, issuer)]
        if not blocks:
            wanted = " or ".join(entry.authority for entry in self.authorities)
            _deny([f"authority: seen {_show(issuer)}; wanted {wanted}"])
        denials = [list(_failures(entry.condition, claims)) for entry in blocks]
        if all(denials):
            _deny([clause for failures in denials for clause in failures])


def build(authority: str, host_data_hex: str, *, simulated: bool) -> bytes:
    """Write the release policy for one execution policy on one attestation service.

    authority: the issuer of the tokens, https; it ends in `/simulated` exactly if `simulated`.
    host_data_hex: SHA-256 of the execution policy. Raises ConfigError for an authority that does
    not fit, or for an execution policy known to allow everything.
    """
    issuer = _normal(authority)
    _check_authority(issuer, simulated)
    _check_host_data(host_data_hex)
    wanted: Mapping[str, str] = {
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": SIMULATED_COMPLIANT if simulated else COMPLIANT,
        "x-ms-sevsnpvm-hostdata": host_data_hex,
        "x-ms-sevsnpvm-is-debuggable": "false",
        "x-ms-sevsnpvm-vmpl": "0",
    }
    conditions = [{"claim": claim, "equals": value} for claim, value in wanted.items()]
    policy = {"version": VERSION, "anyOf": [{"authority": issuer, "allOf": conditions}]}
    return json.dumps(policy, separators=(",", ":")).encode("ascii")


@dataclass
class _Reader:
    """Turns JSON into conditions and says where it stopped."""

    file: str
    conditions: int = 0

    def policy(self, data: bytes) -> tuple[Authority, ...]:
        top = self.members(self.json(data), "", {"version", "anyOf"})
        if top["version"] != VERSION:
            self.fail("version", f"seen {_show(top['version'])}; {VERSION!r} is understood")
        return tuple(
            self.authority(entry, f"anyOf[{index}]")
            for index, entry in enumerate(self.entries(top["anyOf"], "anyOf"))
        )

    def json(self, data: bytes) -> object:
        if len(data) > MAX_POLICY_BYTES:
            self.fail("", f"a release policy of {len(data)} bytes; at most {MAX_POLICY_BYTES}")
        try:
            return strict_json.loads(data.decode("utf-8"), max_depth=MAX_DEPTH)
        except ValueError as error:
            self.fail("", f"not a JSON text we read: {error}")

    def authority(self, value: object, where: str) -> Authority:
        block = self.one_operator(value, where, {"authority"})
        issuer = block["authority"]
        if not isinstance(issuer, str) or not _AUTHORITY.fullmatch(issuer):
            self.fail(f"{where}.authority", f"seen {_show(issuer)}; expected an https URL")
        return Authority(issuer, self.combination(block, where))

    def condition(self, value: object, where: str) -> Condition:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            self.fail(where, f"more than {MAX_CONDITIONS} conditions")
        if isinstance(value, dict) and ("claim" in value or "equals" in value):
            return self.equals(self.members(value, where, {"claim", "equals"}), where)
        return self.combination(self.one_operator(value, where, set()), where)

    def combination(self, block: Mapping[str, object], where: str) -> AllOf | AnyOf:
        name = "anyOf" if "anyOf" in block else "allOf"
        parts = tuple(
            self.condition(part, f"{where}.{name}[{index}]")
            for index, part in enumerate(self.entries(block[name], f"{where}.{name}"))
        )
        return AnyOf(parts) if name == "anyOf" else AllOf(parts)

    def equals(self, value: Mapping[str, object], where: str) -> Equals:
        claim, wanted = value["claim"], value["equals"]
        if not isinstance(claim, str) or not all(claim.split(".")):
            self.fail(f"{where}.claim", f"seen {_show(claim)}; expected names joined by dots")
        if not isinstance(wanted, Scalar):
            self.fail(f"{where}.equals", f"seen {_show(wanted)}; expected text, number or boolean")
        return Equals(tuple(claim.split(".")), wanted)

    def one_operator(self, value: object, where: str, others: set[str]) -> Mapping[str, object]:
        """An object with exactly one of allOf and anyOf beside `others`."""
        name = "anyOf" if isinstance(value, dict) and "anyOf" in value else "allOf"
        return self.members(value, where, {name, *others})

    def members(self, value: object, where: str, keys: set[str]) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self.fail(where, f"seen {_show(value)}; expected an object")
        if value.keys() != keys:
            self.fail(
                where,
                f"seen the members {_names(value) or 'none'}; "
                f"expected exactly {', '.join(sorted(keys))}",
            )
        return value

    def entries(self, value: object, where: str) -> Sequence[object]:
        if not isinstance(value, list) or not value:
            self.fail(where, f"seen {_show(value)}; expected a list that is not empty")
        return value

    def fail(self, where: str, message: str) -> NoReturn:
        raise ConfigError(message, file=self.file, key=where)


def _failures(condition: Condition, claims: Mapping[str, object]) -> Iterator[str]:
    """The clauses that keep `condition` from holding; none if it holds."""
    if isinstance(condition, Equals):
        seen = _claim(claims, condition.claim)
        if _text(seen) != _text(condition.value):
            name = ".".join(condition.claim)
            yield f"{name}: seen {_show(seen)}; wanted {_wanted(condition.value, seen)}"
        return
    failures = [list(_failures(part, claims)) for part in condition.parts]
    if isinstance(condition, AllOf) or all(failures):
        yield from (clause for clauses in failures for clause in clauses)


class _Missing:
    """Stands where a claim is not."""


_MISSING = _Missing()


def _claim(claims: Mapping[str, object], path: Sequence[str]) -> object:
    value: object = claims
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _text(value: object) -> str | None:
    """JSON text of a scalar, text itself unquoted; None for what can meet nothing."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, Scalar) else None


def _show(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _wanted(value: object, seen: object) -> str:
    """Quoted as what was seen is: policies write `"false"` where a token says `false`."""
    if isinstance(seen, str):
        return _show(_text(value))
    same = isinstance(value, str) and isinstance(seen, Scalar)
    return _show(value)[1:-1] if same else _show(value)


def _names(value: Mapping[str, object]) -> str:
    """The members of somebody's object: escaped, and no more of them than a line takes."""
    return json.dumps(", ".join(sorted(value)))[1:-1][:200]


def _deny(clauses: Sequence[str]) -> NoReturn:
    more = len(clauses) - MAX_SHOWN
    shown = [*clauses[:MAX_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    listed = "\n".join(f"  - {clause}" for clause in shown)
    raise ReleaseError(
        f"the release policy does not allow this:\n{listed}",
        denied=clauses[0],
        hint="the key's owner decides: a new execution policy needs a new release policy",
    )


def _same_authority(authority: str, issuer: object) -> bool:
    return isinstance(issuer, str) and _normal(issuer) == _normal(authority)


def _normal(authority: str) -> str:
    """Policies and tokens in the field differ in one trailing slash."""
    return authority.removesuffix("/")


def _check_authority(issuer: str, simulated: bool) -> None:
    if not _AUTHORITY.fullmatch(issuer):
        raise ConfigError(f"seen {issuer!r}; expected an https URL", key="authority")
    if issuer.endswith(SIMULATED_SUFFIX) != simulated:
        kind = "simulated" if simulated else "real"
        rule = "ends" if simulated else "does not end"
        raise ConfigError(
            f"seen {issuer!r}; the issuer of a {kind} platform {rule} in {SIMULATED_SUFFIX}",
            key="authority",
            hint="simulated and real never mix: use the attestation service of this platform",
        )


def _check_host_data(host_data_hex: str) -> None:
    if not _SHA256.fullmatch(host_data_hex):
        raise ValueError(f"host_data_hex {host_data_hex!r} is not 64 lower-case hex digits")
    if name := permissive_name(bytes.fromhex(host_data_hex)):
        raise ConfigError(
            f"host data {host_data_hex} is {name}",
            key="x-ms-sevsnpvm-hostdata",
            hint="a key under it would go to anything; write a policy for what should run",
        )

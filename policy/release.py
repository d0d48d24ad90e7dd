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

from sealserve.native.errors import ConfigError, Finding, ReleaseError, printable
from sealserve.policy import strict_json

VERSION = "1.0.0"
MAX_POLICY_BYTES = 64 * 1024  # the policies of four families of projects are under 1 KiB
MAX_DEPTH = 16  # levels of JSON: five nested operators, where published policies use one
MAX_CONDITIONS = 256  # evaluation is linear in them
MAX_SHOWN = 20  # failed clauses in one message
MAX_SHOWN_CHARACTERS = 200  # of a claim's name or value

Scalar = str | int | float | bool

_AUTHORITY = re.compile(r"https://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")


@dataclass(frozen=True)
class Equals:
    """One comparison. claim: the way into nested objects, outermost name first."""

    claim: tuple[str, ...]
    value: Scalar

    @property
    def name(self) -> str:
        """The claim as policies write it: names joined by dots."""
        return ".".join(self.claim)


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

    def unmet(self, claims: Mapping[str, object]) -> tuple[Finding, ...]:
        """Every clause that keeps the claims of a verified token from meeting the policy.

        None if they meet it. A finding's code is the claim, or `authority`.
        """
        issuer = claims.get("iss")
        blocks = [entry for entry in self.authorities if same_authority(entry.authority, issuer)]
        if not blocks:
            wanted = " or ".join(entry.authority for entry in self.authorities)
            return (Finding("authority", shown(issuer), wanted[:1000]),)
        unmet = [list(_unmet(entry.condition, claims)) for entry in blocks]
        return tuple(clause for clauses in unmet for clause in clauses) if all(unmet) else ()

    def evaluate(self, claims: Mapping[str, object]) -> None:
        """Return if the claims of a verified token meet the policy.

        Raises ReleaseError otherwise; `denied` is the first clause that failed with seen and
        wanted, the message lists the others as well.
        """
        unmet = self.unmet(claims)
        if unmet:
            _deny(unmet)


def is_authority(text: str) -> bool:
    """Whether this can be an issuer of tokens: an https URL without user, query and fragment."""
    return _AUTHORITY.fullmatch(text) is not None


def normal(authority: str) -> str:
    """Policies and tokens in the field differ in one trailing slash."""
    return authority.removesuffix("/")


def same_authority(authority: str, issuer: object) -> bool:
    """Whether a token's `iss` is this authority."""
    return isinstance(issuer, str) and normal(issuer) == normal(authority)


def read_json(data: bytes, file: str) -> object:
    """The JSON of a release policy, not looked into yet. Raises ConfigError."""
    if len(data) > MAX_POLICY_BYTES:
        raise ConfigError(
            f"a release policy of {len(data)} bytes; at most {MAX_POLICY_BYTES}", file=file
        )
    try:
        return strict_json.loads(data.decode("utf-8"), max_depth=MAX_DEPTH)
    except ValueError as error:
        raise ConfigError(f"not a JSON text we read: {error}", file=file) from None


@dataclass
class _Reader:
    """Turns JSON into conditions and says where it stopped."""

    file: str
    conditions: int = 0

    def policy(self, data: bytes) -> tuple[Authority, ...]:
        top = self.members(read_json(data, self.file), "", {"version", "anyOf"})
        if top["version"] != VERSION:
            self.fail("version", f"seen {shown(top['version'])}; {VERSION!r} is understood")
        return tuple(
            self.authority(entry, f"anyOf[{index}]")
            for index, entry in enumerate(self.entries(top["anyOf"], "anyOf"))
        )

    def authority(self, value: object, where: str) -> Authority:
        block = self.one_operator(value, where, {"authority"})
        issuer = block["authority"]
        if not isinstance(issuer, str) or not is_authority(issuer):
            self.fail(f"{where}.authority", f"seen {shown(issuer)}; expected an https URL")
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
            self.fail(f"{where}.claim", f"seen {shown(claim)}; expected names joined by dots")
        if not isinstance(wanted, Scalar):
            self.fail(f"{where}.equals", f"seen {shown(wanted)}; expected text, number or boolean")
        return Equals(tuple(claim.split(".")), wanted)

    def one_operator(self, value: object, where: str, others: set[str]) -> Mapping[str, object]:
        """An object with exactly one of allOf and anyOf beside `others`."""
        name = "anyOf" if isinstance(value, dict) and "anyOf" in value else "allOf"
        return self.members(value, where, {name, *others})

    def members(self, value: object, where: str, keys: set[str]) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self.fail(where, f"seen {shown(value)}; expected an object")
        if value.keys() != keys:
            self.fail(
                where,
                f"seen the members {escaped(', '.join(sorted(value))) or 'none'}; "
                f"expected exactly {', '.join(sorted(keys))}",
            )
        return value

    def entries(self, value: object, where: str) -> Sequence[object]:
        if not isinstance(value, list) or not value:
            self.fail(where, f"seen {shown(value)}; expected a list that is not empty")
        return value

    def fail(self, where: str, message: str) -> NoReturn:
        raise ConfigError(message, file=self.file, key=where)


def _unmet(condition: Condition, claims: Mapping[str, object]) -> Iterator[Finding]:
    """The clauses that keep `condition` from holding; none if it holds."""
    if isinstance(condition, Equals):
        seen = _claim(claims, condition.claim)
        if json_text(seen) != json_text(condition.value):
            yield Finding(escaped(condition.name), shown(seen), _wanted(condition.value, seen))
        return
    unmet = [list(_unmet(part, claims)) for part in condition.parts]
    if isinstance(condition, AllOf) or all(unmet):
        yield from (clause for clauses in unmet for clause in clauses)


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


def json_text(value: object) -> str | None:
    """JSON text of a scalar, text itself unquoted; None for what can meet nothing."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, Scalar) else None


def shown(value: object) -> str:
    """A claim's value, or a policy's, for a message: escaped and cut."""
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return _cut(printable(json.dumps(value)))


def escaped(text: str) -> str:
    """Somebody's words for a message: on one line, and no more than it takes."""
    return _cut(printable(text))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def _wanted(value: object, seen: object) -> str:
    """Quoted as what was seen is: policies write `"false"` where a token says `false`."""
    if isinstance(seen, str):
        return shown(json_text(value))
    same = isinstance(value, str) and isinstance(seen, Scalar)
    return shown(value)[1:-1] if same else shown(value)


def _deny(unmet: Sequence[Finding]) -> NoReturn:
    more = len(unmet) - MAX_SHOWN
    clauses = [str(finding) for finding in unmet[:MAX_SHOWN]]
    listed = [*clauses, *([f"and {more} more"] if more > 0 else [])]
    raise ReleaseError(
        "\n".join(["the release policy does not allow this:", *(f"  - {each}" for each in listed)]),
        denied=clauses[0],
        hint="the key's owner decides: a new execution policy needs a new release policy",
    )

"""Writes a trust file: every expectation with a word on what it is, in the order people read it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from sealserve.attestation.tcb import Line
from sealserve.policy import floors, revocation
from sealserve.policy.expectations import Kind, MeasuredLaunch, Noted, UvmLaunch

_APPROVED = "# What we expect of a server. Every line was somebody's decision: no defaults."


def trust_text(
    *,
    name: str,
    kind: Kind,
    simulated_root_sha256: str,
    lines: Sequence[Line],
    launch: UvmLaunch | MeasuredLaunch,
    policies: Sequence[Noted],
    models: Mapping[str, Sequence[str]],
    expires: datetime.date | None = None,
    vlek_providers: Sequence[str] = (),
    remarks: Sequence[str] = (),
    head: Sequence[str] = (_APPROVED,),
) -> str:
    """The text of a trust file that `Trust.parse` reads.

    simulated_root_sha256: for kind "simulated" alone. policies: none at all is written as "none".
    models: roots (hex) by name. remarks: one line each, on the hardware. head: the first lines.
    Nothing is checked here: parse what comes back.
    """
    parts = [
        *head,
        "version = 1",
        f"name = {_quoted(name)}",
    ]
    if expires is not None:
        parts.append(f"expires = {expires}  # refused afterwards: review it before")
    parts += ["", "[platform]", f"kind = {_quoted(kind)}"]
    if kind == "simulated":
        parts.append("# A simulated root: whoever holds it can sign anything. Proves no hardware.")
        parts.append(f"simulated_root_sha256 = {_quoted(simulated_root_sha256)}")
    parts += (
        _hardware(lines, vlek_providers, remarks)
        + _launch(launch)
        + _software(policies)
        + _models(models)
    )
    return "\n".join(parts) + "\n"


def _hardware(
    lines: Sequence[Line], vlek_providers: Sequence[str], remarks: Sequence[str]
) -> list[str]:
    providers = [f"vlek_providers = [{_list(vlek_providers)}]"] if vlek_providers else []
    return [
        "",
        "[hardware]",
        f"lines = [{_list(lines)}]",
        *providers,
        *(f"# {remark}" for remark in remarks),
        f"max_crl_age_days = {revocation.RECOMMENDED_DAYS}  # AMD makes a list about once a year",
        "minimum_report_version = 3  # older reports tell neither model nor alias check",
        *floors.toml(lines),
    ]


def _launch(launch: UvmLaunch | MeasuredLaunch) -> list[str]:
    parts = ["", "[launch]  # firmware and guest image"]
    if isinstance(launch, UvmLaunch):
        return [
            *parts,
            f"uvm_issuer = {_quoted(launch.issuer)}",
            f"uvm_feed = {_quoted(launch.feed)}",
            f"uvm_minimum_svn = {launch.minimum_svn}",
        ]
    return [*parts, "measurements = [", *_digests(launch.measurements, "sha384"), "]"]


def _software(policies: Sequence[Noted]) -> list[str]:
    parts = ["", "[software]  # execution policies: what may run (HOST_DATA)"]
    if not policies:
        return [*parts, 'policies = "none"  # on purpose: anything may run']
    return [*parts, "policies = [", *_digests(policies, "sha256"), "]"]


def _models(models: Mapping[str, Sequence[str]]) -> list[str]:
    parts = []
    for name, roots in models.items():
        parts += ["", f"[models.{_quoted(name)}]", f"roots = [{_list(roots)}]"]
    return parts


def _digests(entries: Sequence[Noted], key: str) -> list[str]:
    return [
        f"  {{ {key} = {_quoted(entry.digest.hex())}"
        + (f", note = {_quoted(entry.note)}" if entry.note else "")
        + " },"
        for entry in entries
    ]


def _list(texts: Sequence[str]) -> str:
    return ", ".join(_quoted(text) for text in texts)


def _quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, String)."""
    escaped = "".join(_escaped(character) for character in text)
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\u{ord(character):04x}"
    return character

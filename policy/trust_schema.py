"""The rules of a trust file: what each section may say, and what it has to.

Everything a verifier needs is written down or the file does not load. Keys that loosen a check
stand in [danger] alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from sealserve.attestation.roots import ARK_SHA256
from sealserve.attestation.tcb import CHIP_ID_BYTES, LINES, Line, Tcb, line_of
from sealserve.policy.expectations import (
    NO_POLICY,
    Danger,
    Hardware,
    Kind,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
)
from sealserve.policy.known import permissive_name
from sealserve.policy.toml_table import Table, Value, shown

VERSION = 1
KINDS = ("aci", "snp", "simulated")
MAX_CRL_AGE_DAYS = 3660  # ten years: whoever writes more means "never", which is not offered
MAX_SVN = 2**31 - 1  # svn of an endorsement, a number that every writer can hold

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # models/SPEC.md, section 1
_OVERRIDE = re.compile(r"([a-z]+)-([0-9a-f]{2})")
_FAMILY: Mapping[Line, int] = {"milan": 0x19, "genoa": 0x19, "turin": 0x1A}
_CHIP_BYTES = max(CHIP_ID_BYTES.values())
_UVM_KEYS = ("uvm_issuer", "uvm_feed", "uvm_minimum_svn")


def check_top(top: Table) -> None:
    """Refuse a file that is unapproved, of another version, or with sections missing or unknown."""
    if "claimed_not_approved" in top:
        top.fail(
            "claimed_not_approved",
            "these values were claimed by a machine and nobody has approved them",
            hint="compare every value with what its owner published, then delete this line",
        )
    if "version" in top and top["version"].integer(0, MAX_SVN) != VERSION:
        top.fail(
            "version", f"seen {shown(top['version'].raw)}; this sealserve reads version {VERSION}"
        )
    top.expect(
        ("version", "name", "platform", "hardware", "launch", "software", "models"),
        ("expires", "danger"),
    )


def platform(section: Table) -> tuple[Kind, bytes | None]:
    """The kind of platform, and the simulated root's SHA-256 exactly if it is simulated."""
    section.expect(("kind",), ("simulated_root_sha256",))
    kind = cast(Kind, section["kind"].choice(KINDS))
    if kind == "simulated":
        section.expect(("kind", "simulated_root_sha256"))
        root = section["simulated_root_sha256"].digest(32)
        if root.hex() in ARK_SHA256.values():
            section.fail("simulated_root_sha256", "this is a root of AMD's, not a simulated one")
        return kind, root
    if "simulated_root_sha256" in section:
        section.fail(
            "simulated_root_sha256",
            f'forbidden for kind = "{kind}"',
            hint="simulated and real never mix: one trust file each",
        )
    return kind, None


def hardware(section: Table) -> Hardware:
    """Lines, TCB floors, age of revocation lists; optionally chips and VLEK providers."""
    section.expect(("lines", "max_crl_age_days", "tcb"), ("chips", "vlek_providers"))
    lines = section["lines"].distinct(_line)
    return Hardware(
        lines=lines,
        floors=_floors(section["tcb"].table(), lines),
        max_crl_age_days=section["max_crl_age_days"].integer(1, MAX_CRL_AGE_DAYS),
        chips=_chips(section, lines),
        vlek_providers=(
            section["vlek_providers"].distinct(Value.words) if "vlek_providers" in section else ()
        ),
    )


def launch(section: Table, kind: Kind) -> UvmLaunch | MeasuredLaunch:
    """Exactly one of an endorsement's issuer, feed and SVN, or pinned measurements."""
    section.expect((), (*_UVM_KEYS, "measurements"))
    endorsed = any(key in section for key in _UVM_KEYS)
    if endorsed and "measurements" in section:
        section.fail("measurements", "uvm_* and measurements exclude each other")
    if not endorsed and "measurements" not in section:
        section.fail(
            "measurements",
            "missing, and so is an endorsement: one of both says what may be launched",
            hint="measurements = [{ sha384 = … }], or uvm_issuer, uvm_feed and uvm_minimum_svn",
        )
    if not endorsed:
        if kind == "aci":
            section.fail(
                "measurements",
                'not for kind = "aci"',
                hint="confidential containers get new measurements with every update of the "
                "platform: name the endorsement with uvm_issuer, uvm_feed, uvm_minimum_svn",
            )
        return MeasuredLaunch(section["measurements"].distinct(lambda v: _noted(v, "sha384", 48)))
    section.expect(_UVM_KEYS)
    issuer = section["uvm_issuer"].words()
    if not issuer.startswith("did:x509:0:"):
        section.fail("uvm_issuer", f"seen {issuer[:40]!r}; expected a did:x509")
    return UvmLaunch(
        issuer, section["uvm_feed"].words(), section["uvm_minimum_svn"].integer(0, MAX_SVN)
    )


def software(section: Table, kind: Kind) -> tuple[Noted, ...]:
    """The execution policies that may be in HOST_DATA; `"none"` is all zero, on purpose."""
    section.expect(("policies",))
    policies = section["policies"]
    if policies.raw != "none":
        return policies.distinct(_policy)
    if kind == "aci":
        policies.fail(
            '"none" is not for kind = "aci"',
            hint="there the policy alone says which containers run",
        )
    return (Noted(NO_POLICY, "no execution policy"),)


def models(section: Table) -> Mapping[str, tuple[bytes, ...]]:
    """The accepted roots by model name, at least one model."""
    if not list(section):
        section.document.fail(section.path, "no model; expected [models.NAME] with roots")
    roots = {}
    for name in section:
        if not _MODEL_NAME.fullmatch(name):
            section.fail(name, "not a model's name: letters, digits, '.', '_', '-'; at most 128")
        model = section[name].table()
        model.expect(("roots",))
        roots[name] = model["roots"].distinct(lambda value: value.digest(32))
    return roots


def danger(section: Table) -> Danger:
    """The checks a person has switched off."""
    section.expect((), ("allow_debug", "allow_migration", "allow_vmpl", "without_nonce"))
    return Danger(
        allow_debug=_flag(section, "allow_debug"),
        allow_migration=_flag(section, "allow_migration"),
        allow_vmpl=(
            section["allow_vmpl"].distinct(lambda value: value.integer(1, 3))
            if "allow_vmpl" in section
            else ()
        ),
        without_nonce=_flag(section, "without_nonce"),
    )


def _flag(section: Table, key: str) -> bool:
    return key in section and section[key].boolean()


def _line(value: Value) -> Line:
    return cast(Line, value.choice(LINES))


def _floors(section: Table, lines: tuple[Line, ...]) -> Mapping[str, Tcb]:
    section.expect(lines, [name for name in section if _override_of(name) in lines])
    return {name: _tcb(section[name].table(), _override_of(name)) for name in section}


def _override_of(name: str) -> Line | None:
    """The line a table is for: `genoa`, or `genoa-a0` whose model belongs to that line."""
    if name in LINES:
        return name
    match = _OVERRIDE.fullmatch(name)
    if match is None or match[1] not in LINES:
        return None
    line = cast(Line, match[1])
    return line if line_of(_FAMILY[line], int(match[2], 16)) == line else None


def _tcb(section: Table, line: Line | None) -> Tcb:
    components = ["bootloader", "tee", "snp", "microcode", *(["fmc"] if line == "turin" else [])]
    section.expect(components)
    return Tcb(**{name: section[name].integer(0, 255) for name in components})


def _chips(section: Table, lines: tuple[Line, ...]) -> tuple[bytes, ...]:
    if "chips" not in section:
        return ()
    sizes = sorted({CHIP_ID_BYTES[line] for line in lines}, reverse=True)
    return section["chips"].distinct(lambda value: _chip(value, sizes))


def _chip(value: Value, sizes: list[int]) -> bytes:
    chip = value.digest(*sizes)
    if not any(chip):
        value.fail("all zero is what a masked chip shows, not a chip")
    return chip.ljust(_CHIP_BYTES, b"\0")


def _noted(value: Value, key: str, size: int) -> Noted:
    table = value.table()
    table.expect((key,), ("note",))
    return Noted(table[key].digest(size), table["note"].words() if "note" in table else "")


def _policy(value: Value) -> Noted:
    noted = _noted(value, "sha256", 32)
    if noted.digest == NO_POLICY:
        value.fail("all zero means no policy", hint='if that is meant, write policies = "none"')
    if name := permissive_name(noted.digest):
        value.fail(
            f"this is {name}",
            hint="everything is allowed to run under it, so accepting it checks nothing",
        )
    return noted

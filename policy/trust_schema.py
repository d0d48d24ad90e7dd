"""The rules of a trust file: what each section may say, and what it has to.

Everything a verifier needs is written down or the file does not load. Keys that loosen a check
stand in [danger] alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from sealserve.attestation.report import ACCEPTED_VERSIONS, Firmware
from sealserve.attestation.roots import ARK_SHA256
from sealserve.attestation.tcb import CHIP_ID_BYTES, LINES, Line, Tcb, line_of
from sealserve.policy.expectations import (
    GUEST_POLICY_BITS,
    NO_POLICY,
    PLATFORM_INFO_BITS,
    Bits,
    Danger,
    Guest,
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
MAX_MITIGATIONS = 2**63 - 1  # a mitigation vector has 64 bits, a TOML integer holds 63 of them
MAX_SVN = 2**31 - 1  # svn of an endorsement, a number that every writer can hold

T = TypeVar("T")

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # models/SPEC.md, section 1
_OVERRIDE = re.compile(r"([a-z]+)-([0-9a-f]{2})")
_FAMILY: Mapping[Line, int] = {"milan": 0x19, "genoa": 0x19, "turin": 0x1A}
_REPORT_VERSIONS = (ACCEPTED_VERSIONS[0], ACCEPTED_VERSIONS[-1])
_CHIP_BYTES = max(CHIP_ID_BYTES.values())
_UVM_KEYS = ("uvm_issuer", "uvm_feed", "uvm_minimum_svn")
_GUEST_KEYS = ("guest_policy_set", "guest_policy_clear", "id_keys", "author_keys")
_HARDWARE_KEYS = (
    "chips",
    "denied_chips",
    "vlek_providers",
    "floor_at_launch",
    "minimum_firmware",
    "minimum_report_version",
    "mitigations",
    "platform_info_set",
    "platform_info_clear",
)
_DANGER_KEYS = ("allow_debug", "allow_migration", "allow_cxl", "allow_vmpl", "without_nonce")


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
    """Lines, TCB floors, age of revocation lists; the rest is asked for only where it stands."""
    section.expect(("lines", "max_crl_age_days", "tcb"), _HARDWARE_KEYS)
    lines = section["lines"].distinct(_line)
    chips, denied = _chips(section, "chips", lines), _chips(section, "denied_chips", lines)
    for chip in chips:
        if chip in denied:
            section.fail("denied_chips", f"{chip.hex()[:16]}… also stands in chips")
    return Hardware(
        lines=lines,
        floors=_floors(section["tcb"].table(), lines),
        max_crl_age_days=section["max_crl_age_days"].integer(1, MAX_CRL_AGE_DAYS),
        chips=chips,
        denied_chips=denied,
        vlek_providers=_listed(section, "vlek_providers", Value.words),
        floor_at_launch=_flag(section, "floor_at_launch"),
        minimum_firmware=(
            _firmware(section["minimum_firmware"]) if "minimum_firmware" in section else None
        ),
        minimum_report_version=_number(section, "minimum_report_version", *_REPORT_VERSIONS),
        mitigations=_number(section, "mitigations", 0, MAX_MITIGATIONS),
        platform_info=_bits(section, "platform_info", PLATFORM_INFO_BITS),
    )


def launch(section: Table, kind: Kind) -> UvmLaunch | MeasuredLaunch:
    """Exactly one of an endorsement's issuer, feed and SVN, or pinned measurements."""
    section.expect((), (*_UVM_KEYS, "measurements", *_GUEST_KEYS))
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
    section.expect(_UVM_KEYS, _GUEST_KEYS)
    issuer = section["uvm_issuer"].words()
    if not issuer.startswith("did:x509:0:"):
        section.fail("uvm_issuer", f"seen {issuer[:40]!r}; expected a did:x509")
    return UvmLaunch(
        issuer, section["uvm_feed"].words(), section["uvm_minimum_svn"].integer(0, MAX_SVN)
    )


def guest(section: Table) -> Guest:
    """What a launch has to look like beside its measurement, as far as the file says."""
    return Guest(
        policy=_bits(section, "guest_policy", GUEST_POLICY_BITS),
        id_keys=_listed(section, "id_keys", _key_digest),
        author_keys=_listed(section, "author_keys", _key_digest),
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
    section.expect((), _DANGER_KEYS)
    return Danger(
        allow_debug=_flag(section, "allow_debug"),
        allow_migration=_flag(section, "allow_migration"),
        allow_cxl=_flag(section, "allow_cxl"),
        allow_vmpl=_listed(section, "allow_vmpl", lambda value: value.integer(1, 3)),
        without_nonce=_flag(section, "without_nonce"),
    )


def _flag(section: Table, key: str) -> bool:
    return key in section and section[key].boolean()


def _number(section: Table, key: str, low: int, high: int) -> int:
    """`low` is what asks for nothing."""
    return section[key].integer(low, high) if key in section else low


def _listed(section: Table, key: str, convert: Callable[[Value], T]) -> tuple[T, ...]:
    return section[key].distinct(convert) if key in section else ()


def _bits(section: Table, name: str, known: tuple[str, ...]) -> Bits:
    """The keys NAME_set and NAME_clear; a bit cannot be asked to be both."""
    wanted = Bits(
        *(
            _listed(section, f"{name}_{state}", lambda v: v.choice(known))
            for state in ("set", "clear")
        )
    )
    for bit in wanted.set:
        if bit in wanted.clear:
            section.fail(f"{name}_clear", f"{bit} also stands in {name}_set")
    return wanted


def _firmware(value: Value) -> Firmware:
    text = value.words()
    try:
        return Firmware.of(text)
    except ValueError:
        value.fail(f"seen {shown(text)}; expected MAJOR.MINOR.BUILD, each at most 255")


def _key_digest(value: Value) -> bytes:
    digest = value.digest(48)
    if not any(digest):
        value.fail("all zero is what a launch without an ID block shows, not a key")
    return digest


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


def _chips(section: Table, key: str, lines: tuple[Line, ...]) -> tuple[bytes, ...]:
    sizes = sorted({CHIP_ID_BYTES[line] for line in lines}, reverse=True)
    return _listed(section, key, lambda value: _chip(value, sizes))


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

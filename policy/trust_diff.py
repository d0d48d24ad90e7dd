"""What one trust file accepts and another does not: their difference in meaning, one way.

Names and notes mean nothing to a machine, nor does `aci` against `snp`, which only says how the
file may be written. Asked both ways, no answer at all means that both accept the same machines.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sealserve.attestation.tcb import Line, Tcb
from sealserve.policy.expectations import (
    NO_POLICY,
    Bits,
    Hardware,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
    days,
)
from sealserve.policy.trust import Trust


@dataclass(frozen=True)
class Beyond:
    """What is accepted although the other file does not accept it.

    key: of the file. accepted: the value, or what it lets through. wanted: what the other file asks
    for, "" where it just does not list this.
    """

    key: str
    accepted: str
    wanted: str = ""


Found = Iterator[Beyond]
T = TypeVar("T")


def beyond(one: Trust, other: Trust) -> tuple[Beyond, ...]:
    """Everything that `one` accepts and `other` does not, in the order of the file."""
    return tuple(found for compare in _COMPARED for found in compare(one, other))


def _expires(one: Trust, other: Trust) -> Found:
    last = other.expires
    if last is not None and (one.expires is None or one.expires > last):
        yield Beyond("expires", _until(one.expires), f"no use after {last}")


def _until(expires: datetime.date | None) -> str:
    return "for ever" if expires is None else f"until {expires}"


def _platform(one: Trust, other: Trust) -> Found:
    if one.simulated_root_sha256 != other.simulated_root_sha256:
        yield Beyond("platform", _maker(one), _maker(other))


def _maker(trust: Trust) -> str:
    root = trust.simulated_root_sha256
    return "AMD hardware" if root is None else f"the simulated root {root.hex()}"


def _lines(one: Trust, other: Trust) -> Found:
    yield from _unlisted("hardware.lines", one.hardware.lines, other.hardware.lines, str)


def _floors(one: Trust, other: Trust) -> Found:
    for line in one.hardware.lines:
        if line in other.hardware.lines:
            for table in _tables(line, one.hardware, other.hardware):
                yield from _lower(table, _floor(one, line, table), _floor(other, line, table))


def _tables(line: Line, *hardware: Hardware) -> list[str]:
    named = {name for each in hardware for name in each.floors if name.startswith(f"{line}-")}
    return [line, *sorted(named)]


def _floor(trust: Trust, line: Line, table: str) -> Tcb:
    return trust.hardware.floors.get(table, trust.hardware.floors[line])


def _lower(table: str, one: Tcb, other: Tcb) -> Found:
    least = other.components()
    for name, level in one.components().items():
        if level < least[name]:
            yield Beyond(f"hardware.tcb.{table}", f"{name} {level}", f"at least {least[name]}")


def _firmware(one: Trust, other: Trust) -> Found:
    mine, theirs = one.hardware, other.hardware
    if theirs.floor_at_launch and not mine.floor_at_launch:
        yield Beyond("hardware.floor_at_launch", "any firmware at launch", "the floors at launch")
    least = theirs.minimum_firmware
    if least is not None and (mine.minimum_firmware is None or mine.minimum_firmware < least):
        accepted = f"SEV firmware {mine.minimum_firmware or 'of any version'}"
        yield Beyond("hardware.minimum_firmware", accepted, f"at least {least}")
    if missing := theirs.mitigations & ~mine.mitigations:
        yield Beyond("hardware.mitigations", "machines without these", f"0x{missing:x}")
    if mine.minimum_report_version < theirs.minimum_report_version:
        yield Beyond(
            "hardware.minimum_report_version",
            f"version {mine.minimum_report_version}",
            f"at least {theirs.minimum_report_version}",
        )


def _platform_info(one: Trust, other: Trust) -> Found:
    yield from _bits(
        "hardware.platform_info", one.hardware.platform_info, other.hardware.platform_info
    )


def _bits(key: str, one: Bits, other: Bits) -> Found:
    for bit in other.set:
        if bit not in one.set:
            yield Beyond(f"{key}_set", f"{bit} clear", f"{bit} set")
    for bit in other.clear:
        if bit not in one.clear:
            yield Beyond(f"{key}_clear", f"{bit} set", f"{bit} clear")


def _revocation(one: Trust, other: Trust) -> Found:
    most = other.hardware.max_crl_age_days
    if one.hardware.max_crl_age_days > most:
        accepted = f"a list {days(one.hardware.max_crl_age_days)} old"
        yield Beyond("hardware.max_crl_age_days", accepted, f"at most {most}")


def _chips(one: Trust, other: Trust) -> Found:
    mine, theirs = one.hardware, other.hardware
    yield from _allowed("hardware.chips", "any chip", mine.chips, theirs.chips)
    for chip in theirs.denied_chips:
        if chip not in mine.denied_chips and (chip in mine.chips or not mine.chips):
            yield Beyond("hardware.denied_chips", chip.hex(), "it denied")


def _providers(one: Trust, other: Trust) -> Found:
    yield from _unlisted(
        "hardware.vlek_providers", one.hardware.vlek_providers, other.hardware.vlek_providers, str
    )


def _launch(one: Trust, other: Trust) -> Found:
    mine, theirs = one.launch, other.launch
    if isinstance(mine, MeasuredLaunch) and isinstance(theirs, MeasuredLaunch):
        yield from _unlisted("launch.measurements", mine.measurements, theirs.measurements, _noted)
    elif _is_newer(mine, theirs):
        return
    else:
        yield Beyond("launch", _launched(mine), _launched(theirs))


def _is_newer(one: UvmLaunch | MeasuredLaunch, other: UvmLaunch | MeasuredLaunch) -> bool:
    return (
        isinstance(one, UvmLaunch)
        and isinstance(other, UvmLaunch)
        and (one.issuer, one.feed) == (other.issuer, other.feed)
        and one.minimum_svn >= other.minimum_svn
    )


def _launched(launch: UvmLaunch | MeasuredLaunch) -> str:
    if isinstance(launch, MeasuredLaunch):
        return "a measurement of " + " or ".join(_noted(known) for known in launch.measurements)
    return f"version {launch.minimum_svn} or later of {launch.feed} by {launch.issuer}"


def _guest(one: Trust, other: Trust) -> Found:
    mine, theirs = one.guest, other.guest
    yield from _bits("launch.guest_policy", mine.policy, theirs.policy)
    yield from _allowed("launch.id_keys", "any ID block, or none", mine.id_keys, theirs.id_keys)
    yield from _allowed("launch.author_keys", "any author", mine.author_keys, theirs.author_keys)


def _policies(one: Trust, other: Trust) -> Found:
    yield from _unlisted("software.policies", one.policies, other.policies, _noted)


def _models(one: Trust, other: Trust) -> Found:
    for name, roots in one.models.items():
        known = other.models.get(name, ())
        yield from _unlisted(f"models.{name}.roots", roots, known, bytes.hex)


def _danger(one: Trust, other: Trust) -> Found:
    for key in ("allow_debug", "allow_migration", "allow_cxl", "without_nonce"):
        if getattr(one.danger, key) and not getattr(other.danger, key):
            yield Beyond(f"danger.{key}", "true")
    yield from _unlisted(
        "danger.allow_vmpl", one.danger.allow_vmpl, other.danger.allow_vmpl, "VMPL {}".format
    )


_COMPARED: tuple[Callable[[Trust, Trust], Found], ...] = (
    _expires,
    _platform,
    _lines,
    _floors,
    _firmware,
    _platform_info,
    _revocation,
    _chips,
    _providers,
    _launch,
    _guest,
    _policies,
    _models,
    _danger,
)


def _unlisted(key: str, one: Iterable[T], other: Iterable[T], show: Callable[[T], str]) -> Found:
    """Entries of a list that has to name what is accepted."""
    known = list(other)
    for value in one:
        if value not in known:
            yield Beyond(key, show(value))


def _allowed(key: str, any_: str, one: tuple[bytes, ...], other: tuple[bytes, ...]) -> Found:
    """The same for a list that may be left out, and then accepts any."""
    if other and not one:
        yield Beyond(key, any_, f"one of {len(other)} listed")
    elif other:
        yield from _unlisted(key, one, other, bytes.hex)


def _noted(noted: Noted) -> str:
    text = "no policy" if noted.digest == NO_POLICY else noted.digest.hex()
    return f"{text} ({noted.note})" if noted.note and noted.digest != NO_POLICY else text

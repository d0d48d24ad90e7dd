"""Checks on the machine: the file's date, platform, line, keys, chip, firmware, revocation."""

from __future__ import annotations

from datetime import timedelta

from sealserve.attestation.tcb import Tcb
from sealserve.policy.expectations import days
from sealserve.policy.outcome import Case, Check, Outcome, judge, refuse, remark, short


def _expiry(case: Case) -> Outcome:
    expires = case.trust.expires
    if expires is None:
        return remark("the trust file has no review date: nobody is reminded to review it")
    return judge(
        f"the trust file may be used until {expires}",
        case.now.date() <= expires,
        "trust_expired",
        f"{case.now.date()} today",
        f"use until {expires}",
        "review the trust file against what its owners publish now, then set a later date",
    )


def _platform(case: Case) -> Outcome:
    wanted = "simulated" if case.trust.kind == "simulated" else "snp"
    return judge(
        f"the platform is {case.claims.platform}",
        case.claims.platform == wanted,
        "platform",
        case.claims.platform,
        f'{wanted}, for kind = "{case.trust.kind}"',
        "simulated and real never mix: one trust file each",
    )


def _line(case: Case) -> Outcome:
    lines = case.trust.hardware.lines
    return judge(
        f"the product line is {case.claims.line}",
        case.claims.line in lines,
        "line",
        case.claims.line or "unknown",
        " or ".join(lines),
    )


def _signing_key(case: Case) -> Outcome:
    providers = case.trust.hardware.vlek_providers
    if case.claims.signing_key == "vcek":
        return Outcome("the report is signed by the chip's own key (VCEK)")
    seen = case.claims.csp_id or "no provider"
    return judge(
        f"the report is signed by a key of the provider {seen} (VLEK)",
        case.claims.csp_id in providers,
        "vlek_provider",
        f"a provider's key (VLEK) of {seen}",
        " or ".join(providers) or "the chip's own key (VCEK)",
        "a VLEK proves a machine this provider enrolled, not a chip: vlek_providers allows it",
    )


def _chip(case: Case) -> Outcome:
    chips = case.trust.hardware.chips
    if not chips:
        return remark("any chip is accepted")
    return judge(
        "the chip is one of those listed",
        case.claims.report.chip_id in chips,
        "chip_id",
        short(case.claims.chip_id),
        " or ".join(short(chip) for chip in chips),
    )


def _reported_tcb(case: Case) -> Outcome:
    return _floor(case, "reported", case.claims.reported_tcb)


def _committed_tcb(case: Case) -> Outcome:
    return _floor(case, "committed", case.claims.committed_tcb)


def _floor(case: Case, which: str, tcb: Tcb) -> Outcome:
    """Component by component: as one number a high microcode would hide a low firmware."""
    hardware, line = case.trust.hardware, case.claims.line
    if line not in hardware.lines:
        return Outcome("")  # the line was refused already, and has no floor
    table, floor = hardware.floor(line, case.claims.report.cpuid)
    wanted = floor.components()
    low = [name for name, level in tcb.components().items() if level < wanted[name]]
    return judge(
        f"{which} firmware {tcb} is at least hardware.tcb.{table}",
        not low,
        f"tcb_{which}_floor",
        ", ".join(f"{name} {tcb.components()[name]}" for name in low),
        ", ".join(f"{name} at least {wanted[name]}" for name in low) + f" (hardware.tcb.{table})",
        "the machine's firmware is older than this trust file accepts",
    )


def _revocation(case: Case) -> Outcome:
    most = case.trust.hardware.max_crl_age_days
    made = case.claims.crl_this_update
    if made is None:
        return refuse(
            "crl_missing",
            "no revocation list in the evidence",
            f"one at most {days(most)} old",
            "the server should staple the list AMD publishes",
        )
    age = case.now - made
    return judge(
        f"the revocation list is {days(age.days)} old, at most {most}",
        age <= timedelta(days=most),
        "crl_age",
        f"a revocation list of {made.date()}, {days(age.days)} old",
        f"at most {days(most)}",
        "the server should staple a newer list, or the trust file allow an older one",
    )


CHECKS: tuple[Check, ...] = (
    _expiry,
    _platform,
    _line,
    _signing_key,
    _chip,
    _reported_tcb,
    _committed_tcb,
    _revocation,
)

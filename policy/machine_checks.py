"""Checks on the machine: the file's date, platform, line, keys, chip, report, revocation."""

from __future__ import annotations

from datetime import timedelta

from sealserve.attestation.report import ACCEPTED_VERSIONS
from sealserve.policy.expectations import days
from sealserve.policy.outcome import (
    NOT_ASKED,
    Case,
    Check,
    Outcome,
    bits,
    judge,
    refuse,
    remark,
    short,
)


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


def _denied_chip(case: Case) -> Outcome:
    """AMD's lists cannot revoke a chip: its certificates all have the serial number 0."""
    denied = case.trust.hardware.denied_chips
    if not denied:
        return NOT_ASKED
    seen = case.claims.report.chip_id
    return judge(
        f"the chip is none of the {len(denied)} denied",
        any(seen) and seen not in denied,
        "chip_denied",
        f"{short(case.claims.chip_id)}, denied" if any(seen) else "a masked chip",
        "a chip that shows itself and is not in hardware.denied_chips",
    )


def _report_version(case: Case) -> Outcome:
    least = case.trust.hardware.minimum_report_version
    if least == ACCEPTED_VERSIONS[0]:
        return NOT_ASKED
    return judge(
        f"the report has version {case.claims.report.version}, at least {least}",
        case.claims.report.version >= least,
        "report_version_floor",
        f"version {case.claims.report.version}",
        f"at least {least}",
        "older reports leave out what a trust file may want to know",
    )


def _platform_info(case: Case) -> Outcome:
    """Bits nobody asked for are information: newer firmware has more of them."""
    return bits("platform", case.claims.report.platform_info, case.trust.hardware.platform_info)


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
    _denied_chip,
    _report_version,
    _platform_info,
    _revocation,
)

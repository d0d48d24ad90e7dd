"""Checks on the firmware: how old it may be, and which of its mitigations have to be on."""

from __future__ import annotations

from sealserve.attestation.report import Firmware
from sealserve.attestation.tcb import Tcb
from sealserve.native.errors import Finding
from sealserve.policy.outcome import NOT_ASKED, Case, Check, Outcome, judge


def _reported_tcb(case: Case) -> Outcome:
    return _floor(case, "reported", case.claims.reported_tcb)


def _committed_tcb(case: Case) -> Outcome:
    return _floor(case, "committed", case.claims.committed_tcb)


def _launch_tcb(case: Case) -> Outcome:
    """Memory that was filled under old firmware stays filled when that is updated."""
    if not case.trust.hardware.floor_at_launch:
        return NOT_ASKED
    return _floor(case, "launch", case.claims.launch_tcb)


def _floor(case: Case, which: str, tcb: Tcb) -> Outcome:
    """Component by component: as one number a high microcode would hide a low firmware."""
    hardware, line = case.trust.hardware, case.claims.line
    if line not in hardware.lines:
        return NOT_ASKED  # the line was refused already, and has no floor
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


def _version(case: Case) -> Outcome:
    """Both: the one that runs, and the one below which the machine cannot fall."""
    least = case.trust.hardware.minimum_firmware
    if least is None:
        return NOT_ASKED
    report = case.claims.report
    seen = {"current": report.current_firmware, "committed": report.committed_firmware}
    findings = [_old(which, version, least) for which, version in seen.items() if version < least]
    return Outcome(
        f"SEV firmware {seen['current']}, committed {seen['committed']}, is at least {least}",
        tuple(findings),
    )


def _old(which: str, seen: Firmware, least: Firmware) -> Finding:
    return Finding(
        f"firmware_{which}",
        f"{which} SEV firmware {seen}",
        f"at least {least}",
        "committed is what the host's owner can no longer roll back from"
        if which == "committed"
        else "the machine's firmware is older than this trust file accepts",
    )


def _mitigations(case: Case) -> Outcome:
    """A vector is a set of bits, so no comparison of numbers; both, for what was loaded before."""
    wanted = case.trust.hardware.mitigations
    if not wanted:
        return NOT_ASKED
    report = case.claims.report
    seen = {"launch": report.launch_mitigations, "current": report.current_mitigations}
    findings = [
        _missing(which, vector, wanted)
        for which, vector in seen.items()
        if vector is None or vector & wanted != wanted
    ]
    return Outcome(f"mitigations 0x{wanted:x} are on, and were at launch", tuple(findings))


def _missing(which: str, vector: int | None, wanted: int) -> Finding:
    return Finding(
        f"mitigations_{which}",
        f"0x{vector:x}" if vector is not None else "none told before report version 5",
        f"all bits of 0x{wanted:x} in the {which} mitigation vector",
    )


CHECKS: tuple[Check, ...] = (_reported_tcb, _committed_tcb, _launch_tcb, _version, _mitigations)

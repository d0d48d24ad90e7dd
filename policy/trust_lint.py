"""What to think about again in a trust file that loads: its risks, the worst first.

A policy that allows everything has no remark here: such a file does not load.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from sealserve.policy import floors, revocation
from sealserve.policy.expectations import NO_POLICY, MeasuredLaunch, UvmLaunch, days
from sealserve.policy.remarks import Remark, Remarks, ranked
from sealserve.policy.trust import Trust

SOON = datetime.timedelta(days=30)
UVM_FEED = "ContainerPlat-AMD-UVM"  # Azure's utility VM
FIRST_UVM_SVN = 100  # where its production versions begin
LEAST_UVM_SVN = 104  # its documented minimum on 2026-08-04


def lint(trust: Trust, today: datetime.date) -> tuple[Remark, ...]:
    """Every remark on this file, ranked; what is on the date first. today: in UTC."""
    timed = (*expiry(trust, today), *_old_floors(today))
    return ranked([*timed, *(remark for look in _LOOKS for remark in look(trust))])


def expiry(trust: Trust, today: datetime.date) -> Remarks:
    last, hint = trust.expires, "compare it with what its owners publish now, then set a later date"
    if last is None:
        yield Remark("doubt", "expires", "no review date: nobody is reminded", "set one")
    elif last < today:
        yield Remark("danger", "expires", f"expired after {last}: it refuses every server", hint)
    elif last - today <= SOON:
        yield Remark("doubt", "expires", f"expires in {days((last - today).days)}", hint)


def _simulated(trust: Trust) -> Remarks:
    if trust.kind == "simulated":
        yield Remark(
            "danger",
            "platform.kind",
            "simulated: it proves nothing about hardware",
            "for trials alone; no data of anybody's belongs there",
        )


def _milan(trust: Trust) -> Remarks:
    if "milan" in trust.hardware.lines and trust.kind != "simulated":
        yield Remark(
            "note" if trust.hardware.chips else "doubt",
            "hardware.lines",
            "milan: a paper of 2026 (arXiv 2605.12990) reports its chip secrets extracted by "
            "software; if that holds, no firmware floor mends it",
            "leave milan out, or list the chips of an operator you trust with them",
        )


def _floors(trust: Trust) -> Remarks:
    for line in trust.hardware.lines:
        for table, recommended in floors.RECOMMENDED[line].items():
            floor = trust.hardware.floors.get(table, trust.hardware.floors[line]).components()
            wanted = recommended.components()
            low = [name for name in wanted if floor[name] < wanted[name]]
            if low:
                yield Remark(
                    "danger",
                    f"hardware.tcb.{table}",
                    ", ".join(f"{name} {floor[name]}, not {wanted[name]}" for name in low)
                    + f": below the recommendation of {floors.DATE}",
                    f"`sealserve trust floors --line {line}` prints it",
                )


def _old_floors(today: datetime.date) -> Remarks:
    if floors.is_old(today):
        yield Remark(
            "note",
            "hardware.tcb",
            f"the recommendation it was compared with is of {floors.DATE}",
            "update sealserve, and compare the floors with AMD's bulletins",
        )


def _report_version(trust: Trust) -> Remarks:
    if trust.hardware.minimum_report_version < 3:
        yield Remark(
            "doubt",
            "hardware.minimum_report_version",
            "version 2 reports are accepted, which cannot tell whether memory was checked for "
            "aliases (BadRAM)",
            "minimum_report_version = 3",
        )


def _revocation(trust: Trust) -> Remarks:
    most = trust.hardware.max_crl_age_days
    if most > revocation.RECOMMENDED_DAYS:
        yield Remark(
            "doubt",
            "hardware.max_crl_age_days",
            f"{days(most)}: longer than AMD's lists are valid, so it limits nothing",
            f"at most {revocation.RECOMMENDED_DAYS}",
        )
    if most < revocation.SHORTEST_DAYS and trust.kind != "simulated":
        yield Remark(
            "doubt",
            "hardware.max_crl_age_days",
            f"{days(most)}: AMD makes a list about once a year, so until the next one comes this "
            "refuses every machine",
            f"{revocation.RECOMMENDED_DAYS} accepts any list that is still valid",
        )


def _providers(trust: Trust) -> Remarks:
    if trust.hardware.vlek_providers and not trust.hardware.chips:
        yield Remark(
            "doubt",
            "hardware.vlek_providers",
            "any chip, and providers' keys: those prove a machine the provider enrolled, no chip",
            "list the chips, or leave the providers out",
        )


def _endorsement(trust: Trust) -> Remarks:
    launch = trust.launch
    if not isinstance(launch, UvmLaunch) or launch.feed != UVM_FEED:
        return
    if launch.minimum_svn < LEAST_UVM_SVN:
        old = launch.minimum_svn < FIRST_UVM_SVN
        yield Remark(
            "danger" if old else "doubt",
            "launch.uvm_minimum_svn",
            f"{launch.minimum_svn}: "
            + (f"production begins at {FIRST_UVM_SVN}" if old else "old versions are accepted"),
            f"{LEAST_UVM_SVN} was the documented minimum in August 2026",
        )


def _software(trust: Trust) -> Remarks:
    if trust.policies[0].digest == NO_POLICY:
        yield Remark(
            "doubt",
            "software.policies",
            "no execution policy: what runs is told by the measurement alone",
            "only where the measured image itself admits no other program",
        )


def _several(trust: Trust) -> Remarks:
    counts = {"software.policies": len(trust.policies)}
    if isinstance(trust.launch, MeasuredLaunch):
        counts["launch.measurements"] = len(trust.launch.measurements)
    counts |= {f"models.{name}.roots": len(roots) for name, roots in trust.models.items()}
    for key, count in counts.items():
        if count > 1:
            yield Remark(
                "note",
                key,
                f"{count} are accepted, as while one replaces another",
                "remove the old",
            )


def _unfinished(trust: Trust) -> Remarks:
    """What `trust new --from` leaves for a person to write."""
    for name in trust.models:
        if name.startswith("unnamed-"):
            yield Remark(
                "doubt",
                f"models.{name}",
                "a placeholder, by which no server has a model",
                "write the name under which its owner sealed it",
            )
    claimed = {"software.policies": trust.policies}
    if isinstance(trust.launch, MeasuredLaunch):
        claimed["launch.measurements"] = trust.launch.measurements
    for key, entries in claimed.items():
        if any(entry.note == "claimed" for entry in entries):
            yield Remark(
                "note",
                key,
                'its note still says "claimed"',
                "write what it was compared with",
            )


def _dangers(trust: Trust) -> Remarks:
    for key, sentence in trust.danger.told().items():
        yield Remark("danger", f"danger.{key}", sentence, "remove it once its reason is gone")


_LOOKS: tuple[Callable[[Trust], Remarks], ...] = (
    _simulated,
    _milan,
    _floors,
    _report_version,
    _revocation,
    _providers,
    _endorsement,
    _software,
    _several,
    _unfinished,
    _dangers,
)

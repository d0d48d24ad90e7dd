"""Checks on the guest: how it was started, from what, and with which execution policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sealserve.attestation.report import HOST_VMPL
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.native.errors import Finding
from sealserve.policy.expectations import NO_POLICY, MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.known import permissive_name
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


def _debug(case: Case) -> Outcome:
    debug = case.claims.report.policy.debug
    return judge(
        f"debug is {_switch(debug)}{_danger(case.trust.danger.allow_debug)}",
        not debug or case.trust.danger.allow_debug,
        "policy_debug",
        "debug on: the host can read and write the machine's memory",
        "debug off",
    )


def _migration(case: Case) -> Outcome:
    migration = case.claims.report.policy.migrate_ma
    return judge(
        f"a migration agent is {_allowed(migration)}{_danger(case.trust.danger.allow_migration)}",
        not migration or case.trust.danger.allow_migration,
        "policy_migrate_ma",
        "a migration agent may move the machine's memory",
        "migration off",
    )


def _cxl(case: Case) -> Outcome:
    cxl = case.claims.report.policy.cxl
    return judge(
        f"CXL memory is {_allowed(cxl)}{_danger(case.trust.danger.allow_cxl)}",
        not cxl or case.trust.danger.allow_cxl,
        "policy_cxl",
        "CXL memory and devices allowed",
        "not allowed",
    )


def _guest_policy(case: Case) -> Outcome:
    return bits("policy", case.claims.report.policy, case.trust.guest.policy)


def _vmpl(case: Case) -> Outcome:
    vmpl = case.claims.report.vmpl
    allowed = (0, *case.trust.danger.allow_vmpl)
    return judge(
        f"the report was asked for at VMPL {vmpl}{_danger(bool(allowed[1:]))}",
        vmpl in allowed,
        f"vmpl_{vmpl}",
        "a report the host asked for" if vmpl == HOST_VMPL else f"VMPL {vmpl}",
        "VMPL " + " or ".join(str(level) for level in allowed),
    )


def _alias_check(case: Case) -> Outcome:
    """AMD-SB-3015 (BadRAM). Reports before version 3 do not know the bit."""
    if case.claims.report.version < 3:
        return remark("a version 2 report cannot tell whether memory was checked for aliases")
    return judge(
        "memory was checked for aliases",
        case.claims.report.platform_info.alias_check_complete,
        "alias_check",
        "memory not checked for aliases (ALIAS_CHECK_COMPLETE 0)",
        "ALIAS_CHECK_COMPLETE 1",
        "the host's firmware lacks the answer to AMD-SB-3015 (BadRAM)",
    )


def _id_key(case: Case) -> Outcome:
    return _signed_by(
        "id_key", "ID block", case.trust.guest.id_keys, case.claims.report.id_key_digest
    )


def _author_key(case: Case) -> Outcome:
    """Without AUTHOR_KEY_EN the field means nothing, whatever stands in it."""
    report = case.claims.report
    seen = report.author_key_digest if report.author_key_enabled else b""
    return _signed_by("author_key", "ID key", case.trust.guest.author_keys, seen)


def _signed_by(code: str, signed: str, keys: tuple[bytes, ...], seen: bytes) -> Outcome:
    if not keys:
        return NOT_ASKED
    return judge(
        f"the {signed} is signed by a listed key, {short(seen)}",
        seen in keys,
        code,
        seen.hex() if any(seen) else f"no key that signed the {signed}",
        " or ".join(key.hex() for key in keys),
    )


def _launch(case: Case) -> Outcome:
    launch = case.trust.launch
    if isinstance(launch, MeasuredLaunch):
        return _measured(case, launch)
    return _endorsed(case, launch)


def _measured(case: Case, launch: MeasuredLaunch) -> Outcome:
    seen = case.claims.report.measurement
    note = next((known.note for known in launch.measurements if known.digest == seen), "")
    return judge(
        f"measurement {short(seen)} is listed{_noted(note)}{_unasked(case.claims.endorsement)}",
        any(known.digest == seen for known in launch.measurements),
        "measurement",
        seen.hex(),
        " or ".join(known.digest.hex() + _noted(known.note) for known in launch.measurements),
        "image updated? compare the new value with its publisher's before you accept it",
    )


def _unasked(endorsement: UvmEndorsement | None) -> str:
    """A listed measurement needs nobody's word, and nobody's word replaces it."""
    if endorsement is None:
        return ""
    return f"; that {_endorsed_by(endorsement)} endorses it was not asked for"


def _endorsed(case: Case, launch: UvmLaunch) -> Outcome:
    endorsement = case.claims.endorsement
    if endorsement is None:
        return refuse(
            "uvm_missing",
            "no endorsement of the launch",
            f"version {launch.minimum_svn} or later of {launch.feed} by {launch.issuer}",
            "does the server hand on what its platform gives it?",
        )
    return Outcome(
        f"measurement {short(endorsement.measurement)} is version {endorsement.svn} of "
        f"{endorsement.feed}, at least {launch.minimum_svn}, by {endorsement.issuer}",
        (
            *_of_something_else(endorsement, case.claims.report.measurement),
            *_untrusted(endorsement, launch),
        ),
    )


def _of_something_else(endorsement: UvmEndorsement, measurement: bytes) -> Iterator[Finding]:
    if endorsement.measurement != measurement:
        yield Finding(
            "uvm_measurement",
            f"an endorsement of {endorsement.measurement.hex()}",
            f"one of the measurement {measurement.hex()}",
        )


def _untrusted(endorsement: UvmEndorsement, launch: UvmLaunch) -> Iterator[Finding]:
    amiss = tuple(_differences(endorsement, launch))
    if amiss:
        yield Finding(
            "uvm_untrusted_issuer_or_svn",
            "; ".join(difference.seen for difference in amiss),
            "; ".join(difference.wanted for difference in amiss),
            "; ".join(difference.hint for difference in amiss if difference.hint),
        )


@dataclass(frozen=True)
class _Difference:
    """One part of an endorsement that is not what is expected."""

    seen: str
    wanted: str
    hint: str = ""


def _differences(endorsement: UvmEndorsement, launch: UvmLaunch) -> Iterator[_Difference]:
    """Byte for byte, and whole: the parts of an issuer's name mean nothing by themselves."""
    if endorsement.issuer != launch.issuer:
        yield _Difference(
            f"issuer {_foreign(endorsement.issuer)}",
            f"issuer {launch.issuer}",
            "its signature is good; whether its issuer deserves trust, nothing here can tell",
        )
    if endorsement.feed != launch.feed:
        yield _Difference(f"feed {_foreign(endorsement.feed)}", f"feed {launch.feed}")
    if endorsement.svn < launch.minimum_svn:
        yield _Difference(
            f"version {endorsement.svn}, signed {endorsement.signed_at.date()}",
            f"version {launch.minimum_svn} or later",
            "the host runs an old utility VM; its operator has to update it",
        )


def _software(case: Case) -> Outcome:
    seen = case.claims.report.host_data
    accepted = case.trust.policy(seen)
    wanted = " or ".join(_policy(known) for known in case.trust.policies)
    if name := permissive_name(seen):
        return refuse(
            "host_data_permissive",
            f"{seen.hex()}, {name}",
            wanted,
            "that machine runs whatever its host likes",
        )
    if seen == NO_POLICY:
        sentence = "no execution policy (HOST_DATA is zero), as the trust file says"
    else:
        sentence = (
            f"execution policy {short(seen)} is listed{_noted(accepted.note if accepted else '')}"
        )
    return judge(
        sentence,
        accepted is not None,
        "host_data",
        "no policy (HOST_DATA is zero)" if seen == NO_POLICY else seen.hex(),
        wanted,
        "another command line or image? the policy's hash changes with every byte of it",
    )


ALWAYS: tuple[Check, ...] = (_debug, _migration, _vmpl)
"""What no trust file needs to ask for."""

LAUNCH: tuple[Check, ...] = (_launch,)

CHECKS: tuple[Check, ...] = (
    _debug,
    _migration,
    _cxl,
    _guest_policy,
    _vmpl,
    _alias_check,
    _id_key,
    _author_key,
    _launch,
    _software,
)


def _endorsed_by(endorsement: UvmEndorsement) -> str:
    return f"{_foreign(endorsement.issuer)} in {_foreign(endorsement.feed)}"


def _foreign(text: str) -> str:
    """What a stranger signed, cut short and without what a terminal would obey."""
    return ascii(text)[1:-1][:200]


def _policy(known: Noted) -> str:
    return "no policy" if known.digest == NO_POLICY else known.digest.hex() + _noted(known.note)


def _noted(note: str) -> str:
    return f" ({note})" if note else ""


def _switch(state: bool) -> str:
    return "ON" if state else "off"


def _allowed(state: bool) -> str:
    return "ALLOWED" if state else "not allowed"


def _danger(chosen: bool) -> str:
    return " ([danger] accepts either)" if chosen else ""

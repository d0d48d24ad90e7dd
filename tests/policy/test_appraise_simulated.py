"""Machines of the simulated platform through the production checks, one fault at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from sealserve.attestation import Claims, verify
from sealserve.attestation.simulated import FAULTS, MEASUREMENT, SimulatedRoot
from sealserve.attestation.simulated.faults.dials import ENDORSED
from sealserve.native.errors import EvidenceError, PolicyViolation
from sealserve.policy import (
    Trust,
    Verdict,
    appraise,
    firmware_checks,
    guest_checks,
    machine_checks,
    outcome,
)
from sealserve.policy.expectations import GUEST_POLICY_BITS, PLATFORM_INFO_BITS
from support import policy_case as case
from support.attestation_codes import codes_in
from support.attestation_simulated import CLAIMS, HOST_DATA, MILAN, NOW, Kind, endorser_of

KINDS = [MILAN, Kind("genoa"), Kind("genoa-a0"), Kind("turin"), Kind("milan", "vlek", 2)]
ENDORSED_KINDS = [Kind(uvm="json"), Kind("turin", uvm="hash")]
GENUINE = [
    (kind, fault)
    for kind in (*KINDS, *ENDORSED_KINDS)
    for fault in kind.faults()
    if not FAULTS[fault].code and (not kind.uvm or FAULTS[fault].only == ENDORSED)
]


def trust_in(kind: Kind, keys: SimulatedRoot, *changes: tuple[str, str]) -> Trust:
    """A trust file that accepts good machines of this kind, and asks for all that can be asked."""
    good = claims_of(kind, keys)
    report = good.report
    launch = case.MEASURED.replace(case.MEASUREMENT.hex(), MEASUREMENT.hex())
    if kind.uvm:
        launch = case.ENDORSED.replace(case.ISSUER, endorser_of(keys).issuer)
    hardware = {
        "chips" if kind.key == "vcek" else "vlek_providers": [good.csp_id or good.chip_id.hex()],
        "minimum_firmware": str(report.current_firmware),
        "minimum_report_version": report.version,
        "mitigations": report.current_mitigations or 0,
        **_bits("platform_info", PLATFORM_INFO_BITS, report.platform_info),
    }
    guest = {
        "id_keys": [report.id_key_digest.hex()],
        **_bits("guest_policy", GUEST_POLICY_BITS, report.policy),
    }
    return case.trust(
        (case.SNP, case.SIMULATED),
        (case.SIMULATED_ROOT.hex(), kind.root(keys).ark_sha256.hex()),
        (case.MEASURED, launch + _lines(guest)),
        (case.POLICY.hex(), HOST_DATA.hex()),
        ("expires = 2027-03-31", "expires = 2199-03-31"),
        ("max_crl_age_days", f"{_lines(hardware)}floor_at_launch = true\nmax_crl_age_days"),
        *changes,
    )


def _lines(keys: Mapping[str, object]) -> str:
    """As TOML, which JSON's texts, numbers and arrays are; nothing for empty ones."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items() if value)


def _bits(name: str, bits: Sequence[str], seen: object) -> dict[str, object]:
    return {
        f"{name}_set": [bit for bit in bits if getattr(seen, bit)],
        f"{name}_clear": [bit for bit in bits if not getattr(seen, bit)],
    }


def claims_of(kind: Kind, keys: SimulatedRoot) -> Claims:
    """What a good machine of this kind claims."""
    return verify(kind.machine(keys).evidence(CLAIMS), kind.roots(keys), NOW)


def appraised(kind: Kind, keys: SimulatedRoot, trust: Trust, *faults: str) -> Verdict:
    evidence = kind.machine(keys, *faults).evidence(CLAIMS)
    return appraise(verify(evidence, trust.roots(), NOW), trust, now=NOW)


def findings(kind: Kind, keys: SimulatedRoot, trust: Trust, *faults: str) -> list[str]:
    """The codes for which a genuine machine with these faults is refused."""
    with pytest.raises(PolicyViolation) as caught:
        appraised(kind, keys, trust, *faults)
    return [finding.code for finding in caught.value.findings]


@pytest.mark.parametrize("kind", [*KINDS, *ENDORSED_KINDS], ids=str)
def test_a_good_machine_is_accepted(kind: Kind, simulated_root: SimulatedRoot) -> None:
    verdict = appraised(kind, simulated_root, trust_in(kind, simulated_root))
    assert (verdict.platform, verdict.line) == ("simulated", kind.line)


@pytest.mark.parametrize(("kind", "fault"), GENUINE, ids=str)
def test_a_genuine_machine_with_a_fault_is_refused_for_it_alone(
    simulated_root: SimulatedRoot, kind: Kind, fault: str
) -> None:
    trust = trust_in(kind, simulated_root)
    assert findings(kind, simulated_root, trust, fault) == [*FAULTS[fault].findings]


def test_a_machine_of_another_line(simulated_root: SimulatedRoot) -> None:
    """No fault: its root alone makes it another machine."""
    genoa = Kind("genoa")
    known = f'chips = ["{claims_of(genoa, simulated_root).chip_id.hex()}"]'
    rest = case.TRUST[case.TRUST.index("[hardware.tcb.genoa]") : case.TRUST.index("[launch]")]
    trust = trust_in(
        genoa, simulated_root, ('["milan", "genoa", "turin"]', '["milan"]'), (rest, ""), (known, "")
    )
    assert findings(genoa, simulated_root, trust) == ["line"]


def test_a_chip_that_is_denied(simulated_root: SimulatedRoot) -> None:
    """The trust file decides which: here that of a machine in order."""
    chip = claims_of(MILAN, simulated_root).chip_id.hex()
    trust = trust_in(MILAN, simulated_root, (f'chips = ["{chip}"]', f'denied_chips = ["{chip}"]'))
    assert findings(MILAN, simulated_root, trust) == ["chip_denied"]


def test_reports_older_than_a_file_asks_for(simulated_root: SimulatedRoot) -> None:
    changes = ("minimum_report_version = 3", "minimum_report_version = 4")
    trust = trust_in(MILAN, simulated_root, changes)
    assert findings(MILAN, simulated_root, trust) == ["report_version_floor"]


def test_an_author_key_nobody_has(simulated_root: SimulatedRoot) -> None:
    """Simulated machines have none, as those of Azure."""
    trust = trust_in(
        MILAN, simulated_root, ("id_keys = ", f'author_keys = ["{"2e" * 48}"]\nid_keys = ')
    )
    assert findings(MILAN, simulated_root, trust) == ["author_key"]


def test_a_file_that_has_run_out(simulated_root: SimulatedRoot) -> None:
    trust = trust_in(MILAN, simulated_root, ("2199-03-31", "2001-03-31"))
    assert findings(MILAN, simulated_root, trust) == ["trust_expired"]


# Codes that are no matter of the machine alone, and the test above that provokes each; or why none.
OTHERWISE = {
    "line": test_a_machine_of_another_line,
    "chip_denied": test_a_chip_that_is_denied,
    "report_version_floor": test_reports_older_than_a_file_asks_for,
    "author_key": test_an_author_key_nobody_has,
    "trust_expired": test_a_file_that_has_run_out,
    "platform": "roots of the other kind are refused before anybody asks (untrusted_root)",
    "uvm_measurement": "the verifier refuses it first, with the same code",
}


def test_every_finding_has_a_machine() -> None:
    """Of all that the modules of the checks can report."""
    shown = {finding for _, name in GENUINE for finding in FAULTS[name].findings}
    known = codes_in(machine_checks, firmware_checks, guest_checks, outcome)
    bits = {f"policy_{bit}" for bit in GUEST_POLICY_BITS}
    assert bits | {f"platform_{bit}" for bit in PLATFORM_INFO_BITS} <= shown
    assert {
        code for code in known if not any(map(code.fullmatch, shown | OTHERWISE.keys()))
    } == set()


def test_a_simulated_machine_never_meets_a_file_for_hardware(
    simulated_root: SimulatedRoot,
) -> None:
    with pytest.raises(EvidenceError):
        appraised(MILAN, simulated_root, case.trust())

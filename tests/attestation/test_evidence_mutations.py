"""Every byte of a report counts: changed, it is refused, and by the right check.

One report of each version we accept, of real machines where their certificate is known. The only
report of version 4 we have came without one, so its signature says nothing to anybody: for that
version a simulated machine stands in, and of the real one every byte with a form of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from sealserve.attestation import Evidence, Roots
from sealserve.attestation.bench import Pieces
from sealserve.attestation.report import REPORT_BYTES, SIGNED_BYTES, Report
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.attestation.verify import diagnose, signed_report
from sealserve.errors import EvidenceError
from support.attestation_layout import reserved
from support.attestation_simulated import CLAIMS, HOST_DATA, NOW
from support.attestation_vectors import vector

REAL = {2: "trustee/milan-v2", 3: "ms-tav/milan-v3-aci", 5: "ms-tav/turin-v5-aci"}
OTHERS = ["attestation-rs/genoa-v5-a"]  # a line the three do not have
WITHOUT_CERTIFICATE = "openpcc/gce-milan-v4-no-cert"

Case = tuple[Evidence, Roots, datetime]


def simulated(root: SimulatedRoot) -> Case:
    evidence = Machine(root, HOST_DATA, report_version=4).evidence(CLAIMS)
    return evidence, Roots.simulated(root.ark_sha256), NOW


def real(name: str) -> Case:
    row = vector(name)
    return row.evidence(), Roots.amd(), row.at


@pytest.fixture(params=[2, 3, 4, 5, *OTHERS])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == 4:
        return simulated(request.getfixturevalue("simulated_root"))
    return real(REAL.get(request.param, request.param))


def changed(report: bytes, offset: int) -> bytes:
    """Another bit at every place, so that fields of flags meet all kinds."""
    data = bytearray(report)
    data[offset] ^= 1 << (offset * 5 + 1) % 8
    return bytes(data)


def expected(report: bytes, offset: int) -> set[str]:
    """The codes that a byte changed at this place must have, whatever else fails with it."""
    changed_report = Report.read(changed(report, offset))
    codes = {"report_signature"} if offset < SIGNED_BYTES else set()
    if offset in reserved(Report.read(report).version):
        codes.add("report_reserved")
    if 0x2A0 <= offset < 0x2D0 or 0x2E8 <= offset < 0x318:
        codes.add("report_signature")
    if offset < 0x004:
        codes.add(f"report_version_{changed_report.version}")
    if 0x008 <= offset < 0x010 and not 1 << 17 <= changed_report.policy_raw < 1 << 26:
        codes.add("report_reserved")
    if 0x034 <= offset < 0x038:  # an algorithm nobody knows: no signature to ask about
        codes = {"report_signature_algorithm"}
    if 0x048 <= offset < 0x04C:
        codes |= key_info(changed_report.key_info)
        codes -= {"report_signature"} if codes & {"report_masked_key"} else set()
    return codes


def key_info(value: int) -> set[str]:
    codes = {"report_reserved"} if value >> 5 else set()
    return codes | ({"report_masked_key"} if value & 2 else set())


def test_every_byte_is_refused_by_its_check(case: Case) -> None:
    evidence, roots, now = case
    signed_report(evidence, roots, now)
    for offset in range(REPORT_BYTES):
        data = changed(evidence.report, offset)
        pieces = Pieces.of(evidence)._replace(report=data, claims=None)
        codes = {error.code for error in diagnose(pieces, roots, now).failures}
        assert expected(evidence.report, offset) <= codes, hex(offset)
        surplus = codes - expected(evidence.report, offset)
        assert surplus <= meant_elsewhere(offset), (hex(offset), surplus)
        with pytest.raises(EvidenceError) as refusal:
            signed_report(replace(evidence, report=data), roots, now)
        assert refusal.value.code in codes


def meant_elsewhere(offset: int) -> set[str]:
    """What else a field decides, beside being signed."""
    places = {
        (0x000, 0x004): {"report_reserved"},  # other versions reserve other bytes
        (0x038, 0x040): {"tcb_reserved"},
        (0x048, 0x04C): {"leaf_kind"},
        (0x180, 0x188): {"tcb_reserved", "tcb_fmc", "tcb_bl", "tcb_tee", "tcb_snp", "tcb_ucode"},
        (0x188, 0x18A): {"line_mismatch"},
        (0x1A0, 0x1E0): {"hwid", "report_reserved"},  # Turin's identity has 8 bytes
        (0x1E0, 0x1E8): {"tcb_reserved"},
        (0x1F0, 0x1F8): {"tcb_reserved"},
    }
    return next((codes for (start, end), codes in places.items() if start <= offset < end), set())


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_the_meaningful_fields_counts(bit: int) -> None:
    """REPORT_DATA, MEASUREMENT and HOST_DATA: what everything else is decided by."""
    evidence, roots, now = real("ms-tav/milan-v3-aci")
    for offset in range(0x050, 0x0E0):
        data = bytearray(evidence.report)
        data[offset] ^= 1 << bit
        with pytest.raises(EvidenceError) as refusal:
            signed_report(replace(evidence, report=bytes(data)), roots, now)
        assert refusal.value.code == "report_signature"


@pytest.mark.parametrize("member", ["leaf", "intermediate"])
def test_every_byte_of_a_certificate_counts(member: str) -> None:
    evidence, roots, now = real("ms-tav/milan-v3-aci")
    original = getattr(evidence, member)
    for offset in range(len(original)):
        data = bytearray(original)
        data[offset] ^= 1 << offset % 8
        with pytest.raises(EvidenceError):
            signed_report(replace(evidence, **{member: bytes(data)}), roots, now)


def test_a_version_4_report_without_its_certificate() -> None:
    """No byte makes it pass, and each reserved one is refused for what it is."""
    row = vector(WITHOUT_CERTIFICATE)
    report = row.read("report.bin")
    for offset in range(REPORT_BYTES):
        pieces = Pieces(report=changed(report, offset))
        codes = {error.code for error in diagnose(pieces, Roots.amd(), row.at).failures}
        assert "no_certificate" in codes
        assert ("report_reserved" in codes) or offset not in reserved(4)


def test_good_evidence_leaves_nothing_unasked(case: Case) -> None:
    evidence, roots, now = case
    pieces = Pieces.of(evidence)._replace(claims=evidence.claims or None)
    answers = diagnose(pieces, roots, now).answers
    unasked = {answer.check for answer in answers if answer.state == "unasked"}
    assert unasked == (set() if evidence.claims else {"report data"})

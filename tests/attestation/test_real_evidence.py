"""Real evidence of other people's machines: the verdict on each, and every bit of some."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sealserve.attestation import Report, Roots, tcb, verify
from sealserve.attestation.certs import Leaf
from sealserve.attestation.crl import Crl
from sealserve.attestation.report import SIGNED_BYTES
from sealserve.attestation.roots import ark
from sealserve.attestation.verify import signed_report
from sealserve.errors import EvidenceError
from support.attestation_vectors import Vector, vector, vectors

# Codes that are for a client's trust, or for documents other than report and chain.
NOT_OURS = ("policy_debug", "vmpl_1", "uvm_untrusted_issuer_or_svn", "maa_", "no_certificate")
CHAINS = vectors("snp", "report.bin", "leaf.der")
IN_ITS_TIME = datetime(2025, 6, 1, tzinfo=UTC)  # inside the one year of the VLEK


def ours(row: Vector) -> set[str]:
    return {code for code in row.failures if not code.startswith(NOT_OURS)}


@pytest.mark.parametrize("row", CHAINS, ids=lambda row: row.id)
def test_verdict(row: Vector) -> None:
    expected = ours(row)
    if not expected:
        signed = signed_report(row.evidence(), Roots.amd(), row.at)
        assert signed.platform == "snp"
        assert signed.line == row.measured["product"].lower()
        return
    with pytest.raises(EvidenceError) as refusal:
        signed_report(row.evidence(), Roots.amd(), row.at)
    assert refusal.value.code in expected


@pytest.mark.parametrize("row", vectors("snp", "report.bin"), ids=lambda row: row.id)
def test_fields(row: Vector) -> None:
    report, measured = Report.parse(row.read("report.bin")), row.measured
    assert report.version == measured["version"]
    assert str(report.current_firmware) == measured["firmware"]
    assert report.vmpl == measured["vmpl"]
    assert hex(report.policy_raw) == measured["policy"]
    assert hex(report.platform_info.raw) == measured["platform_info"]
    assert report.guest_svn == measured["guest_svn"]
    assert report.signing_key.upper() == measured["signing_key"]
    assert report.author_key_enabled == measured["author_key"]
    assert report.measurement.hex() == measured["measurement"]
    assert report.host_data.hex() == measured["host_data"]
    assert report.report_data.hex() == measured["report_data"]
    assert report.reported_tcb.hex() == measured["reported_tcb"]
    assert list(report.cpuid or ()) == (measured.get("cpuid") or [])


@pytest.mark.parametrize(
    "row", vectors("snp", "report.bin", "runtime_data.bin"), ids=lambda row: row.id
)
def test_claims_of_real_machines(row: Vector) -> None:
    """Azure's machines use our convention for REPORT_DATA: all of `verify` runs on them."""
    if ours(row):
        return
    evidence = row.evidence()
    assert verify(evidence, Roots.amd(), row.at).runtime == evidence.claims
    with pytest.raises(EvidenceError) as refusal:
        verify(replace(evidence, claims=evidence.claims + b" "), Roots.amd(), row.at)
    assert refusal.value.code == "report_data"


def test_lines_versions_and_keys_are_all_there() -> None:
    seen = {
        (row.measured["product"], row.measured["version"], row.measured["signing_key"])
        for row in CHAINS
        if row.measured.get("product")
    }
    assert seen >= {
        ("Milan", 2, "VCEK"), ("Milan", 3, "VCEK"), ("Milan", 3, "VLEK"),
        ("Genoa", 3, "VCEK"), ("Genoa", 5, "VCEK"), ("Turin", 5, "VCEK"),
    }  # fmt: skip


def test_turin_is_read_with_turins_layout() -> None:
    row = vector("ms-tav/turin-v5-aci")
    signed = signed_report(row.evidence(), Roots.amd(), row.at)
    assert signed.line == "turin"
    assert tcb.decode(signed.report.reported_tcb, "turin") == tcb.Tcb(
        fmc=1, bootloader=1, tee=1, snp=4, microcode=81
    )
    assert not any(signed.report.chip_id[8:])
    assert signed.report.launch_mitigations is not None
    with pytest.raises(EvidenceError) as refusal:  # Milan's layout has reserved bytes there
        tcb.decode(signed.report.reported_tcb, "milan")
    assert refusal.value.code == "tcb_reserved"


def test_a_vlek_in_its_time() -> None:
    evidence = vector("trustee/milan-v3-vlek").evidence()
    signed = signed_report(evidence, Roots.amd(), IN_ITS_TIME)
    assert (signed.signing_key, signed.csp_id) == ("vlek", "CN=cc-us-east-2.amazonaws.com")
    assert not any(signed.report.chip_id)


def test_a_reissued_vcek_is_as_good() -> None:
    row = vector("ms-tav/milan-v3-aci")
    evidence = replace(row.evidence(), leaf=row.read("leaf_reissued.der"))
    assert evidence.leaf != row.evidence().leaf
    signed_report(evidence, Roots.amd(), row.at)


def test_a_vcek_without_a_report() -> None:
    (row,) = vectors("cert", "leaf.der")
    leaf = Leaf.parse(row.read("leaf.der"))
    assert (leaf.kind, leaf.struct_version, leaf.product_name) == ("vcek", 1, "Turin")
    assert leaf.hardware_id == bytes.fromhex("1e550a8ee5cf9f4d")
    assert leaf.certificate.serial == 0


@pytest.mark.parametrize("line", tcb.LINES)
def test_revocation_lists_of_amd(line: tcb.Line) -> None:
    (row,) = vectors("crl")
    crl = Crl.parse(row.read(f"{line}_vcek.crl"))
    root = ark(line)
    crl.require_by(root)
    assert crl.revoked == ({0x20001} if line == "genoa" else set())
    assert (row.at > crl.next_update) == (f"{line}_vcek.crl_stale" in row.failures)
    for other in map(ark, tcb.LINES):
        if other is not root:
            with pytest.raises(EvidenceError) as refusal:
                crl.require_by(other)
            assert refusal.value.code == "crl_issuer"


def test_a_stapled_list_is_checked_and_remembered() -> None:
    (lists,) = vectors("crl")
    row = vector("ms-tav/genoa-v3-aci")
    evidence = replace(row.evidence(), crl=lists.read("genoa_vcek.crl"))
    signed = signed_report(evidence, Roots.amd(), row.at)
    assert signed.crl_this_update == datetime(2025, 10, 24, 20, 30, tzinfo=UTC)
    with pytest.raises(EvidenceError) as refusal:
        signed_report(replace(evidence, crl=lists.read("milan_vcek.crl")), Roots.amd(), row.at)
    assert refusal.value.code == "crl_issuer"


def test_the_other_signature_of_the_same_report() -> None:
    """(r, n - s) verifies as well: why a report is never identified by the hash of all of it."""
    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    )
    row = vector("ms-tav/milan-v3-aci")
    evidence = row.evidence()
    report = Report.parse(evidence.report)
    twin = bytearray(evidence.report)
    twin[0x2E8:0x318] = (order - report.signature_s).to_bytes(48, "little")
    assert (
        signed_report(replace(evidence, report=bytes(twin)), Roots.amd(), row.at).report.signed
        == evidence.report[:SIGNED_BYTES]
    )


@pytest.mark.parametrize("size", [0, 1, 671, 1183, 1185, 1204])
def test_a_report_of_another_length(size: int) -> None:
    report = vector("ms-tav/milan-v3-aci").read("report.bin")
    with pytest.raises(EvidenceError) as refusal:
        Report.parse((report + bytes(20))[:size])
    assert refusal.value.code == "report_length"

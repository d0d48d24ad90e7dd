"""Leaves: every place is tried by verifying the report with what it has, and none is trusted."""

from __future__ import annotations

import dataclasses

import pytest

from sealserve.attestation import Report, roots
from sealserve.attestation.certificate_table import ASK, VCEK, VLEK, CertificateTable
from sealserve.attestation.devices.cache import Cache, leaf_name
from sealserve.attestation.thim import HostCertificate
from sealserve.errors import UnavailableError
from support.attestation_hardware import GENOA, Place, Service, milan_cpuinfo, own_place
from support.attestation_table import table
from support.attestation_vectors import vector, vectors

ACCEPTED = [row for row in vectors("snp", "leaf.der", "report.bin") if row.verdict == "accept"]
CONFIGFS = vector("veraison/genoa-v3-configfs-tsm")
ACI = vector("ccfdns/aci-genoa-v3")
OTHER_CHIP = vector("aci-attestation/aci-milan-v3-other-chip")
VLEK_ROW = vector("trustee/milan-v3-vlek")
MILAN_V2 = vector("trustee/milan-v2")
REPORT = GENOA.read("report.bin")


def document(row):
    return HostCertificate.parse(row.read("host_amd_cert.json"))


class Host:
    """The host's service, asked once for each fetch."""

    url = "http://169.254.169.254"

    def __init__(self, found):
        self.found = found

    def certificate(self):
        if isinstance(self.found, str):
            raise UnavailableError(self.found)
        return self.found


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.id)
def test_a_leaf_in_the_table_is_at_hand_and_needs_no_intermediate_beside_it(row):
    found = (
        Place.of(row).leaves().at_hand(row.read("report.bin"), table({VCEK: row.read("leaf.der")}))
    )
    assert found.candidate.leaf == row.read("leaf.der")
    assert found.candidate.intermediate == row.evidence().intermediate
    assert found.candidate.origin == "certificate table"
    assert found.signed.line == row.measured["product"].lower()


def test_a_real_table_is_taken_as_it_is():
    found = (
        Place.of(CONFIGFS)
        .leaves()
        .at_hand(CONFIGFS.read("report.bin"), CONFIGFS.read("auxblob.bin"))
    )
    assert found.candidate.leaf == CONFIGFS.read("leaf.der")


def test_a_vlek_is_found_in_the_table_alone():
    place = Place.of(VLEK_ROW)
    place.now = place.now.replace(year=2025, month=6)  # in its one year
    leaf = VLEK_ROW.read("leaf.der")
    found = place.leaves().at_hand(VLEK_ROW.read("report.bin"), table({VLEK: leaf}))
    assert found.signed.signing_key == "vlek"
    assert found.candidate.intermediate == roots.intermediate("milan", "vlek")


WRONG = {
    "no table": b"",
    "no table at all": b"\x01" * 30,
    "the leaf of another chip": table({VCEK: vector("trustee/genoa-v3").read("leaf.der")}),
    "no certificate": table({VCEK: b"leaf"}),
    "an intermediate in place of the leaf": table({VCEK: roots.intermediate("genoa", "vcek")}),
    "a leaf nobody can read": table({VCEK: b"-----BEGIN x"}),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_did_not_sign_the_report_is_passed_over(data):
    assert Place.of(GENOA).leaves().at_hand(REPORT, data) is None


def test_a_wrong_intermediate_is_replaced_by_the_one_we_ship():
    leaf = GENOA.read("leaf.der")
    data = table({VCEK: leaf, ASK: roots.intermediate("milan", "vcek")})
    found = Place.of(GENOA).leaves().at_hand(REPORT, data)
    assert found.candidate.intermediate == roots.intermediate("genoa", "vcek")


def test_the_security_context_has_the_leaf_of_its_chip():
    found = (
        Place.of(ACI, places={"context": document(ACI)})
        .leaves()
        .at_hand(ACI.read("report.bin"), b"")
    )
    assert found.candidate.origin == "security context"


def test_a_certificate_of_before_a_firmware_update_is_not_even_tried():
    context = dataclasses.replace(document(ACI), tcb=bytes(8))
    place = Place.of(ACI, places={"context": context})
    assert place.leaves().at_hand(ACI.read("report.bin"), b"") is None


def test_a_context_of_another_chip_does_not_help():
    place = Place.of(OTHER_CHIP, places={"context": document(OTHER_CHIP)})
    assert place.leaves().at_hand(OTHER_CHIP.read("report.bin"), b"") is None


def test_what_worked_is_kept_in_memory():
    leaves = Place.of(GENOA).leaves()
    assert leaves.at_hand(REPORT, b"") is None
    leaves.at_hand(REPORT, table({VCEK: GENOA.read("leaf.der")}))
    assert leaves.at_hand(REPORT, b"").candidate.leaf == GENOA.read("leaf.der")


def test_what_was_fetched_is_on_disk_for_the_next_start(tmp_path):
    cache = Cache(tmp_path)
    service = Service(leaf=GENOA.read("leaf.der"))
    place = Place.of(GENOA, cache=cache, service=service)
    assert place.leaves().at_hand(REPORT, b"") is None
    assert place.leaves().fetch(REPORT).candidate.origin == "AMD's service"
    offline = Place.of(GENOA, cache=Cache(tmp_path), service=Service())
    found = offline.leaves().at_hand(REPORT, b"")
    assert found.candidate.origin == "disk"
    assert offline.service.asked == []
    assert [path.name for path in tmp_path.iterdir()] == [leaf_name(Report.parse(REPORT), "genoa")]


def test_an_intermediate_newer_than_this_release_is_asked_for_and_kept(simulated_root, tmp_path):
    """Our ASK stands for the one AMD would make: the one that is shipped did not sign the leaf."""
    place = own_place(simulated_root)
    found = CertificateTable.parse(place.machine.table)
    raw = place.machine.make(bytes(64))
    place.cache = Cache(tmp_path)
    place.service = Service(leaf=found.vcek, ask=found.intermediate)
    assert place.leaves().fetch(raw).candidate.intermediate == found.intermediate
    assert place.service.asked == ["vcek milan", "chain milan vcek"]
    kept = place.leaves().at_hand(raw, b"").candidate
    assert (kept.origin, kept.intermediate) == ("disk", found.intermediate)


def test_the_intermediate_we_ship_is_not_tried_twice():
    wrong = vector("trustee/genoa-v3").read("leaf.der")
    place = Place.of(GENOA, service=Service(leaf=wrong, ask=roots.intermediate("genoa", "vcek")))
    with pytest.raises(UnavailableError) as refusal:
        place.leaves().fetch(REPORT)
    assert refusal.value.message.count("the report was not signed by the key of this leaf") == 1


@pytest.mark.parametrize("content", [b"rubbish", vector("trustee/genoa-v3").read("leaf.der")])
def test_a_changed_file_on_disk_costs_a_fetch_and_nothing_else(tmp_path, content):
    cache = Cache(tmp_path)
    cache.put(leaf_name(Report.parse(REPORT), "genoa"), content)
    place = Place.of(GENOA, cache=cache, service=Service(leaf=GENOA.read("leaf.der")))
    leaves = place.leaves()
    assert leaves.at_hand(REPORT, b"") is None
    assert leaves.fetch(REPORT).candidate.leaf == GENOA.read("leaf.der")
    assert cache.get(leaf_name(Report.parse(REPORT), "genoa")) == GENOA.read("leaf.der")


def test_a_wrong_answer_is_not_kept(tmp_path):
    wrong = vector("trustee/genoa-v3").read("leaf.der")
    place = Place.of(GENOA, cache=Cache(tmp_path), service=Service(leaf=wrong))
    with pytest.raises(UnavailableError, match="AMD's service: the report was not signed"):
        place.leaves().fetch(REPORT)
    assert not list(tmp_path.iterdir())


def test_the_host_is_asked_before_amd():
    service = Service()
    place = Place.of(ACI, service=service, places={"host": Host(document(ACI))})
    assert place.leaves().fetch(ACI.read("report.bin")).candidate.origin == "the host's service"
    assert service.asked == []


def test_a_host_that_is_behind_leads_to_amd():
    stale = dataclasses.replace(document(ACI), tcb=bytes(8))
    service = Service(leaf=ACI.read("leaf.der"))
    place = Place.of(ACI, service=service, places={"host": Host(stale)})
    assert place.leaves().fetch(ACI.read("report.bin")).candidate.origin == "AMD's service"
    assert service.asked == ["vcek genoa"]


def test_every_place_says_why_it_did_not_help():
    place = Place.of(GENOA, service=Service(), places={"host": Host("nobody there")})
    with pytest.raises(UnavailableError, match="nobody there; is away"):
        place.leaves().fetch(REPORT)
    with pytest.raises(UnavailableError, match="no certificate for this chip"):
        Place.of(GENOA).leaves().fetch(REPORT)


@pytest.mark.parametrize("found", [dataclasses.replace(document(ACI), tcb=bytes(8)), document(ACI)])
def test_a_host_says_what_is_wrong_with_its_certificate(found):
    place = Place.of(GENOA, places={"host": Host(found)})
    behind = found.tcb != Report.parse(REPORT).reported_tcb
    words = "has no certificate for this TCB" if behind else "the host's service: "
    with pytest.raises(UnavailableError, match=words):
        place.leaves().fetch(REPORT)


def test_a_wrong_clock_is_told():
    place = Place.of(GENOA, service=Service(leaf=GENOA.read("leaf.der")))
    place.now = place.now.replace(year=2020)
    with pytest.raises(UnavailableError, match="SEV-VCEK is not valid yet"):
        place.leaves().fetch(REPORT)


def test_a_report_of_version_2_is_of_the_line_of_its_processor(tmp_path):
    report = MILAN_V2.read("report.bin")
    service = Service(leaf=MILAN_V2.read("leaf.der"))
    places = {"cpuinfo": milan_cpuinfo(tmp_path)}
    place = Place.of(MILAN_V2, service=service, cache=Cache(tmp_path / "amd"), places=places)
    assert place.leaves().fetch(report).signed.line == "milan"
    assert service.asked == ["vcek milan"]
    assert place.leaves().at_hand(report, b"").candidate.origin == "disk"


def test_without_a_line_nobody_can_be_asked(tmp_path):
    place = Place.of(MILAN_V2, service=Service(), places={"cpuinfo": tmp_path / "none"})
    with pytest.raises(UnavailableError, match="which line this is"):
        place.leaves().fetch(MILAN_V2.read("report.bin"))
    assert place.service.asked == []


def test_a_tcb_no_line_can_have_is_told():
    changed = bytearray(REPORT)
    changed[0x182] = 1  # reserved on Genoa
    with pytest.raises(UnavailableError, match="reserved bytes of a genoa TCB"):
        Place.of(GENOA, service=_AsKds()).leaves().fetch(bytes(changed))


class _AsKds(Service):
    def vcek(self, report, line, *, seconds):
        from sealserve.attestation.devices.kds import vcek_path

        return super().vcek(vcek_path(report, line), line, seconds=seconds)

"""From an empty disk to evidence and back, over HTTP as the real services speak it."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime

import pytest

from sealserve.attestation import Roots, verify
from sealserve.attestation.certificate_table import ASK, VCEK, CertificateTable
from sealserve.attestation.devices.cache import Cache
from sealserve.attestation.devices.configfs import Configfs
from sealserve.attestation.devices.host_service import HostService
from sealserve.attestation.devices.kds import Kds
from sealserve.attestation.devices.sev import Sev
from sealserve.attestation.devices.sev_guest import SevGuest
from sealserve.errors import UnavailableError
from support.attestation_devices import SevGuestKernel, SevKernel, TsmTree
from support.attestation_hardware import GENOA, GENOA_LIST, Place, own_place
from support.attestation_simulated import CLAIMS
from support.attestation_table import table
from support.keys_server import Reply, serve, serve_plainly
from support.keys_tls import Ca

REPORT, LEAF = GENOA.read("report.bin"), GENOA.read("leaf.der")


class Amd:
    """AMD's service: what it has by path and query, one answer and then 429, in turns."""

    def __init__(self, ca: Ca, **has: bytes) -> None:
        self.has = has
        self.lock = threading.Lock()
        self.answered = 0
        self.server = serve(self.answer, ca)
        self.pauses: list[float] = []
        tls = ssl.create_default_context(cadata=ca.pem.decode())
        self.kds = Kds(self.server.url, tls=tls, pause=self.pauses.append)

    def answer(self, request):
        with self.lock:
            self.answered += 1
            if self.answered % 2 == 0:
                return Reply(429, headers={"Retry-After": "10"})
        kind = "crl" if request.path.endswith("/crl") else "vcek"
        return Reply(body=self.has[kind]) if kind in self.has else Reply(404)


@pytest.fixture(scope="module")
def ca():
    return Ca()


def test_a_chip_of_amds_from_nothing(ca, tmp_path):
    """Genuine certificate and list, waited for as asked; the next start needs nobody."""
    amd = Amd(ca, vcek=LEAF, crl=GENOA_LIST)
    with amd.server, serve_plainly(lambda request: Reply(404)) as host:
        place = Place.of(GENOA, cache=Cache(tmp_path), service=amd.kds)
        place.places["host"] = HostService(host.url)
        found = place.leaves().fetch(REPORT)
        place.lists().refresh(found)
    assert [request.path.split("/")[1:4] for request in amd.server.requests] == [
        ["vcek", "v1", "Genoa"],
        ["vcek", "v1", "Genoa"],
        ["vcek", "v1", "Genoa"],
    ]
    assert amd.pauses == [10.0]
    offline = Place.of(GENOA, cache=Cache(tmp_path)).source()
    evidence = offline.evidence(GENOA.read("runtime_data.bin"))
    assert evidence.crl == GENOA_LIST
    assert verify(evidence, Roots.amd(), GENOA.at).crl_this_update is not None


def devices(place, tmp_path):
    """Every kind of device of the same machine."""
    make, beside = place.machine.make, place.machine.table
    return {
        "sev-guest": SevGuest(call=SevGuestKernel(make, beside)),
        "sev": Sev(call=SevKernel(make)),
        "configfs": Configfs(TsmTree(tmp_path / "report", make, beside)),
    }


@pytest.mark.parametrize("kind", ["sev-guest", "sev", "configfs"])
def test_every_device_serves_evidence_that_its_clients_accept(ca, simulated_root, tmp_path, kind):
    """The host hands the certificate over, AMD's service the list; then both may go away."""
    place = own_place(simulated_root)
    found = CertificateTable.parse(place.machine.table)
    place.machine.table = table({VCEK: found.vcek, ASK: found.intermediate})
    document = thim(found, place)
    amd = Amd(ca, crl=found.crl)
    with amd.server, serve_plainly(lambda request: Reply(body=document)) as host:
        place.service = amd.kds
        place.places["host"] = HostService(host.url)
        source = place.source()
        source.device = devices(place, tmp_path)[kind]
        source.prepare(pytest.fail)
        assert len(host.requests) == (kind == "sev")
    for claims in (CLAIMS, b"{}"):
        evidence = source.evidence(claims)
        assert verify(evidence, place.roots, datetime.now(UTC)).runtime == claims
        assert evidence.crl == found.crl
    source.close()


def test_nobody_there_is_told_by_name(ca, simulated_root):
    place = own_place(simulated_root)
    place.machine.table = b""
    amd = Amd(ca)
    with amd.server, serve_plainly(lambda request: Reply(500)) as host:
        place.service = amd.kds
        place.places["host"] = HostService(host.url)
        with pytest.raises(UnavailableError) as refusal:
            place.source().prepare(pytest.fail)
    assert f"{host.url} answered HTTP 500" in refusal.value.message
    assert "(HTTP 404)" in refusal.value.message


def thim(found: CertificateTable, place: Place) -> bytes:
    """The host's document for this machine."""
    report = place.machine.make(bytes(64))
    pem = [ssl.DER_cert_to_PEM_cert(each) for each in (found.vcek, found.intermediate)]
    return json.dumps(
        {
            "vcekCert": pem[0],
            "certificateChain": pem[1] + pem[1],  # the second is the root, which nobody reads
            "tcbm": report[0x180:0x188][::-1].hex().upper(),
            "cacheControl": "86400",
        }
    ).encode()

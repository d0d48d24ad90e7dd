"""AMD's service: the right question, patience, and an end to everything."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from sealserve.attestation import Report, roots, tcb
from sealserve.attestation.devices.kds import Kds, list_path, vcek_path
from sealserve.errors import UnavailableError
from support.attestation_vectors import vector
from support.keys_server import Raw, Reply, serve
from support.keys_tls import Ca

SHORT = 0.4
GENOA = vector("openpcc/az-cvm-genoa-v3")
TURIN = vector("ms-tav/turin-v5-aci")
REPORT = Report.parse(GENOA.read("report.bin"))
LEAF = GENOA.read("leaf.der")
GOOD = Reply(body=LEAF)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1347\r\n\r\n"


@pytest.fixture(scope="module")
def ca():
    return Ca()


class Told:
    """The service with a server that answers as told; keeps the pauses it was made to wait."""

    def __init__(self, answer, issuer, trusted):
        self.pauses = []
        self.server = serve(answer, issuer)
        tls = ssl.create_default_context(cadata=trusted.pem.decode())
        self.service = Kds(self.server.url, tls=tls, pause=self.pauses.append)

    def vcek(self, seconds=60.0):
        return self.service.vcek(REPORT, "genoa", seconds=seconds)

    @property
    def asked(self):
        return [f"{each.path}?{each.query}" for each in self.server.requests]


@pytest.fixture
def told(ca):
    opened = []

    def make(answer, trusted=ca):
        case = Told(answer, ca, trusted)
        case.server.__enter__()
        opened.append(case)
        return case

    yield make
    for case in opened:
        case.server.__exit__(None, None, None)


def test_genoa_is_asked_for_by_chip_and_reported_tcb():
    assert vcek_path(REPORT, "genoa") == (
        f"/vcek/v1/Genoa/{REPORT.chip_id.hex()}?blSPL=10&teeSPL=0&snpSPL=23&ucodeSPL=84"
    )


def test_turin_has_a_short_chip_id_and_one_component_more():
    report = Report.parse(TURIN.read("report.bin"))
    assert len(report.chip_id[:8].hex()) == 16
    assert vcek_path(report, "turin") == (
        f"/vcek/v1/Turin/{report.chip_id[:8].hex()}?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81"
    )


def test_the_reported_tcb_counts_and_not_the_current_one():
    report = Report.parse(vector("trustee/milan-v2").read("report.bin"))
    levels = tcb.decode(report.reported_tcb, "milan")
    assert f"snpSPL={levels.snp}&ucodeSPL={levels.microcode}" in vcek_path(report, "milan")


def test_lists_are_asked_for_by_line_and_kind():
    assert list_path("milan", "vcek") == "/vcek/v1/Milan/crl"
    assert list_path("turin", "vlek") == "/vlek/v1/Turin/crl"


def test_a_vlek_is_the_hosts_alone():
    report = Report.parse(vector("trustee/milan-v3-vlek").read("report.bin"))
    with pytest.raises(UnavailableError, match="VLEK, which only its host has"):
        vcek_path(report, "milan")


def test_a_masked_chip_cannot_be_asked_for():
    masked = bytearray(GENOA.read("report.bin"))
    masked[0x1A0:0x1E0] = bytes(64)
    with pytest.raises(UnavailableError, match="masks the chip's id"):
        vcek_path(Report.parse(bytes(masked)), "genoa")


def test_the_certificate_is_brought(told):
    case = told(lambda request: GOOD)
    assert case.vcek() == LEAF
    assert case.asked == [vcek_path(REPORT, "genoa")]
    assert case.pauses == []


def test_the_list_is_brought(told):
    case = told(lambda request: Reply(body=b"list"))
    assert case.service.revocation_list("genoa", "vcek", seconds=60) == b"list"
    assert case.asked == ["/vcek/v1/Genoa/crl?"]


CHAIN = b"".join(
    (Path(roots.__file__).parent / f"genoa_{name}.pem").read_bytes() for name in ("ask", "ark")
)


def test_the_intermediate_is_the_first_of_its_chain(told):
    case = told(lambda request: Reply(body=CHAIN))
    found = case.service.intermediate("genoa", "vcek", seconds=60)
    assert found == roots.intermediate("genoa", "vcek")
    assert case.asked == ["/vcek/v1/Genoa/cert_chain?"]


@pytest.mark.parametrize("body", [b"", b"chain", CHAIN * 2, LEAF])
def test_another_chain_cannot_be_read(told, body):
    case = told(lambda request: Reply(body=body))
    with pytest.raises(UnavailableError, match="a chain that cannot be read"):
        case.service.intermediate("genoa", "vcek", seconds=60)


def test_too_many_questions_are_asked_again_when_the_service_says(told):
    answers = iter([Reply(429, headers={"Retry-After": "11"}), Reply(503), GOOD])
    case = told(lambda request: next(answers))
    assert case.vcek() == LEAF
    first, second = case.pauses
    assert first == 11
    assert 2 <= second <= 6


def test_a_pause_beyond_the_deadline_is_told_and_not_waited(told):
    case = told(lambda request: Reply(429, headers={"Retry-After": "600"}))
    with pytest.raises(UnavailableError, match="asks for patience") as refusal:
        case.vcek()
    assert refusal.value.retry_after_seconds == 600
    assert case.pauses == []


def test_patience_once_asked_for_holds_for_every_later_question(told):
    case = told(lambda request: Reply(429, headers={"Retry-After": "600"}))
    with pytest.raises(UnavailableError, match="HTTP 429"):
        case.vcek()
    with pytest.raises(UnavailableError, match="asked for patience") as refusal:
        case.service.revocation_list("genoa", "vcek", seconds=60)
    assert 590 < refusal.value.retry_after_seconds <= 600
    assert len(case.asked) == 1
    case.server.answer = lambda request: GOOD
    assert case.vcek(seconds=700) == LEAF
    assert 590 < case.pauses[0] <= 600


@pytest.mark.parametrize("after", ["soon", "-5", "1e9", "99999999", ""])
def test_another_retry_after_is_none(told, after):
    answers = iter([Reply(429, headers={"Retry-After": after}), GOOD])
    case = told(lambda request: next(answers))
    assert case.vcek() == LEAF
    assert 1 <= case.pauses[0] <= 3


def test_a_service_that_is_never_well_ends_with_the_deadline(told):
    case = told(lambda request: Reply(500))
    with pytest.raises(UnavailableError, match=r"is not well \(HTTP 500\)"):
        case.vcek(seconds=0.9)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404])
def test_a_refusal_is_final_and_a_redirect_not_followed(told, status):
    case = told(lambda request: Reply(status, headers={"Location": "/elsewhere"}))
    with pytest.raises(UnavailableError, match=f"HTTP {status}") as refusal:
        case.vcek()
    assert "redirects are not followed" in refusal.value.hint
    assert len(case.asked) == 1


def test_an_answer_longer_than_a_certificate_is_cut_off(told):
    case = told(lambda request: Reply(body=bytes(8 * 1024 + 1)))
    with pytest.raises(UnavailableError, match="answered with more than 8192 bytes"):
        case.vcek()


def test_a_truncated_body_is_no_answer(told):
    case = told(
        lambda request: Raw([b"HTTP/1.1 200 OK\r\nContent-Length: 1347\r\n\r\n", LEAF[:99]])
    )
    with pytest.raises(UnavailableError, match="does not answer"):
        case.vcek(seconds=SHORT)


@pytest.mark.parametrize("pieces", [[], [HEAD, LEAF]])
def test_a_peer_that_hangs_or_dribbles_ends_with_the_deadline(told, pieces):
    case = told(lambda request: case.server.dribble(pieces))
    with pytest.raises(UnavailableError, match="did not finish its answer in time"):
        case.vcek(seconds=SHORT)


def test_what_is_no_http_is_told(told):
    case = told(lambda request: Raw([b"220 mail.example ESMTP\r\n"]))
    with pytest.raises(UnavailableError, match="the exchange broke off"):
        case.vcek(seconds=SHORT)


def test_another_authority_is_not_spoken_to(told):
    case = told(lambda request: GOOD, trusted=Ca("another"))
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        case.vcek(seconds=SHORT)
    assert case.asked == []


def test_nobody_there_is_told(told):
    case = told(lambda request: GOOD)
    case.server.shutdown()
    case.server.socket.close()
    with pytest.raises(UnavailableError, match="connection refused"):
        case.vcek(seconds=SHORT)


def test_proxies_of_the_environment_have_no_say(told, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert told(lambda request: GOOD).vcek() == LEAF


def test_nothing_is_unpacked(told):
    case = told(lambda request: Reply(body=b"packed", headers={"Content-Encoding": "gzip"}))
    assert case.vcek() == b"packed"
    assert case.server.requests[0].headers["accept-encoding"] == "identity"

"""Evidence of hardware: complete without a network, and only what its receivers will accept."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from sealserve.attestation import Roots, verify
from sealserve.attestation.binding import report_data
from sealserve.attestation.certificate_table import ASK, CRL, VCEK, CertificateTable
from sealserve.attestation.devices.keeper import Keeper
from sealserve.attestation.simulated import MEASUREMENT
from sealserve.errors import UnavailableError
from support.attestation_hardware import BOUND, GENOA, GENOA_LIST, Place, Service, own_place
from support.attestation_simulated import CLAIMS
from support.attestation_table import table
from support.attestation_uvm import good

REPORT, LEAF = GENOA.read("report.bin"), GENOA.read("leaf.der")
REAL_CLAIMS = GENOA.read("runtime_data.bin")
SECONDS = 20.0
REFUSED = "clients will refuse the endorsement of this machine"


@pytest.mark.parametrize("row", BOUND, ids=lambda row: row.id)
def test_real_reports_become_evidence_that_verifies_offline(row):
    place = Place.of(row)
    place.machine.table = table({VCEK: row.read("leaf.der")})
    evidence = place.source().evidence(row.read("runtime_data.bin"))
    claims = verify(evidence, Roots.amd(), row.at)
    assert claims.runtime == row.read("runtime_data.bin")
    assert evidence.root is None


def test_list_and_endorsement_are_stapled():
    place = Place.of(GENOA)
    place.machine.table = table({VCEK: LEAF, CRL: GENOA_LIST})
    source = place.source(endorsement=b"cose")
    chain = place.leaves().at_hand(REPORT, place.machine.table)
    assert source._lists.offer(chain, GENOA_LIST)
    evidence = source.evidence(REAL_CLAIMS)
    assert evidence.crl == GENOA_LIST
    assert evidence.uvm_endorsement == b"cose"


def test_another_answer_than_to_our_question_is_refused():
    place = Place.of(GENOA)
    place.machine.make = lambda data: REPORT
    with pytest.raises(UnavailableError, match="answered another question"):
        place.source().evidence(b"{}")


def test_a_report_nobody_accepts_is_told_and_not_sent():
    place = Place.of(GENOA)
    place.machine.make = lambda data: REPORT[:-1]
    with pytest.raises(UnavailableError, match="a report that nobody accepts: length"):
        place.source().evidence(REAL_CLAIMS)


def test_a_request_never_asks_the_network():
    place = Place.of(GENOA, service=Service(leaf=LEAF, crl=GENOA_LIST))
    with pytest.raises(UnavailableError, match="no certificate at hand") as refusal:
        place.source().evidence(REAL_CLAIMS)
    assert refusal.value.retry_after_seconds > 0
    assert place.service.asked == []


def test_what_came_is_verified_at_the_time_of_each_use():
    place = Place.of(GENOA)
    place.machine.table = table({VCEK: LEAF})
    source = place.source()
    assert source.evidence(REAL_CLAIMS).leaf == LEAF
    place.now = datetime(2040, 1, 1, tzinfo=UTC)  # the leaf has expired
    with pytest.raises(UnavailableError, match="no certificate at hand"):
        source.evidence(REAL_CLAIMS)


# ---- before the first request, and in the background


class Own:
    """A machine of our own with a service that is away; hears what its source tells."""

    def __init__(self, root):
        self.place = own_place(root)
        self.service = self.place.service = Service()
        self.full = self.place.machine.table
        self.list = CertificateTable.parse(self.full).crl
        self.heard = []
        self.hearing = threading.Event()

    def tell(self, words):
        self.heard.append(words)
        self.hearing.set()


@pytest.fixture
def own(simulated_root):
    return Own(simulated_root)


def test_before_serving_everything_is_fetched_and_kept(own):
    own.service.crl = own.list
    own.place.machine.table = _without_list(own.full)
    source = own.place.source()
    source.prepare(own.tell)
    try:
        evidence = source.evidence(CLAIMS)
        assert evidence.crl == own.list
        assert own.service.asked == ["list milan vcek"]
        assert own.heard == []
        assert verify(evidence, own.place.roots, datetime.now(UTC)).crl_this_update is not None
    finally:
        source.close()


def test_who_prepares_may_be_forked(own):
    """Whoever needs evidence is a child then, and keeps current what it inherits."""
    before = threading.active_count()
    source = own.place.source()
    source.prepare(own.tell)
    try:
        assert threading.active_count() == before
        source.evidence(CLAIMS)
        source.evidence(CLAIMS)
        assert threading.active_count() == before + 1
    finally:
        source.close()


def test_nothing_is_kept_current_after_the_end(own):
    before = threading.active_count()
    source = own.place.source()
    source.prepare(own.tell)
    source.close()
    source.evidence(CLAIMS)
    assert threading.active_count() == before


def test_a_list_in_the_hosts_table_is_used_without_a_network(own):
    source = own.place.source()
    source.prepare(own.tell)
    try:
        assert source.evidence(CLAIMS).crl == own.list
        assert own.hearing.wait(SECONDS)  # the service is away: told, and nobody is kept waiting
        assert own.heard[0] == "is away"
    finally:
        source.close()


def test_without_a_list_a_server_starts_and_says_so(own):
    own.place.machine.table = _without_list(own.full)
    source = own.place.source()
    source.prepare(own.tell)
    try:
        assert source.evidence(CLAIMS).crl is None
        assert own.heard == ["is away"]
    finally:
        source.close()


ENDORSEMENTS = {
    "of this launch": (good().form_b(payload=MEASUREMENT), []),
    "of another": (good().form_b(payload=bytes(48)), [REFUSED]),
    "none at all": (b"cose", [REFUSED]),
}


@pytest.mark.parametrize(("data", "told"), ENDORSEMENTS.values(), ids=ENDORSEMENTS)
def test_an_endorsement_of_something_else_is_told_before_clients_refuse_it(own, data, told):
    own.service.crl = own.list
    source = own.place.source(endorsement=data)
    source.prepare(own.tell)
    source.close()
    assert [words.partition(":")[0] for words in own.heard] == told


def test_without_a_certificate_no_server_starts(own):
    own.place.machine.table = b""
    with pytest.raises(UnavailableError, match="no certificate for this chip"):
        own.place.source().prepare(own.tell)


def _without_list(data: bytes) -> bytes:
    found = CertificateTable.parse(data)
    return table({VCEK: found.vcek, ASK: found.intermediate})


class Waiting(Service):
    """A service whose every question is heard of."""

    def __init__(self, **answers):
        super().__init__(**answers)
        self.heard = threading.Condition()

    def _answer(self, what, answer):
        with self.heard:
            self.heard.notify_all()
            return super()._answer(what, answer)

    def until(self, count):
        """Until that many questions were asked."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.asked) >= count, SECONDS)


def keeper(place, told, **pauses):
    """One that is not started, and its leaves."""
    chain = place.leaves().at_hand(REPORT, table({VCEK: LEAF}))
    leaves = place.leaves()
    return leaves, Keeper(leaves, place.lists(), chain, told.append, **pauses)


@contextmanager
def ended(keeping):
    """Inside it works, if it was started; afterwards its thread has ended."""
    try:
        yield
    finally:
        keeping.stop()
        if keeping._thread is not None:
            keeping._thread.join(SECONDS)
            assert not keeping._thread.is_alive()


def until_it_waits(keeping):
    """Until nothing is due for long."""
    end = time.monotonic() + SECONDS
    while keeping._next_at - time.monotonic() < 3000:
        assert time.monotonic() < end
        time.sleep(0.005)


def told_until(count, service, **pauses):
    """What a keeper tells until so many questions were asked."""
    told = []
    _, keeping = keeper(Place.of(GENOA, service=service), told, **pauses)
    with ended(keeping):
        keeping.start()
        service.until(count)
    return told


def test_the_list_is_renewed_again_and_again():
    service = Waiting(crl=GENOA_LIST)
    assert told_until(3, service, renew_seconds=0.01) == []
    assert set(service.asked) == {"list genoa vcek"}


def test_what_failed_is_tried_again():
    assert set(told_until(3, Waiting(), first_pause_seconds=0.01)) == {"is away"}


def test_a_bug_in_the_background_is_told_and_does_not_end_it():
    told = told_until(2, Waiting(crl=None), first_pause_seconds=0.01)
    assert set(told) == {"unforeseen TypeError"}


def test_a_leaf_that_is_wanted_is_fetched_at_once():
    place, told = Place.of(GENOA, service=Waiting(leaf=LEAF, crl=GENOA_LIST)), []
    leaves, keeping = keeper(place, told)
    with ended(keeping):
        keeping.start()
        place.service.until(1)
        assert leaves.at_hand(REPORT, b"") is None
        keeping.want(REPORT)
        place.service.until(2)
    assert place.service.asked == ["list genoa vcek", "vcek genoa"]
    assert leaves.at_hand(REPORT, b"").candidate.leaf == LEAF
    assert told == []


def test_a_service_that_says_when_is_not_asked_before():
    place = Place.of(GENOA, service=Waiting())
    place.service.retry_after_seconds = 3600.0
    _, keeping = keeper(place, [], first_pause_seconds=0.01)
    with ended(keeping):
        keeping.begin()  # returns when it was tried
        keeping.start()
        assert keeping._next_at - time.monotonic() > 3000
    assert len(place.service.asked) == 1


def test_a_list_that_cannot_be_had_does_not_keep_a_leaf_waiting():
    """The host may have the leaf while AMD's service is out of reach for good."""
    place = Place.of(GENOA, service=Waiting(leaf=LEAF))
    leaves, keeping = keeper(place, [], first_pause_seconds=3600.0)
    with ended(keeping):
        keeping.begin()
        keeping.start()
        keeping.want(REPORT)
        place.service.until(2)
    assert place.service.asked[:2] == ["list genoa vcek", "vcek genoa"]
    assert leaves.at_hand(REPORT, b"") is not None


def test_a_leaf_that_cannot_be_had_is_not_asked_for_at_each_request():
    place = Place.of(GENOA, service=Waiting(crl=GENOA_LIST))
    _, keeping = keeper(place, [], first_pause_seconds=3600.0)
    with ended(keeping):
        keeping.begin()
        keeping.start()
        keeping.want(REPORT)
        place.service.until(2)
        until_it_waits(keeping)
        for _ in range(3):
            keeping.want(REPORT)
        assert keeping._next_at - time.monotonic() > 3000
    assert place.service.asked == ["list genoa vcek", "vcek genoa"]


def test_the_pause_doubles_up_to_an_hour():
    _, keeping = keeper(Place.of(GENOA), [])
    pauses = [keeping._longer() for _ in range(60)]
    assert pauses[:4] == [30, 60, 120, 240]
    assert pauses[-1] == max(pauses) == 3600


def test_a_request_for_another_firmware_wakes_the_keeper():
    place = Place.of(GENOA, service=Waiting(leaf=LEAF, crl=GENOA_LIST))
    source = place.source()
    _, keeping = keeper(place, [])
    source._keeper, keeping._leaves = keeping, source._leaves
    with ended(keeping):
        keeping.start()
        with pytest.raises(UnavailableError) as refusal:
            source.evidence(REAL_CLAIMS)
        assert refusal.value.hint == "it is being fetched"
        place.service.until(2)
    evidence = source.evidence(REAL_CLAIMS)
    assert verify(evidence, Roots.amd(), GENOA.at).report.report_data == report_data(REAL_CLAIMS)

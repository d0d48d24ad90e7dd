"""Revocation lists: only one of AMD's and of now is stapled, and the newest of those."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sealserve.attestation.certificate_table import VCEK
from sealserve.attestation.devices.cache import Cache
from sealserve.attestation.simulated import issue
from sealserve.errors import UnavailableError
from support.attestation_hardware import (
    GENOA,
    GENOA_LIST,
    MILAN_LIST,
    Place,
    Service,
    own_place,
)
from support.attestation_table import table

REPORT = GENOA.read("report.bin")


def endorsed(place):
    return place.leaves().at_hand(REPORT, table({VCEK: GENOA.read("leaf.der")}))


def test_a_list_is_fetched_kept_and_there_at_the_next_start(tmp_path):
    place = Place.of(GENOA, cache=Cache(tmp_path), service=Service(crl=GENOA_LIST))
    lists = place.lists()
    assert lists.current(endorsed(place)) is None
    lists.refresh(endorsed(place))
    assert place.service.asked == ["list genoa vcek"]
    assert lists.current(endorsed(place)) == GENOA_LIST
    assert Place.of(GENOA, cache=Cache(tmp_path)).lists().current(endorsed(place)) == GENOA_LIST


REFUSALS = {
    "of another root": MILAN_LIST,
    "no list": b"list",
    "a flipped bit": GENOA_LIST[:-1] + bytes([GENOA_LIST[-1] ^ 1]),
}


@pytest.mark.parametrize("data", REFUSALS.values(), ids=REFUSALS)
def test_any_other_list_is_refused_wherever_it_comes_from(tmp_path, data):
    place = Place.of(GENOA, cache=Cache(tmp_path), service=Service(crl=data))
    lists = place.lists()
    with pytest.raises(UnavailableError, match="not AMD's or not of now"):
        lists.refresh(endorsed(place))
    assert not list(tmp_path.iterdir())
    assert not lists.offer(endorsed(place), data)
    place.cache.put("genoa-vcek.crl", data)
    assert lists.current(endorsed(place)) is None


@pytest.mark.parametrize(
    "now", [datetime(2025, 10, 1, tzinfo=UTC), datetime(2026, 11, 27, tzinfo=UTC)]
)
def test_a_list_of_another_time_is_not_stapled(now):
    place = Place.of(GENOA)
    lists, chain = place.lists(), endorsed(place)
    assert lists.offer(chain, GENOA_LIST)
    assert lists.current(chain) == GENOA_LIST
    place.now = now
    assert lists.current(chain) is None


def test_the_newer_list_stays(simulated_root):
    place = own_place(simulated_root)

    def made(age):
        start = datetime.now(UTC).replace(microsecond=0) - age
        return issue.crl(
            issuer=issue.name("ARK-Milan"),
            window=(start, start + timedelta(days=100)),
            revoked={},
            signer_id=issue.key_id(simulated_root.ark_key.public_key()),
            signer=simulated_root.ark_key,
        )

    older, newer = made(timedelta(days=9)), made(timedelta(days=8))
    lists = place.lists()
    chain = place.leaves().at_hand(place.machine.make(bytes(64)), place.machine.table)
    for offered, kept in ((older, older), (newer, newer), (older, newer)):
        assert lists.offer(chain, offered)
        assert lists.current(chain) == kept


def test_nobody_to_ask_is_told():
    place = Place.of(GENOA)
    with pytest.raises(UnavailableError, match="nobody is asked"):
        place.lists().refresh(endorsed(place))

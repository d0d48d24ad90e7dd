"""Whose turn it is to take a connection, by what stands in the table."""

from __future__ import annotations

from sealserve.inference.server.spread import LOOKS, Spread
from sealserve.inference.server.table import Share, State, Table

WORKERS = 3


def crew(serving: int = WORKERS) -> tuple[Share, list[Spread]]:
    share = Share(Table(["ab" * 32], 3 * WORKERS), turn=1, workers=WORKERS)
    for number in range(WORKERS):
        share.worker(number).begin()
        if number < serving:
            share.worker(number).state(State.SERVING)
    return share, [Spread(share, number) for number in range(WORKERS)]


def take(spread: Spread, times: int = 1) -> None:
    for _ in range(times):
        spread.took()


def test_whoever_holds_no_more_than_all_others_takes() -> None:
    _, (one, two, three) = crew()
    assert not any(each.come_first() for each in (one, two, three))
    take(one)
    assert one.come_first()
    assert not two.come_first()
    take(two)
    assert two.come_first()
    take(three)
    assert not any(each.come_first() for each in (one, two, three))


def test_what_is_over_is_not_held() -> None:
    _, (one, _, _) = crew()
    take(one)
    assert one.come_first()
    one.lost()
    assert not one.come_first()


def test_only_those_who_serve_count() -> None:
    share, (one, _, _) = crew(serving=1)
    take(one, 5)
    assert not one.come_first()
    for state in (State.DRAINING, State.ENDED, State.UNUSED, State.STARTING):
        share.worker(1).state(state)
        assert not one.come_first()
    share.worker(1).state(State.SERVING)
    assert one.come_first()


def test_other_generations_do_not_count() -> None:
    share, (one, _, _) = crew(serving=1)
    Share(share.table, turn=0, workers=WORKERS).worker(0).state(State.SERVING)
    take(one)
    assert not one.come_first()


def looks_until_its_turn(spread: Spread) -> int:
    looks = 0
    while spread.come_first():
        looks += 1
    return looks


def test_who_does_not_come_is_waited_for_once_and_not_again() -> None:
    _, (one, _, _) = crew()
    take(one)
    assert looks_until_its_turn(one) == LOOKS
    take(one)
    assert looks_until_its_turn(one) == 0


def test_who_comes_again_is_waited_for_again_even_if_there_was_nothing_to_take() -> None:
    _, (one, two, _) = crew()
    take(one)
    looks_until_its_turn(one)
    assert not two.come_first()
    assert looks_until_its_turn(one) == LOOKS


def test_who_comes_each_time_is_never_given_up() -> None:
    _, (one, two, _) = crew(serving=2)
    take(one)
    for _ in range(2 * LOOKS):
        assert one.come_first()
        assert not two.come_first()


def test_while_one_does_not_come_the_others_still_share() -> None:
    _, (one, two, _) = crew()
    take(one)
    take(two)
    assert looks_until_its_turn(one) == looks_until_its_turn(two) == LOOKS
    take(one)
    assert one.come_first()
    assert not two.come_first()


def test_a_successor_begins_with_none() -> None:
    share, (one, two, _) = crew(serving=2)
    take(one)
    take(two, 5)
    assert not one.come_first()
    share.worker(1).begin()
    share.worker(1).state(State.SERVING)
    assert share.worker(1).connections == 0
    assert one.come_first()


def test_alone_it_is_always_its_turn() -> None:
    share = Share(Table(["ab" * 32], 3), turn=0, workers=1)
    share.worker(0).state(State.SERVING)
    alone = Spread(share, 0)
    take(alone, 3)
    assert not alone.come_first()

"""Many nonces, one report: who shares it, who waits for the next, and what it says."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sealserve.attestation import ChallengeClaims, decode
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.challenge import (
    MAX_WAITING,
    MAX_WAITING_PER_PEER,
    Answer,
    Answerer,
    ChallengeWindow,
    peer_of,
)
from sealserve.inference.server.identity import TlsIdentity
from sealserve.native.errors import UnavailableError
from support.attestation_simulated import machine_of

CONFIG = bytes([0xC0] * 32)
ROOTS = [bytes([9] * 32), bytes([3] * 32)]


def nonce(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Platform:
    """Answers with the nonces it was asked about, and remembers each question."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[frozenset[bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure = failure

    def __call__(self, nonces: frozenset[bytes]) -> Answer:
        self.asked.append(nonces)
        self.gate.wait()
        if self.failure:
            raise self.failure
        return Answer(b"".join(sorted(nonces)), b"next")


def with_window(
    platform: Callable[[frozenset[bytes]], Answer], story: Callable[[ChallengeWindow], Any]
) -> None:
    """Run `story(window)` in a loop, with a thread that makes evidence."""

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            await story(ChallengeWindow(platform, executor, window_seconds=0))

    asyncio.run(main())


def asks(window: ChallengeWindow, numbers: range, peers: int) -> list[asyncio.Task[Answer]]:
    return [
        asyncio.create_task(window.ask(nonce(number), f"ipv4:10.0.0.{number % peers}"))
        for number in numbers
    ]


def test_256_nonces_share_one_report() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        answers = await asyncio.gather(*asks(window, range(256), peers=4))
        assert len({id(answer) for answer in answers}) == 1
        assert platform.asked == [frozenset(map(nonce, range(256)))]

    with_window(platform, story)


def test_the_257th_waits_for_the_next_report() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        answers = await asyncio.gather(*asks(window, range(257), peers=5))
        assert [len(nonces) for nonces in platform.asked] == [256, 1]
        for number, answer in enumerate(answers):
            assert nonce(number) in answer.evidence

    with_window(platform, story)


def test_a_nonce_that_comes_while_a_report_is_made_gets_a_later_one() -> None:
    """An answer made before a question was asked would not be fresh."""
    platform = Platform()
    platform.gate.clear()

    async def story(window: ChallengeWindow) -> None:
        first = asks(window, range(1), peers=1)
        while not platform.asked:
            await asyncio.sleep(0)
        second = asks(window, range(1, 2), peers=1)
        await asyncio.sleep(0)
        platform.gate.set()
        await asyncio.gather(*first, *second)
        assert platform.asked == [frozenset({nonce(0)}), frozenset({nonce(1)})]

    with_window(platform, story)


def test_the_same_nonce_twice_is_one_nonce_with_two_answers() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        answers = await asyncio.gather(window.ask(nonce(1), "a"), window.ask(nonce(1), "b"))
        assert platform.asked == [frozenset({nonce(1)})]
        assert answers[0] is answers[1]

    with_window(platform, story)


def test_one_peer_may_have_only_so_many_waiting() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        greedy = asks(window, range(MAX_WAITING_PER_PEER), peers=1)
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as refused:
            await window.ask(nonce(999), "ipv4:10.0.0.0")
        assert refused.value.retry_after_seconds > 0
        assert nonce(1000) in (await window.ask(nonce(1000), "another peer")).evidence
        await asyncio.gather(*greedy)

    with_window(platform, story)


def test_all_peers_together_may_have_only_so_many_waiting() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        everybody = asks(window, range(MAX_WAITING), peers=MAX_WAITING)
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await window.ask(nonce(MAX_WAITING), "one more peer")
        await asyncio.gather(*everybody)
        assert [len(nonces) for nonces in platform.asked] == [256] * (MAX_WAITING // 256)

    with_window(platform, story)


def test_who_asks_much_does_not_push_out_who_asks_once() -> None:
    """Five peers fill more than a report; the one nonce of a sixth is in the first all the same."""
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        many = asks(window, range(5 * MAX_WAITING_PER_PEER), peers=5)
        modest = asyncio.create_task(window.ask(nonce(5000), "modest"))
        await asyncio.gather(*many, modest)
        assert nonce(5000) in platform.asked[0]

    with_window(platform, story)


def test_who_went_away_is_not_named() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        staying, leaving = asks(window, range(2), peers=2)
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
        assert platform.asked == [frozenset({nonce(0)})]

    with_window(platform, story)


def test_no_report_is_made_when_everybody_went_away() -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        leaving = asks(window, range(3), peers=1)
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        worker = window._worker
        assert worker is not None
        await worker
        assert platform.asked == []

    with_window(platform, story)


def test_a_silent_platform_is_told_to_everybody_and_forgotten(server_log: io.StringIO) -> None:
    """Not in the platform's words, which name devices, services and what they answered."""
    platform = Platform(UnavailableError("/dev/31337 does not answer"))

    async def story(window: ChallengeWindow) -> None:
        told = await asyncio.gather(*asks(window, range(3), peers=3), return_exceptions=True)
        assert {(type(one), str(one)) for one in told} == {
            (UnavailableError, "no evidence could be made")
        }
        (line,) = server_log.getvalue().splitlines()
        assert json.loads(line)["event"] == "evidence_failed"
        assert "31337" not in line
        platform.failure = None
        await window.ask(nonce(7), "later")

    with_window(platform, story)


@pytest.mark.parametrize(
    ("numbers", "peers"),
    [(range(MAX_WAITING), MAX_WAITING), (range(MAX_WAITING_PER_PEER), 1)],
    ids=["full for all", "full for one peer"],
)
def test_who_was_refused_stands_in_nobodys_way(numbers: range, peers: int) -> None:
    platform = Platform()

    async def story(window: ChallengeWindow) -> None:
        waiting = asks(window, numbers, peers)
        await asyncio.sleep(0)
        late = "one more peer" if peers > 1 else "ipv4:10.0.0.0"
        with pytest.raises(BusyError):
            await window.ask(nonce(9999), late)
        assert all(window._waiting.values())
        await asyncio.gather(*waiting)
        assert nonce(9999) in (await window.ask(nonce(9999), "another peer")).evidence
        assert window._waiting == {}

    with_window(platform, story)


class Panic(BaseException):
    """As a panic in Rust reaches Python: no Exception."""


def test_what_nobody_foresaw_is_told_to_whom_it_hit_and_to_nobody_else() -> None:
    platform = Platform()
    platform.gate.clear()

    def panicking_once(nonces: frozenset[bytes]) -> Answer:
        answer = platform(nonces)
        if len(platform.asked) == 1:
            raise Panic("31337")
        return answer

    async def story(window: ChallengeWindow) -> None:
        hit = asks(window, range(3), peers=3)
        while not platform.asked:
            await asyncio.sleep(0)
        later = asks(window, range(3, 6), peers=3)  # they wait for a report that is not begun
        await asyncio.sleep(0)
        platform.gate.set()
        told = await asyncio.gather(*hit, return_exceptions=True)
        assert [type(one) for one in told] == [UnavailableError] * 3
        assert not any("31337" in str(one) for one in told)
        for number, answer in enumerate(await asyncio.gather(*later), start=3):
            assert nonce(number) in answer.evidence

    with_window(panicking_once, story)


def test_a_worker_that_is_cancelled_leaves_nobody_waiting() -> None:
    platform = Platform()
    platform.gate.clear()

    async def story(window: ChallengeWindow) -> None:
        asked = asks(window, range(3), peers=3)
        while not platform.asked:
            await asyncio.sleep(0)
        assert window._worker
        window._worker.cancel()
        told = await asyncio.gather(*asked, return_exceptions=True)
        platform.gate.set()
        assert [type(one) for one in told] == [UnavailableError] * 3
        await window.ask(nonce(7), "later")

    with_window(platform, story)


PEERS = {
    "ipv4:192.0.2.1:5555": "192.0.2.1",
    "ipv4:192.0.2.1:6666": "192.0.2.1",
    "ipv4:192.0.2.2:5555": "192.0.2.2",
    # gRPC writes brackets and percent signs as in a URI
    "ipv6:%5B2001:db8:1:2::1%5D:5555": "2001:db8:1:2::/64",
    "ipv6:%5B2001:db8:1:2:ffff:ffff:ffff:ffff%5D:6666": "2001:db8:1:2::/64",
    "ipv6:%5B2001:db8:1:3::1%5D:5555": "2001:db8:1:3::/64",
    "ipv6:[2001:db8:1:2::1]:5555": "2001:db8:1:2::/64",
    "ipv6:%5Bfe80::1%25eth0%5D:5555": "fe80::/64",
    "ipv6:%5B::ffff:192.0.2.1%5D:5555": "192.0.2.1",
    "unix:/run/a socket": "unix:/run/a socket",
    "unix:": "unix:",
    "": "",
}


@pytest.mark.parametrize(("address", "peer"), PEERS.items())
def test_whom_an_address_counts_as(address: str, peer: str) -> None:
    assert peer_of(address) == peer


# ---- what the answer says


@pytest.fixture
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


def test_the_claims_name_every_nonce_the_key_the_roots_and_what_comes_next(
    machine: Machine,
) -> None:
    identity = TlsIdentity(machine)
    answerer = Answerer(machine, identity, config=CONFIG, roots=ROOTS)
    answer = answerer.answer(frozenset({nonce(2), nonce(1)}))
    claims = ChallengeClaims.parse(decode(answer.evidence).claims)
    assert claims.nonces == (nonce(1), nonce(2))
    assert claims.spki == identity.spki_sha256
    assert claims.roots == tuple(sorted(ROOTS))
    assert claims.config == CONFIG
    assert answer.next_certificate == identity.certificates.next
    assert claims.next == hashlib.sha256(identity.certificates.next).digest()


def test_every_answer_has_a_report_of_its_own(machine: Machine) -> None:
    answerer = Answerer(machine, TlsIdentity(machine), config=CONFIG, roots=ROOTS)
    first = decode(answerer.answer(frozenset({nonce(1)})).evidence)
    second = decode(answerer.answer(frozenset({nonce(2)})).evidence)
    assert first.report != second.report
    assert first.claims != second.claims


def test_after_a_rotation_the_claims_name_the_new_next_certificate(machine: Machine) -> None:
    identity = TlsIdentity(machine)
    answerer = Answerer(machine, identity, config=CONFIG, roots=ROOTS)
    before = answerer.answer(frozenset({nonce(1)}))
    identity.rotate()
    after = answerer.answer(frozenset({nonce(2)}))
    assert identity.certificates.current == before.next_certificate
    assert after.next_certificate == identity.certificates.next != before.next_certificate
    claims = ChallengeClaims.parse(decode(after.evidence).claims)
    assert claims.next == hashlib.sha256(after.next_certificate).digest()


def test_a_full_window_and_as_many_roots_as_there_may_be_fit(machine: Machine) -> None:
    roots = [nonce(number) for number in range(32)]
    answerer = Answerer(machine, TlsIdentity(machine), config=CONFIG, roots=roots)
    answer = answerer.answer(frozenset(map(nonce, range(256))))
    assert len(ChallengeClaims.parse(decode(answer.evidence).claims).nonces) == 256

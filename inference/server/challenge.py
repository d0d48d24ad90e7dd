"""Answers challenges: one report for everybody who asked within a short window.

A report takes the security processor milliseconds and is made one at a time, so answering each
challenge with its own would let one peer starve the others. Nonces that arrive within the window
share a report; who waits is taken in turn, peer by peer, and each peer may have only so many
waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import unquote

from sealserve.attestation.binding import MAX_NONCES, ChallengeClaims
from sealserve.attestation.evidence import EvidenceSource, encode
from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import Identity
from sealserve.native.errors import UnavailableError

WINDOW_SECONDS: Final = 0.005  # shorter than a report takes on hardware, long enough for a burst
MAX_WAITING_PER_PEER: Final = 64
MAX_WAITING: Final = 16 * MAX_NONCES  # sixteen reports' worth; beyond that nobody would wait
_RETRY_SECONDS: Final = 1.0

Nonce = bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """evidence: encoded, over `challenge` claims. next_certificate: the one those claims name."""

    evidence: bytes
    next_certificate: bytes


class Answerer:
    """Makes one report for a set of nonces. Blocks while the platform works."""

    def __init__(
        self, source: EvidenceSource, identity: Identity, *, config: bytes, roots: list[bytes]
    ) -> None:
        self._source = source
        self._identity = identity
        self._config = config
        self._roots = tuple(sorted(roots))

    def answer(self, nonces: frozenset[Nonce]) -> Answer:
        """Fresh evidence that names every nonce; UnavailableError when the platform is silent."""
        next_certificate = self._identity.certificates.next
        claims = ChallengeClaims(
            config=self._config,
            next=hashlib.sha256(next_certificate).digest(),
            nonces=tuple(sorted(nonces)),
            roots=self._roots,
            spki=self._identity.spki_sha256,
        )
        return Answer(encode(self._source.evidence(claims.encode())), next_certificate)


class ChallengeWindow:
    """Collects challenges and answers them together; used from one event loop."""

    def __init__(
        self,
        answer: Callable[[frozenset[Nonce]], Answer],
        executor: Executor,
        *,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._answer = answer
        self._executor = executor
        self._window_seconds = window_seconds
        self._waiting: dict[str, deque[tuple[Nonce, asyncio.Future[Answer]]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, nonce: Nonce, peer: str) -> Answer:
        """The answer that names this nonce; BusyError if too many are waiting already.

        peer: as `peer_of` names it.
        """
        total = sum(len(queue) for queue in self._waiting.values())
        if len(self._waiting.get(peer, ())) >= MAX_WAITING_PER_PEER or total >= MAX_WAITING:
            raise BusyError(
                "too many challenges are waiting for evidence", retry_after_seconds=_RETRY_SECONDS
            )
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # A queue here is never empty: `_take` relies on it.
        self._waiting.setdefault(peer, deque()).append((nonce, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._window_seconds)
            await self._answer_together(self._take())

    async def _answer_together(self, taken: list[tuple[Nonce, asyncio.Future[Answer]]]) -> None:
        """Nobody in `taken` is left without an answer or an error, whatever happens."""
        asked = [(nonce, future) for nonce, future in taken if not future.done()]
        if not asked:
            return  # everybody went away
        nonces = frozenset(nonce for nonce, _ in asked)
        result: Answer | Exception = UnavailableError("no evidence could be made")
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._executor, self._answer, nonces)
        except UnavailableError as error:  # its words name devices and services
            log(Event.EVIDENCE_FAILED, error=type(error).__name__)
        except Exception as error:
            result = error
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in native code; the next report may be made
            log(Event.EVIDENCE_FAILED, error=type(error).__name__)
        finally:
            for _, future in asked:
                _tell(future, result)

    def _take(self) -> list[tuple[Nonce, asyncio.Future[Answer]]]:
        """Up to one report's worth, one from each peer in turn."""
        taken: list[tuple[Nonce, asyncio.Future[Answer]]] = []
        while self._waiting and len(taken) < MAX_NONCES:
            for peer in list(self._waiting):
                taken.append(self._waiting[peer].popleft())
                if not self._waiting[peer]:
                    del self._waiting[peer]
                if len(taken) == MAX_NONCES:
                    break
        return taken


def peer_of(address: str) -> str:
    """Whom gRPC's name of a peer counts as: an IPv4 address, or the /64 an IPv6 address is in.

    One host has one IPv4 address and as many ports as it likes; of IPv6 it gets a /64 at least.
    """
    _, _, host_and_port = unquote(address).partition(":")
    try:
        host = ip_address(host_and_port.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return address  # no address of a network
    if isinstance(host, IPv4Address):
        return str(host)
    return str(host.ipv4_mapped or IPv6Network((host, 64), strict=False))


def _tell(future: asyncio.Future[Answer], result: Answer | Exception) -> None:
    if future.done():
        return  # whoever asked went away
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)

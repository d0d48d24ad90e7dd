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
from typing import Final

from sealserve.attestation.binding import MAX_NONCES, ChallengeClaims
from sealserve.attestation.evidence import EvidenceSource, encode
from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.identity import TlsIdentity

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
        self, source: EvidenceSource, identity: TlsIdentity, *, config: bytes, roots: list[bytes]
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
        """The answer that names this nonce; BusyError if too many are waiting already."""
        queue = self._waiting.setdefault(peer, deque())
        total = sum(len(other) for other in self._waiting.values())
        if len(queue) >= MAX_WAITING_PER_PEER or total >= MAX_WAITING:
            raise BusyError(
                "too many challenges are waiting for evidence", retry_after_seconds=_RETRY_SECONDS
            )
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        queue.append((nonce, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._window_seconds)
            await self._answer_together(self._take())

    async def _answer_together(self, taken: list[tuple[Nonce, asyncio.Future[Answer]]]) -> None:
        asked = [(nonce, future) for nonce, future in taken if not future.done()]
        if not asked:
            return  # everybody went away
        nonces = frozenset(nonce for nonce, _ in asked)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._executor, self._answer, nonces)
        except Exception as error:  # whoever asked must hear of it, or would wait for ever
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
        else:
            for _, future in asked:
                if not future.done():
                    future.set_result(answer)

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

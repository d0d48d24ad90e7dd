"""Verified channels to one or several replicas, for asyncio: as for threads, with `await`."""

from __future__ import annotations

import asyncio
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import grpc

from sealserve.inference.client.apart import apart
from sealserve.inference.client.attempts import Attempts, Meaning
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import Wanted, having, roots_for
from sealserve.inference.client.outcomes import Outcomes
from sealserve.inference.client.pool import LATER_SECONDS, TENDING_SECONDS
from sealserve.inference.client.roster import Replica, Roster, Seat
from sealserve.inference.client.session_async import AsyncSession, open_session
from sealserve.inference.client.status import another_root, nobody_answered, our_error
from sealserve.inference.client.targets import Address, Target, addresses
from sealserve.inference.client.terms import Terms
from sealserve.inference.client.uses import Process
from sealserve.inference.wire import names
from sealserve.native.errors import SealserveError

_Result = TypeVar("_Result")
_Seat = Seat[AsyncSession, asyncio.Lock]


class AsyncPool:
    """The replicas of one target, for one event loop. `Pool` says what each method promises."""

    def __init__(self, target: Target, found: Sequence[Address], terms: Terms) -> None:
        self.terms = terms
        self._target = target
        self._roster: Roster[AsyncSession, asyncio.Lock] = Roster(found, asyncio.Lock)
        self._process = Process()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def of(cls, target: Target, terms: Terms) -> AsyncPool:
        """Look names up, and nothing else."""
        return cls(target, await apart(partial(addresses, target)), terms)

    @property
    def roster(self) -> Roster[AsyncSession, asyncio.Lock]:
        """Who is attested. ValueError once closed, RuntimeError in a forked child."""
        self._process.require()
        if self._closed:
            raise ValueError("this client is closed")
        return self._roster

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every replica, attested or left out."""
        return self.roster.replicas

    async def open(self, deadline: Deadline) -> None:
        """Verify the replicas. Raises what is wrong with one of them if none can be verified."""
        await self._verify(self.roster.seats, deadline, LATER_SECONDS)

    async def recheck(self, deadline: Deadline) -> None:
        """Verify every replica anew, at the addresses its name has now."""
        await self.look_up()
        for seat in await self._verify(self.roster.seats, deadline, None):
            if seat.session is not None:
                await self.leave(seat, seat.session)

    async def look_up(self) -> None:
        """Replicas are at the addresses that names have now; who is new has to be verified.

        Raises UnavailableError, and nothing changes, for a name that has no address.
        """
        found = await apart(partial(addresses, self._target))
        for session in self.roster.renamed(found):
            await session.close()

    async def on_root(
        self,
        model: str,
        ask: Callable[[AsyncSession, bytes], Awaitable[_Result]],
        what: str,
        deadline: Deadline,
        meaning: Meaning = our_error,
    ) -> _Result:
        """Ask for each root that would do; the server says which of them this name means."""
        trust = self.terms.trust

        async def on_root(session: AsyncSession) -> _Result:
            *others, last = roots_for(trust, session.verified, model)
            for root in others:
                try:
                    return await ask(session, root)
                except grpc.RpcError as error:
                    if not another_root(error):
                        raise
            return await ask(session, last)

        return await self.ask(on_root, what, deadline, having(trust, model), meaning)

    async def ask(
        self,
        ask: Callable[[AsyncSession], Awaitable[_Result]],
        what: str,
        deadline: Deadline,
        wanted: Wanted,
        meaning: Meaning = our_error,
    ) -> _Result:
        """Ask, and ask again where that may help: `Attempts` says when."""
        attempts = Attempts(what, deadline, meaning)
        avoid: set[_Seat] = set()
        while True:
            async with self.leased(wanted, avoid, deadline) as (seat, session):
                try:
                    return await ask(session)
                except grpc.RpcError as error:
                    avoid.add(seat)
                    others = self._roster.has_other(wanted, avoid)
                    moved = wanted.moved(error, session.verified)
                    again = attempts.after(error, others=others, moved=moved)
            if again.gone:
                await self.leave(seat, session)
            if not again.elsewhere:
                avoid.clear()
                await sleep(again.wait_seconds)
            if again.gone and not again.elsewhere:
                await self._revive(deadline)

    async def close(self) -> None:
        """Close every channel; calls under way end."""
        if not self._process.is_this():
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for session in self._roster.emptied():
            await session.close()

    @asynccontextmanager
    async def leased(
        self, wanted: Wanted, avoid: Collection[_Seat], deadline: Deadline
    ) -> AsyncIterator[tuple[_Seat, AsyncSession]]:
        """A replica and its session, which nobody closes meanwhile."""
        found = self.roster.take(wanted, avoid)
        while found is None:
            await self._revive(deadline)
            found = self.roster.take(wanted)
        self.tend()
        try:
            yield found
        finally:
            if found[1].uses.end():
                await found[1].close()

    def tend(self) -> None:
        """Verify who is left out while callers go on with the others."""
        for seat in self.roster.due():
            self._task(self._tended(seat))

    async def probe(self, seconds: float) -> None:
        """Ask each attested replica whether it lives; one that does not say is left out.

        Who is left out is verified again, when its time has come.
        """
        seated = [(seat, seat.fresh) for seat in self.roster.seats]
        async with asyncio.TaskGroup() as group:
            for seat, session in seated:
                if session is not None:
                    group.create_task(self._probed(seat, session, seconds))
        self.tend()

    async def leave(self, seat: _Seat, session: AsyncSession) -> None:
        """Nobody answers there under what was proven; no more calls before it is verified anew."""
        retired = self.roster.left(seat, session)
        if retired is not None:
            await retired.close()

    async def _probed(self, seat: _Seat, session: AsyncSession, seconds: float) -> None:
        try:
            await session.call(names.SERVER_LIVE, b"", b"", Deadline(seconds))
        except grpc.RpcError as error:
            if nobody_answered(error) or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                await self.leave(seat, session)
        except SealserveError:  # the channel was closed meanwhile
            pass

    async def _revive(self, deadline: Deadline) -> None:
        """Verify whoever is left out in the caller's own time; one of them is enough."""
        if out := self.roster.out():
            await self._verify(out, deadline, 0.0)

    async def _tended(self, seat: _Seat) -> None:
        try:
            with suppress(SealserveError, ValueError):  # the reason is kept, or this is closed
                await self._renew(seat, seat.session, Deadline(TENDING_SECONDS))
        finally:
            seat.tended = False

    async def _verify(
        self, seats: Sequence[_Seat], deadline: Deadline, later_seconds: float | None
    ) -> tuple[_Seat, ...]:
        """Verify all of them at once; returns those that failed, and raises if all did."""
        if len(seats) == 1:
            await self._renew(seats[0], seats[0].session, deadline)
            return ()
        outcomes: Outcomes[_Seat] = Outcomes(len(seats), deadline, later_seconds)
        heard: asyncio.Queue[tuple[_Seat, Exception | None]] = asyncio.Queue()
        for seat in seats:
            self._task(self._reported(seat, seat.session, deadline, heard))
        while outcomes.waits:
            with suppress(TimeoutError):
                async with asyncio.timeout(outcomes.left()):
                    outcomes.add(*await heard.get())
        return outcomes.failed()

    async def _reported(
        self,
        seat: _Seat,
        used: AsyncSession | None,
        deadline: Deadline,
        heard: asyncio.Queue[tuple[_Seat, Exception | None]],
    ) -> None:
        try:
            await self._renew(seat, used, deadline)
        except Exception as error:  # for the task that waits, whatever it is
            heard.put_nowait((seat, error))
        else:
            heard.put_nowait((seat, None))

    async def _renew(self, seat: _Seat, used: AsyncSession | None, deadline: Deadline) -> None:
        """Put a session after `used`, unless another task did already."""
        try:
            async with asyncio.timeout(deadline.left()):
                await seat.lock.acquire()
        except TimeoutError:
            raise deadline.passed() from None
        try:
            if seat.session is not used:
                return
            try:
                session = await open_session(seat.address, self.terms, deadline)
            except SealserveError as error:
                self.roster.failed(seat, error)
                raise
            await self._join(seat, session)
        finally:
            seat.lock.release()

    async def _join(self, seat: _Seat, session: AsyncSession) -> None:
        retired = self._roster.joined(seat, session)
        if retired is not None:
            await retired.close()
        if self._closed:  # meanwhile, without this session
            await self.close()

    def _task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

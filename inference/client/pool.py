"""Verified channels to one or several replicas, for threads.

Each replica is challenged on a channel of its own before it takes part. Calls are spread over those
that are attested; one that could not be verified is left out, and tried again beside the calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import sleep
from typing import TypeVar

import grpc

from sealserve.inference.client.attempts import Attempts, Meaning
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import Wanted, having, roots_for
from sealserve.inference.client.outcomes import Outcomes
from sealserve.inference.client.roster import Replica, Roster, Seat
from sealserve.inference.client.session import Session, open_session
from sealserve.inference.client.status import another_root, our_error
from sealserve.inference.client.targets import Target, addresses
from sealserve.inference.client.terms import Terms
from sealserve.inference.client.uses import Process
from sealserve.native.errors import SealserveError

# Once one replica is verified, the others may take so much longer before calls begin without them.
LATER_SECONDS = 1.0
# For a verification that no caller waits for.
TENDING_SECONDS = 10.0
_Result = TypeVar("_Result")
_Seat = Seat[Session, threading.Lock]


class Pool:
    """The replicas of one target. Safe for use from several threads; not across `fork`."""

    def __init__(self, target: Target, terms: Terms) -> None:
        self.terms = terms
        self._target = target
        self._roster: Roster[Session, threading.Lock] = Roster(addresses(target), threading.Lock)
        self._process = Process()
        self._closed = False

    @property
    def roster(self) -> Roster[Session, threading.Lock]:
        """Who is attested. ValueError once closed, RuntimeError in a forked child."""
        self._process.require()
        if self._closed:
            raise ValueError("this client is closed")
        return self._roster

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every replica, attested or left out."""
        return self.roster.replicas

    def open(self, deadline: Deadline) -> None:
        """Verify the replicas. Raises what is wrong with one of them if none can be verified."""
        self._verify(self.roster.seats, deadline, LATER_SECONDS)

    def recheck(self, deadline: Deadline) -> None:
        """Verify every replica anew, at the addresses its name has now.

        One that fails is left out. If all fail, nothing changes and that is raised.
        """
        for session in self.roster.renamed(addresses(self._target)):
            session.close()
        for seat in self._verify(self.roster.seats, deadline, None):
            if seat.session is not None:
                self.leave(seat, seat.session)

    def on_root(
        self,
        model: str,
        ask: Callable[[Session, bytes], _Result],
        what: str,
        deadline: Deadline,
        meaning: Meaning = our_error,
    ) -> _Result:
        """Ask for each root that would do; the server says which of them this name means."""
        trust = self.terms.trust

        def on_root(session: Session) -> _Result:
            *others, last = roots_for(trust, session.verified, model)
            for root in others:
                try:
                    return ask(session, root)
                except grpc.RpcError as error:
                    if not another_root(error):
                        raise
            return ask(session, last)

        return self.ask(on_root, what, deadline, having(trust, model), meaning)

    def ask(
        self,
        ask: Callable[[Session], _Result],
        what: str,
        deadline: Deadline,
        wanted: Wanted,
        meaning: Meaning = our_error,
    ) -> _Result:
        """Ask, and ask again where that may help: `Attempts` says when.

        wanted: who would do. meaning: how the last failure is told.
        """
        attempts = Attempts(what, deadline, meaning)
        avoid: set[_Seat] = set()
        while True:
            with self.leased(wanted, avoid, deadline) as (seat, session):
                try:
                    return ask(session)
                except grpc.RpcError as error:
                    avoid.add(seat)
                    others = self._roster.has_other(wanted, avoid)
                    moved = wanted.moved(error, session.verified)
                    again = attempts.after(error, others=others, moved=moved)
            if again.gone:
                self.leave(seat, session)
            if not again.elsewhere:
                avoid.clear()
                sleep(again.wait_seconds)
            if again.gone and not again.elsewhere:
                self._revive(deadline)

    def close(self) -> None:
        """Close every channel; calls under way end."""
        if not self._process.is_this():
            return  # they are the parent's, and a `with` in a child ends too
        self._closed = True
        for session in self._roster.emptied():
            session.close()

    @contextmanager
    def leased(
        self, wanted: Wanted, avoid: Collection[_Seat], deadline: Deadline
    ) -> Iterator[tuple[_Seat, Session]]:
        """A replica and its session, which nobody closes meanwhile."""
        found = self.roster.take(wanted, avoid)
        while found is None:
            self._revive(deadline)
            found = self.roster.take(wanted)
        self.tend()
        try:
            yield found
        finally:
            if found[1].uses.end():
                found[1].close()

    def leave(self, seat: _Seat, session: Session) -> None:
        """Nobody answers there under what was proven; no more calls before it is verified anew."""
        retired = self.roster.left(seat, session)
        if retired is not None:
            retired.close()

    def _revive(self, deadline: Deadline) -> None:
        """Verify whoever is left out in the caller's own time; one of them is enough."""
        if out := self.roster.out():
            self._verify(out, deadline, 0.0)

    def tend(self) -> None:
        """Verify who is left out while the caller goes on with another."""
        for seat in self._roster.due():
            threading.Thread(target=self._tended, args=(seat,), daemon=True).start()

    def _tended(self, seat: _Seat) -> None:
        try:
            with suppress(SealserveError, ValueError):  # the reason is kept, or this is closed
                self._renew(seat, seat.session, Deadline(TENDING_SECONDS))
        finally:
            seat.tended = False

    def _verify(
        self, seats: Sequence[_Seat], deadline: Deadline, later_seconds: float | None
    ) -> tuple[_Seat, ...]:
        """Verify all of them at once; returns those that failed, and raises if all did."""
        if len(seats) == 1:
            self._renew(seats[0], seats[0].session, deadline)
            return ()
        outcomes: Outcomes[_Seat] = Outcomes(len(seats), deadline, later_seconds)
        heard: SimpleQueue[tuple[_Seat, Exception | None]] = SimpleQueue()
        for seat in seats:
            work = (seat, seat.session, deadline, heard)
            threading.Thread(target=self._reported, args=work, daemon=True).start()
        while outcomes.waits:
            with suppress(Empty):
                outcomes.add(*heard.get(timeout=outcomes.left()))
        return outcomes.failed()

    def _reported(
        self,
        seat: _Seat,
        used: Session | None,
        deadline: Deadline,
        heard: SimpleQueue[tuple[_Seat, Exception | None]],
    ) -> None:
        try:
            self._renew(seat, used, deadline)
        except Exception as error:  # for the thread that waits, whatever it is
            heard.put((seat, error))
        else:
            heard.put((seat, None))

    def _renew(self, seat: _Seat, used: Session | None, deadline: Deadline) -> None:
        """Put a session after `used`, unless another thread did already."""
        if not seat.lock.acquire(timeout=deadline.left()):
            raise deadline.passed()
        try:
            if seat.session is not used:
                return
            try:
                session = open_session(seat.address, self.terms, deadline)
            except SealserveError as error:
                self.roster.failed(seat, error)
                raise
            self._join(seat, session)
        finally:
            seat.lock.release()

    def _join(self, seat: _Seat, session: Session) -> None:
        retired = self._roster.joined(seat, session)
        if retired is not None:
            retired.close()
        if self._closed:  # meanwhile, without this session
            self.close()

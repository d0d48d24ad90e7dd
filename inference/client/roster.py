"""Who of a client's replicas is attested, whose turn it is, and why the others are left out.

Decides and remembers; `pool.py` and `pool_async.py` verify and call. A replica without a session
that is fresh is handed to nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from sealserve.inference.client.clock import elapsed
from sealserve.inference.client.known_models import Wanted
from sealserve.inference.client.targets import Address
from sealserve.inference.client.uses import Uses
from sealserve.inference.client.verification import Verified
from sealserve.native.errors import SealserveError
from sealserve.policy import Verdict

# A replica that was left out is verified again beside the calls: after a second, then twice that.
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


class Verifiable(Protocol):
    """A session of either client."""

    @property
    def verified(self) -> Verified: ...
    @property
    def uses(self) -> Uses: ...
    @property
    def is_old(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as its client sees it. verdict: if it is attested; else reason: why it is not."""

    target: str
    verdict: Verdict | None
    reason: SealserveError | None


_Session = TypeVar("_Session", bound=Verifiable)
_Lock = TypeVar("_Lock")


class Seat(Generic[_Session, _Lock]):
    """One address and who was verified there. lock: held by whoever verifies."""

    def __init__(self, address: Address, lock: _Lock) -> None:
        self.address = address
        self.lock = lock
        self.session: _Session | None = None
        self.reason: SealserveError | None = None
        self.failures = 0
        self.due = 0.0
        self.tended = False

    @property
    def fresh(self) -> _Session | None:
        """The session, if data may go there."""
        return None if self.session is None or self.session.is_old else self.session


class Roster(Generic[_Session, _Lock]):
    """Safe for use from several threads; nothing here waits."""

    def __init__(self, addresses: Iterable[Address], new_lock: Callable[[], _Lock]) -> None:
        self._lock = threading.Lock()
        self._new_lock = new_lock
        self._turn = 0
        self._latest: Verified | None = None
        self.seats = tuple(Seat[_Session, _Lock](one, new_lock()) for one in addresses)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every replica, in the order in which they were named."""
        return tuple(_replica(seat) for seat in self.seats)

    @property
    def attested(self) -> tuple[Verified, ...]:
        """What was verified of those that are attested; at least what was verified last."""
        found = tuple(s.session.verified for s in self.seats if s.session is not None)
        return found or (() if self._latest is None else (self._latest,))

    @property
    def latest(self) -> Verified:
        """What the last verification that succeeded found."""
        assert self._latest is not None
        return self._latest

    def take(
        self,
        wanted: Wanted,
        avoid: Collection[Seat[_Session, _Lock]] = (),
    ) -> tuple[Seat[_Session, _Lock], _Session] | None:
        """The replica with the fewest of our calls, in turn among equals; `uses` has begun.

        wanted: those that have the model that is meant; another one only if none has it.
        """
        with self._lock:
            self._turn += 1
            usable = [
                (seat, session)
                for seat in self._rotated()
                if seat not in avoid and (session := seat.fresh) is not None
            ]
            usable.sort(key=lambda one: (not wanted.served_by(one[1].verified), one[1].uses.count))
            return next((one for one in usable if one[1].uses.begin()), None)

    def has_other(self, wanted: Wanted, avoid: Collection[Seat[_Session, _Lock]]) -> bool:
        """Whether one is attested that would do and is not to be avoided."""
        others = (seat.fresh for seat in self.seats if seat not in avoid)
        return any(session is not None and wanted.served_by(session.verified) for session in others)

    def out(self) -> list[Seat[_Session, _Lock]]:
        """All that are not attested, or were too long ago."""
        return [seat for seat in self.seats if seat.fresh is None]

    def due(self) -> list[Seat[_Session, _Lock]]:
        """Those of them whose time has come; each is the caller's until `tended` is told."""
        with self._lock:
            due = [s for s in self.out() if not s.tended and s.due <= elapsed()]
            for seat in due:
                seat.tended = True
            return due

    def joined(self, seat: Seat[_Session, _Lock], session: _Session) -> _Session | None:
        """It was verified. Returns the session before, if that has to be closed now.

        Returns this one if nobody means that address any more.
        """
        with self._lock:
            if seat not in self.seats:
                return session
            before, seat.session = seat.session, session
            seat.reason, seat.failures, seat.due = None, 0, 0.0
            self._latest = session.verified
        return before if before is not None and before.uses.retire() else None

    def failed(self, seat: Seat[_Session, _Lock], reason: SealserveError) -> None:
        """It could not be verified; a session it has stays, until that is too old."""
        with self._lock:
            pause = _FIRST_PAUSE_SECONDS * 2 ** min(seat.failures, 16)
            seat.reason = reason
            seat.failures += 1
            seat.due = elapsed() + min(pause, _LONGEST_PAUSE_SECONDS)

    def left(self, seat: Seat[_Session, _Lock], session: _Session) -> _Session | None:
        """Nobody answers under what was verified there. Returns it if it has to be closed now."""
        with self._lock:
            if seat.session is not session:
                return None
            seat.session = None
        return session if session.uses.retire() else None

    def renamed(self, addresses: Collection[Address]) -> list[_Session]:
        """These are the replicas from now on. Returns the sessions that have to be closed now."""
        with self._lock:
            known = {seat.address: seat for seat in self.seats}
            self.seats = tuple(
                known[one] if one in known else Seat(one, self._new_lock()) for one in addresses
            )
        gone = [known[one].session for one in known.keys() - set(addresses)]
        return [each for each in gone if each is not None and each.uses.retire()]

    def emptied(self) -> list[_Session]:
        """Every session there was; nobody has one any more."""
        with self._lock:
            found = [seat.session for seat in self.seats if seat.session is not None]
            for seat in self.seats:
                seat.session = None
        return found

    def _rotated(self) -> Iterable[Seat[_Session, _Lock]]:
        start = self._turn % len(self.seats)
        return (*self.seats[start:], *self.seats[:start])


def _replica(seat: Seat[_Session, _Lock]) -> Replica:
    session = seat.fresh
    if session is not None:
        return Replica(str(seat.address), session.verified.verdict, None)
    return Replica(str(seat.address), None, seat.reason)

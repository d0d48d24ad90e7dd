"""Certificates change while a server runs: for the same key, and for all who serve together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sealserve.inference.server import failures
from sealserve.inference.server.channel import Channel, Kind, Message
from sealserve.inference.server.children import Children
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import FindSource, HandedIdentity, certificates_in
from sealserve.inference.server.loop import Loop
from sealserve.inference.server.process import Closable
from sealserve.inference.server.table import Slot


class Rotation:
    """Makes others every so many seconds, in a child. renewed: told those that came."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        slot: Slot,
        find_source: FindSource,
        renewed: Callable[[Message], None],
        closing: Sequence[Closable],
    ) -> None:
        """slot: what the child counts in. closing: what it has no use for."""
        self._loop = loop
        self._children = children
        self._slot = slot
        self._find_source = find_source
        self._renewed = renewed
        self._closing = closing
        self._over = False

    def begin(self, identity: HandedIdentity, seconds: float) -> None:
        """So long after now, and after each time that it was tried."""
        self._loop.after(seconds, lambda: self._rotate(identity, seconds))

    def end(self) -> None:
        """None is begun any more."""
        self._over = True

    def _rotate(self, identity: HandedIdentity, seconds: float) -> None:
        if self._over:
            return
        started = time.monotonic()
        self._children.fork(
            self._slot,
            lambda up: self._renew(identity, up),
            lambda message, _: self._told(identity, message, time.monotonic() - started),
            lambda: self.begin(identity, seconds),
            closing=self._closing,
        )

    def _renew(self, identity: HandedIdentity, up: Channel) -> int:
        from sealserve.inference.server.attendant import renew  # X.509 comes with it

        return renew(self._find_source, identity, up)

    def _told(self, identity: HandedIdentity, message: Message, seconds: float) -> None:
        if message.kind is Kind.FAILED:
            error = type(failures.raised(message.values)).__name__
            log(Event.ROTATION_FAILED, error=error)
        elif message.kind is Kind.CERTIFICATES:
            identity.certificates = certificates_in(message)
            self._renewed(message)
            log(Event.CERTIFICATES_ROTATED, seconds=round(seconds, 4))

"""A process that answers: it takes connections where the others do, until it is told to stop.

The only one that loads asyncio and gRPC, whose threads and locks no fork would survive.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sealserve.inference.server.channel import Channel, Kind
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import FindSource, HandedIdentity, certificates_in
from sealserve.inference.server.memory import keep_from_swap
from sealserve.inference.server.opening import Opened
from sealserve.inference.server.port import HeldPort
from sealserve.inference.server.spread import Spread
from sealserve.inference.server.table import Share

if TYPE_CHECKING:
    from sealserve.inference.server.server import Server

_LAST: Final = 19  # the lowest priority there is


@dataclass(frozen=True, slots=True)
class Duty:
    """What every worker of a generation serves. port: where all of them listen.

    leave: how to leave the place of weights that have yet to be prepacked; None when all are.
    """

    config: ServerConfig
    opened: Opened
    identity: HandedIdentity
    find_source: FindSource
    port: HeldPort
    share: Share
    leave: Callable[[], None] | None = None


def serve(duty: Duty, up: Channel, number: int = 0) -> int:
    """Answer until SIGTERM comes or nobody is left at the other end of `up`. number: which it is.

    Says there when it listens; new certificates come from there.
    """
    from sealserve.inference.server.server import Server  # gRPC comes with it

    keep_from_swap()
    source = duty.find_source()
    slot = duty.share.worker(number)
    slot.begin()
    log.count = slot.logged
    server = Server(
        duty.config,
        source,
        duty.identity,
        duty.opened,
        slot,
        port=duty.port,
        rivals=Spread(duty.share, number),
    )
    asyncio.run(_until_told(server, duty, up))
    return 0


async def _until_told(server: Server, duty: Duty, up: Channel) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard() -> None:
        message = up.receive()
        if message is None:
            loop.remove_reader(up.fileno())
            stop.set()
        elif message.kind is Kind.CERTIFICATES:
            duty.identity.certificates = certificates_in(message)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(up.fileno(), heard)
    await server.start()
    gc.freeze()  # what was loaded stays: no collection has to look at it
    gc.enable()
    up.send(Kind.LISTENING, workers=[os.getpid()])
    if duty.leave is not None:
        threading.Thread(target=_settle, args=(duty, duty.leave), daemon=True).start()
    await stop.wait()
    await server.stop()


def _settle(duty: Duty, leave: Callable[[], None]) -> None:
    """Prepack what was put off, model by model, while calls are answered without."""
    started = time.monotonic()
    # Of this thread alone [sched(7)]: who calls meanwhile comes first.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)
    for model in duty.opened.registry:
        try:
            model.session.settle()
        except Exception as error:  # what answers now goes on to
            log(Event.NOT_SETTLED, model=model.name, error=type(error).__name__)
    leave()
    log(Event.SETTLED, seconds=round(time.monotonic() - started, 4))

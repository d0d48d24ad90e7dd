"""As many file descriptors as there may be connections.

Shells and systemd start programs with 1024 (systemd.exec(5), LimitNOFILE), which is for programs
that use select(2). A server that has none left cannot even refuse a connection: it stops answering.
"""

from __future__ import annotations

import resource
from typing import Final

from sealserve.inference.server.events import Event, log

_SPARE: Final = 256  # libraries, models, evidence, and connections that are being closed


def allow(connections: int) -> None:
    """Raise this process's limit to what so many connections need; an event if that is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE
    if _below(soft, wanted):
        allowed = wanted if not _below(hard, wanted) else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            log(Event.DESCRIPTORS_FEW, allowed=allowed, wanted=wanted)


def _below(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted

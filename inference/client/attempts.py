"""After a call that failed: wait as the server asked, verify whoever is there now, or give up."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.status import our_error, pushback_seconds


@dataclass(frozen=True, slots=True)
class Again:
    """What comes before the next attempt. verify: the whole verification, on a new channel."""

    wait_seconds: float
    verify: bool


class Attempts:
    """The attempts at one question. Only UNAVAILABLE leads to another one.

    With a pushback (gRFC A6) the verified server itself spoke: it is asked once more after that
    time. Without, nobody may be there under the keys that were proven, as after every handshake
    that failed: whoever is there now is verified, once.
    """

    def __init__(self, what: str, deadline: Deadline) -> None:
        self._what = what
        self._deadline = deadline
        self._may_wait = True
        self._may_verify = True

    def after(self, error: grpc.RpcError) -> Again:
        """What to do before the next attempt; raises what the failure means if there is none."""
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            seconds = pushback_seconds(error)
            if seconds is None and self._may_verify:
                self._may_verify = False
                return Again(0.0, verify=True)
            if seconds is not None and self._may_wait and self._deadline.allows(seconds):
                self._may_wait = False
                return Again(seconds, verify=False)
        raise our_error(error, self._what) from error

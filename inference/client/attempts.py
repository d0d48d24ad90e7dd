"""After a call that failed: ask another replica, wait as the server asked, verify, or give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.status import our_error, pushback_seconds

Meaning = Callable[[grpc.RpcError, str], Exception]  # of a call that failed; and what it was


@dataclass(frozen=True, slots=True)
class Again:
    """What comes before the next attempt.

    gone: nobody answers under what was proven; no more calls there before it is verified anew.
    elsewhere: the next attempt is another replica's.
    """

    wait_seconds: float
    gone: bool
    elsewhere: bool


class Attempts:
    """The attempts at one question. Only UNAVAILABLE, and a model that moved, lead to another one.

    With a pushback (gRFC A6) the verified server itself spoke. Without, nobody may be there under
    the keys that were proven, as after every handshake that failed. Either way another replica is
    asked at once, if there is one. Where there is none, a server that spoke is asked once more
    after the time it named, and whoever else is there now is verified, once. A server that loaded
    another accepted version has answered nothing, and is verified like one that is gone.
    """

    def __init__(self, what: str, deadline: Deadline, meaning: Meaning = our_error) -> None:
        self._what = what
        self._meaning = meaning
        self._deadline = deadline
        self._may_wait = True
        self._may_verify = True

    def after(self, error: grpc.RpcError, *, others: bool, moved: bool) -> Again:
        """What to do before the next attempt; raises what the failure means if there is none.

        others: whether there is an attested replica that was not asked yet. moved: whether the
        server has another accepted root now than it proved.
        """
        unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
        if (unavailable or moved) and self._deadline.allows(0.0):
            seconds = None if moved else pushback_seconds(error)
            if others:
                return Again(0.0, gone=seconds is None, elsewhere=True)
            if seconds is None and self._may_verify:
                self._may_verify = False
                return Again(0.0, gone=True, elsewhere=False)
            if seconds is not None and self._may_wait and self._deadline.allows(seconds):
                self._may_wait = False
                return Again(seconds, gone=False, elsewhere=False)
        raise self._meaning(error, self._what) from error

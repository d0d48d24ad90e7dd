"""The workload's side of the simulated platform: asks over the inherited socket."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Mapping
from typing import Final

from sealserve.attestation.binding import report_data
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.simulated import frames
from sealserve.native.errors import UnavailableError

TIMEOUT_SECONDS: Final = 10.0  # the platform answers in milliseconds, one request at a time


class SimulatedSource:
    """An EvidenceSource over this descriptor; usable from several threads and forked processes.

    descriptor: of a Unix SOCK_SEQPACKET socket, which stays the caller's. UnavailableError for
    anything else.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            self._socket = socket.socket(fileno=os.dup(descriptor))
        except OSError as error:
            raise _unavailable(f"descriptor {descriptor} is not a socket") from error
        if (self._socket.family, self._socket.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            self._socket.close()
            raise _unavailable(f"descriptor {descriptor} is another kind of socket")
        self._socket.settimeout(TIMEOUT_SECONDS)

    @property
    def platform(self) -> str:
        """Always "simulated"."""
        return "simulated"

    def evidence(self, claims: bytes) -> Evidence:
        """Fresh evidence for these claims. UnavailableError when the platform does not answer."""
        request = frames.request(report_data(claims))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.settimeout(TIMEOUT_SECONDS)
            try:
                with theirs:
                    self._send(request, theirs.fileno())
                answer = ours.recv(frames.MAX_ANSWER_BYTES + 1)
            except OSError as error:  # timeouts are among them
                raise _unavailable("it does not answer") from error
        try:
            return frames.parse_answer(answer, claims)
        except ValueError as error:
            raise _unavailable("it refused the request or answered in another form") from error

    def close(self) -> None:
        """Give up the descriptor."""
        self._socket.close()

    def _send(self, request: bytes, way_back: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [way_back]))
        self._socket.sendmsg([request], [rights], socket.MSG_NOSIGNAL)


def source(environ: Mapping[str, str]) -> SimulatedSource | None:
    """The source the environment announces, None if it announces none.

    UnavailableError if it announces something that is not there.
    """
    text = environ.get(frames.SOCKET_VARIABLE)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise _unavailable(f"{frames.SOCKET_VARIABLE} is not a number")
    return SimulatedSource(int(text))


def _unavailable(why: str) -> UnavailableError:
    return UnavailableError(
        f"the simulated platform cannot be reached: {why}",
        hint="start this command with `sealserve tee run --policy P -- CMD…`",
    )

"""Load by h2load: one recorded gRPC call again and again, some of them in flight at a time.

h2load looks at HTTP's status alone, which is 200 for a call that failed too. So every burst counts
the bytes of its answers: a call that fails has none.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from operator import add
from pathlib import Path

from sealserve.inference.wire import names

SECONDS = 120
_DATA = re.compile(r"headers \(space savings [^)]*\), \S+ \((\d+)\) data")
_DONE = re.compile(r"(\d+) succeeded")
# gRPC over HTTP/2, "Length-Prefixed-Message": whether it is compressed, and its length.
_PREFIX_BYTES = 5


@dataclass(frozen=True)
class Call:
    """frame: a file with the request as it goes over the wire. answer_bytes: of every answer."""

    frame: Path
    answer_bytes: int

    @classmethod
    def recorded(cls, folder: Path, name: str, request: bytes, answer_bytes: int) -> Call:
        frame = folder / f"{name}.frame"
        frame.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        return cls(frame, answer_bytes + _PREFIX_BYTES)


@dataclass(frozen=True)
class Offered:
    """What came of calls that arrived at a fixed rate, whatever became of those before.

    answered: calls with a right answer. seconds: how long it took. each: seconds of every call,
    refused ones too.
    """

    answered: int
    seconds: float
    each: list[float]


@dataclass(frozen=True)
class Target:
    """Where a server answers. It is not verified here: who measures did that before."""

    port: int
    tls: bool

    def load(self, call: Call, requests: int, in_flight: int, *, connections: int = 1) -> None:
        """So many calls, each of them answered; RuntimeError otherwise.

        in_flight: on all connections together.
        """
        each = ("-m", in_flight // connections)
        told = self._ran(call, "-n", requests, "-c", connections, *each)
        done, data = _found(_DONE, told), _found(_DATA, told)
        if (done, data) != (requests, requests * call.answer_bytes):
            raise RuntimeError(
                f"{done} of {requests} calls were answered, with {data} bytes; "
                f"{requests * call.answer_bytes} are right"
            )

    def offer(self, call: Call, per_second: float, seconds: float, deadline_ms: int) -> Offered:
        """Calls at that rate, on several connections, each with a deadline."""
        connections = 8
        with tempfile.NamedTemporaryFile("r") as log:
            told = self._ran(
                *(call, "-n", int(per_second * seconds), "-c", connections, "-m", 100),
                *(f"--rps={per_second / connections}", f"--log-file={log.name}"),
                *("-H", f"grpc-timeout: {deadline_ms}m"),
            )
            rows = [line.split("\t") for line in log]
        begun, taken = [int(row[0]) for row in rows], [int(row[2]) for row in rows]
        ended = max(map(add, begun, taken))
        return Offered(
            _found(_DATA, told) // call.answer_bytes,
            (ended - min(begun)) / 1e6,
            [each / 1e6 for each in taken],
        )

    def _ran(self, call: Call, *arguments: object) -> str:
        """What h2load prints."""
        scheme = "https" if self.tls else "http"
        command = [
            *("h2load", *map(str, arguments), "-d", str(call.frame)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"{scheme}://127.0.0.1:{self.port}{names.MODEL_INFER}",
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return ran.stdout + ran.stderr


def _found(pattern: re.Pattern[str], told: str) -> int:
    found = pattern.search(told)
    if found is None:
        raise RuntimeError(f"h2load did not run:\n{told}")
    return int(found[1])


def require() -> None:
    """Stop unless h2load is installed."""
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")

"""h2spec asks our server of HTTP/2 what RFC 9113 and RFC 7541 demand: `make interop`.

    python tests/interop/http2.py FOLDER

Builds h2spec with Go under FOLDER, from the Go module proxy, and shows it a server over TLS. What
it asks for is no call of gRPC and would be refused at once; here all of it is one, to a handler
that answers a while after the end of the request, so that a stream has every state for long enough.
Exit code 1 if a case fails that is not in `KNOWN`, or if h2spec cannot be built.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

from interop.run import NotBuiltError, built  # noqa: E402
from sealserve.inference.transport import connection  # noqa: E402
from sealserve.inference.transport.asked import Asked  # noqa: E402
from support.transport_case import LIMITS, identity, port_of, serving, showing  # noqa: E402

H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
ANSWER_SECONDS: Final = 0.1
_ODD: Final = re.compile(r"[^\n\x20-\x7e]")
_CLOSED = "libnghttp2 lets frames of streams pass that are closed, and begins nothing"
KNOWN: Mapping[tuple[str, str], str] = {
    ("http2/5.1", "closed: Sends a DATA frame after sending RST_STREAM frame"): _CLOSED,
    ("http2/5.1", "closed: Sends a HEADERS frame after sending RST_STREAM frame"): _CLOSED,
    ("http2/5.1", "closed: Sends a DATA frame"): _CLOSED,
    ("http2/5.1", "closed: Sends a HEADERS frame"): _CLOSED,
    ("http2/5.1.1", "Sends stream identifier that is numerically smaller than previous"): _CLOSED,
}


def failed(report: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Each case of h2spec's report that failed, and what came instead."""
    text = _ODD.sub("?", report.read_text(errors="replace"))  # h2spec writes what it got
    for case in ElementTree.fromstring(text).iter("testcase"):
        error = case.find("error")
        error = case.find("failure") if error is None else error
        if error is not None:
            name = case.get("package", ""), case.get("classname", "")
            yield name, " ".join((error.text or "").split())


async def stream_stream_late(_requests: Any, context: Any) -> None:
    async for _ in context:
        pass
    await asyncio.sleep(ANSWER_SECONDS)
    await context.write(b"an answer")


async def asked(folder: Path) -> str:
    """h2spec's last line; its report is in the folder."""
    ours = identity()
    late = Asked(b"/test/stream_stream_late", (), b"identity", None)
    connection.read = lambda _headers: late
    many = replace(LIMITS, calls=1000)  # or a call is refused before there are too many streams
    async with serving(stream_stream_late, limits=many, tls=showing(lambda: ours)) as server:
        running = await asyncio.create_subprocess_exec(
            *(folder / "bin" / "h2spec", "-h", "127.0.0.1", "-p", str(port_of(server))),
            *("-t", "-k", "-o", "5", "-j", folder / "h2spec.xml"),
            stdout=subprocess.PIPE,
        )
        said, _ = await running.communicate()
    return said.decode().strip().splitlines()[-1]


def main(folder: Path) -> int:
    """The exit code."""
    try:
        built(["go", "install", H2SPEC], GOBIN=str(folder / "bin"))
    except NotBuiltError as error:
        sys.stdout.write(f"h2spec: COULD NOT BE BUILT: {error}\n")
        return 1
    summary = asyncio.run(asked(folder))
    wrong = 0
    for name, came in failed(folder / "h2spec.xml"):
        wrong += name not in KNOWN
        sys.stdout.write(f"h2spec: {' '.join(name)}: {KNOWN.get(name, f'FAILS: {came}')}\n")
    sys.stdout.write(f"h2spec: {summary}; {wrong} that should pass\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))

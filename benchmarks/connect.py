"""What does an attested connection cost beside a plain one, and where does the time go?

The server is ours on the simulated platform, in processes of its own on this machine, so no network
is in these numbers and a report takes what the simulator needs. The plain connection is gRPC's, to
the same server with its certificate pinned, up to the first answer.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import grpc
from support.attested import Attested, attested
from support.options import options
from support.report import Report, begin, event

from sealserve.inference.client import channel, connect
from sealserve.inference.client.clock import Deadline, now
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.client.verification import Verification
from sealserve.inference.wire import names
from sealserve.inference.wire.open_inference_pb2 import ServerLiveRequest

QUESTION = "What does an attested connection cost?"
SECONDS = 30.0


def asked(server: Attested, certificate: bytes, path: str, request: bytes) -> bytes:
    """The answer to one call on a connection of its own."""
    with grpc.secure_channel(
        channel.target(server.host, server.port),
        channel.credentials(certificate),
        channel.options(channel.EVIDENCE_BYTES),
    ) as opened:
        answer: bytes = opened.unary_unary(path)(request, timeout=SECONDS)
        return answer


def compare(report: Report, server: Attested) -> None:
    certificate = fetch_certificate(server.host, server.port, Deadline(SECONDS))
    before = Verification(server.trust)
    before.read_certificate(certificate, now())
    challenge = before.challenge()
    answer = asked(server, certificate, names.GET_EVIDENCE, challenge)
    live = ServerLiveRequest().SerializeToString()

    def attest() -> None:
        connect(f"{server.host}:{server.port}", server.trust).close()

    def read() -> None:
        Verification(server.trust).read_certificate(certificate, now())

    ours = event("connect, attested", attest)
    plain = event(
        "gRPC, certificate pinned, first answer",
        lambda: asked(server, certificate, names.SERVER_LIVE, live),
    )
    parts = [
        event(
            "of it: a handshake for the certificate",
            lambda: fetch_certificate(server.host, server.port, Deadline(SECONDS)),
        ),
        event("of it: verify the certificate's evidence", read),
        event(
            "of it: connect, challenge, fresh report",
            lambda: asked(server, certificate, names.GET_EVIDENCE, challenge),
        ),
        event(
            "of it: verify the answer, and what is next",
            lambda: copy.copy(before).accept(answer, now()),
        ),
    ]
    speeds = report.compare("Connected", [ours], [plain, *parts])
    report.at_most("attested, times plain", speeds[ours.name], speeds[plain.name])


def main() -> None:
    report = begin("connect", QUESTION, options(QUESTION, repeats=25))
    with tempfile.TemporaryDirectory() as folder, attested(Path(folder)) as server:
        compare(report, server)
    report.finish()


main()

"""How many predictions a second, beside the servers that people would take instead?

Ours with attested TLS on the simulated platform; the others in plain text; and a bare gRPC server
in Python around ONNX Runtime, with and without TLS, as the floor of what Python can do. All on this
machine, with the same options of ONNX Runtime, the load from h2load on the same two cores. Every
server answered right before, and the bytes of every burst's answers are counted.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from support.asked import SECONDS, Question, certificate, plain_channel, saved_questions
from support.attested import SHARES_RUNS, Attested, attested
from support.h2load import Call, Target, require
from support.models import INPUT
from support.options import options
from support.peers import PEERS, bare, installed
from support.report import Report, begin, event
from support.turns import Missing, Speed, Way

from sealserve.inference.client import connect
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.session import open_session
from sealserve.inference.client.terms import Terms
from sealserve.inference.wire import names

QUESTION = "How many predictions a second, and how long does one take?"
OURS, FLOOR, FLOOR_TLS = "sealserve, attested TLS", "bare, plain text", "bare, TLS"
IN_FLIGHT = (16, 1)
# Of one burst: about half a second of ours.
REQUESTS = {"tabular": (1600, 600), "mlp": (400, 200), "conv": (300, 150)}
QUICK_REQUESTS = 32
MANY = {  # requests a second at 16 in flight
    "tabular": {"MLServer": 2.5, "KServe's Python server": 1.8, "PyTriton": 1.6, FLOOR_TLS: 0.95},
    "mlp": {"MLServer": 2.0, "KServe's Python server": 2.0, "PyTriton": 1.2, FLOOR_TLS: 2.0},
    "conv": {"MLServer": 4.0, "KServe's Python server": 1.05, "PyTriton": 1.15, FLOOR_TLS: 1.0},
}
ONE = {"tabular": 1.08, "mlp": 1.05, "conv": 1.05}  # times as long as the floor with TLS


def under_load(
    report: Report, question: Question, targets: dict[str, Target], missing: list[Missing]
) -> None:
    name = question.model.name
    with tempfile.TemporaryDirectory() as folder:
        calls = {peer: question.call(target, Path(folder)) for peer, target in targets.items()}
        for in_flight, usual in zip(IN_FLIGHT, REQUESTS[name], strict=True):
            requests = QUICK_REQUESTS if report.options.quick else usual
            ways = [_way(peer, t, calls[peer], requests, in_flight) for peer, t in targets.items()]
            speeds = report.compare(
                f"{name}, {in_flight} in flight", ways[:1], [*ways[1:], *missing]
            )
            judge(report, name, in_flight, speeds)


def _way(name: str, target: Target, call: Call, requests: int, in_flight: int) -> Way:
    def run() -> None:
        target.load(call, requests, in_flight)

    return Way(name, requests, run, in_flight=in_flight)


def judge(report: Report, name: str, in_flight: int, speeds: dict[str, Speed]) -> None:
    ours, floor = speeds[OURS], speeds[FLOOR_TLS]
    if in_flight == 1:
        report.at_most(f"{name}, latency", ours, floor, ONE[name])
        return
    for peer, goal in MANY[name].items():
        report.ratio(f"{name}, against {peer}", ours, speeds.get(peer), at_least=goal)


def attestation(report: Report, question: Question, server: Attested) -> None:
    """The same server and request, over a channel that was attested and one that was not.

    Beside them what our client costs around such a call: names, types and shapes looked at twice.
    """
    model, example, address = question.model, question.model.example(), (server.host, server.port)
    session = open_session(address, Terms(server.trust), Deadline(SECONDS))
    with (
        closing(session),
        connect(f"{server.host}:{server.port}", server.trust) as client,
        plain_channel(Target(server.port, tls=True)) as plain,
    ):
        ours, other = (
            event(name, partial(channel.unary_unary(names.MODEL_INFER), question.request, SECONDS))
            for name, channel in (
                ("gRPC, attested", session.channel),
                ("gRPC, pinned, not attested", plain),
            )
        )
        whole = event("our client", lambda: client.predict(model.name, {INPUT: example}))
        speeds = report.compare(f"{model.name}, one call in Python", [ours, whole], [other])
        what = f"{model.name}, attested, times not attested"
        report.at_most(what, speeds[ours.name], speeds[other.name])


def main() -> None:
    require()
    report = begin("serving", QUESTION, options(QUESTION, repeats=9))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "sealed").mkdir()
        questions, saved = saved_questions(folder / "models")
        server = stack.enter_context(attested(folder / "sealed", saved, SHARES_RUNS))
        connect(f"{server.host}:{server.port}", server.trust).close()
        pair = certificate(folder)
        wanted = () if report.options.quick else PEERS  # they take longer to start than the rest
        others, missing = stack.enter_context(installed(wanted, folder / "models", [*saved]))
        targets = {
            OURS: Target(server.port, tls=True),
            FLOOR_TLS: stack.enter_context(bare(folder / "models", *pair)),
            FLOOR: stack.enter_context(bare(folder / "models")),
            **others,
        }
        for question in questions:
            under_load(report, question, targets, missing)
        for question in questions:
            attestation(report, question, server)
    report.finish()


main()

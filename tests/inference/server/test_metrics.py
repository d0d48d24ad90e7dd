"""What operators can read of a server: exactly this, whatever requests came."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.events import Event
from sealserve.inference.server.metrics import NOBODY, OPEN_METRICS, PLAIN, exposition
from sealserve.inference.server.table import (
    FIRST_WORKER,
    OK,
    State,
    Table,
    Timing,
    method_number,
)
from sealserve.inference.wire import names
from support.attestation_simulated import machine_of
from support.server_case import Served, doubler, infer_request, root_of

ROOT = root_of("doubler").hex()
OUTCOMES = {
    "ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found",
    "already_exists", "permission_denied", "resource_exhausted", "failed_precondition", "aborted",
    "out_of_range", "unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
}  # fmt: skip
OF_MODELS = {
    "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer",
    "ModelStreamInfer",
}  # fmt: skip
OF_SERVERS = {
    "ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex", "RepositoryModelLoad",
    "RepositoryModelUnload", "GetEvidence",
}  # fmt: skip
BUCKETS = {
    "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0",
    "10.0", "30.0", "60.0", "+Inf",
}  # fmt: skip
STATES = {"starting", "serving", "draining", "ended"}
PACKAGES = {"sealserve", "grpcio", "onnxruntime", "python"}
DOUBLER, NONE = ("doubler", "1"), ("-", "-")

Series = tuple[str, frozenset[tuple[str, str]]]


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def histogram(name: str, **labels: str) -> set[Series]:
    ends = {series(f"{name}_bucket", le=end, **labels) for end in BUCKETS}
    return ends | {series(f"{name}_{each}", **labels) for each in ("sum", "count")}


def closed_list() -> set[Series]:
    """Every series of a server that serves version 1 of a model `doubler`."""
    found = {series("sealserve_requests_in_flight")}
    found |= {series("sealserve_workers", state=state) for state in STATES}
    found |= {series("sealserve_events_total", event=event) for event in Event}
    found.add(series("sealserve_model_workers", model="doubler", version="1", root=ROOT))
    for methods, (model, version) in ((OF_MODELS | OF_SERVERS, NONE), (OF_MODELS, DOUBLER)):
        of = {"model": model, "version": version}
        found |= {
            series("sealserve_requests_total", method=method, outcome=outcome, **of)
            for method in methods
            for outcome in OUTCOMES
        }
        for result in ("answered", "failed"):
            found |= histogram("sealserve_request_seconds", result=result, **of)
    for name in ("sealserve_queue_seconds", "sealserve_run_seconds"):
        found |= histogram(name, model="doubler", version="1")
    return found


def told(table: Table) -> dict[Series, float]:
    """All series but the one whose labels are versions of software."""
    page, _ = exposition(table, "")
    samples = [sample for family in plain_text(page.decode()) for sample in family.samples]
    (build,) = [sample for sample in samples if sample.name == "sealserve_build_info"]
    assert build.labels.keys() == PACKAGES
    return {
        series(sample.name, **sample.labels): sample.value
        for sample in samples
        if sample is not build
    }


@pytest.fixture
def served(simulated_root: SimulatedRoot) -> Iterator[Served]:
    with Served(machine_of(simulated_root), doubler()) as server:
        yield server


HOSTILE = [
    infer_request("absent", version="secret"),
    infer_request("doubler", ("secret", "FP32", (1, 3), bytes(12))),
    infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)), version="7"),
    b"secret",
]


def test_names_labels_and_buckets_are_the_closed_list_whatever_was_asked(served: Served) -> None:
    before = told(served.table)
    assert before.keys() == closed_list()
    served.infer(infer_request("doubler", ("x", "FP32", (1, 3), bytes(12))))
    for request in HOSTILE:
        with pytest.raises(grpc.RpcError):
            served.infer(request, "secret")
    for path in ("/secret/Method", f"/{names.INFERENCE_SERVICE}/Secret"):
        with pytest.raises(grpc.RpcError):
            served.call(path, b"secret")
    after = told(served.table)
    assert after.keys() == before.keys()
    changed = {key for key in after if after[key] != before[key]}
    # A sum may be too short to show.
    assert {name for name, _ in changed if not name.endswith("_sum")} == {
        "sealserve_requests_total",
        *(
            f"sealserve_{time}_seconds_{part}"
            for time in ("request", "queue", "run")
            for part in ("bucket", "count")
        ),
    }


@pytest.fixture
def table() -> Table:
    table = Table([ROOT], 2)
    table.describe(ROOT, "doubler", "1")
    return table


def test_values_are_the_tables(table: Table) -> None:
    for number in (FIRST_WORKER, FIRST_WORKER + 1):
        slot = table.slot(number)
        slot.begin()
        slot.state(State.SERVING)
        slot.serves([bytes.fromhex(ROOT)])
        slot.logged(Event.READY)
        row = slot.row_of(bytes.fromhex(ROOT))
        for _ in range(3):
            slot.enter()
        slot.leave(row, method_number("ModelInfer"), OK)
        slot.took(row, Timing.RAN, 3_400_000)
    values = told(table)
    of = {"model": "doubler", "version": "1"}
    expected = {
        series("sealserve_workers", state="serving"): 2,
        series("sealserve_model_workers", root=ROOT, **of): 2,
        series("sealserve_requests_in_flight"): 4,
        series("sealserve_events_total", event="ready"): 2,
        series("sealserve_requests_total", method="ModelInfer", outcome="ok", **of): 2,
        series("sealserve_run_seconds_count", **of): 2,
        series("sealserve_run_seconds_sum", **of): 0.007,  # of 6.8 ms: in whole milliseconds
        **{
            series("sealserve_run_seconds_bucket", le=end, **of): 2
            for end in BUCKETS - {"0.001", "0.002"}
        },
    }
    assert {key: value for key, value in values.items() if value} == expected


def test_what_nobody_opened_has_no_name_and_no_series() -> None:
    told_of = {dict(labels).get("model") for _, labels in told(Table([ROOT], 1))}
    assert told_of == {None, NOBODY[0]}


def test_two_roots_that_call_themselves_the_same_are_counted_together(table: Table) -> None:
    other = "cd" * 32
    both = Table([ROOT, other], 1)
    for root in (ROOT, other):
        both.describe(root, "doubler", "1")
        slot = both.slot(1)
        slot.enter()
        slot.leave(slot.row_of(bytes.fromhex(root)), method_number("ModelInfer"), OK)
    key = series(
        "sealserve_requests_total", model="doubler", version="1", method="ModelInfer", outcome="ok"
    )
    assert told(both)[key] == 2
    assert told(both).keys() - told(table).keys() == {
        series("sealserve_model_workers", model="doubler", version="1", root=other)
    }


def test_no_sealed_file_is_called_as_those_who_name_no_model() -> None:
    from sealserve.models.format import NAME

    assert not NAME.fullmatch(NOBODY[0])


@pytest.mark.parametrize(
    ("accept", "kind", "parse"),
    [
        ("", PLAIN, plain_text),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PLAIN, plain_text),
        ("*/*", PLAIN, plain_text),
        ("secret/secret;version=secret", PLAIN, plain_text),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            OPEN_METRICS,
            open_metrics,
        ),
        ("application/openmetrics-text;version=secret", OPEN_METRICS, open_metrics),
    ],
)
def test_the_format_is_the_one_asked_for(table: Table, accept: str, kind: str, parse) -> None:
    page, content_type = exposition(table, accept)
    assert content_type == kind
    assert "secret" not in page.decode()
    assert {family.name for family in parse(page.decode())} == {
        "sealserve_build_info" if parse is plain_text else "sealserve_build",
        "sealserve_workers",
        "sealserve_model_workers",
        "sealserve_requests",
        "sealserve_requests_in_flight",
        "sealserve_request_seconds",
        "sealserve_queue_seconds",
        "sealserve_run_seconds",
        "sealserve_events",
    }

"""The table as Prometheus reads it: names, labels and buckets from closed lists.

Every series is there from the start, so that neither a name nor its appearance tells of a request.
What a label can say is written in this file and in `table.py`, or stands in the sealed headers of
models the command line allows. There is nothing of the process itself: what memory a model uses
over time can tell what it was asked.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics
from prometheus_client.registry import Collector

from sealserve.inference.server.table import (
    BUCKETS_MS,
    METHODS,
    MODEL_METHODS,
    OUTCOMES,
    Durations,
    Row,
    State,
    Table,
    Timing,
)

# Prometheus, "Exposition formats", 0.0.4; OpenMetrics 1.0.0, section "Protocol Negotiation".
PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# How the calls are labelled that named no model served here; no sealed file can be called so.
NOBODY: Final = ("-", "-")
_BUCKETS: Final = (*(str(end / 1000) for end in BUCKETS_MS), "+Inf")
_PACKAGES: Final = ("sealserve", "grpcio", "onnxruntime")
_RESULTS: Final = {"answered": Timing.ANSWERED, "failed": Timing.FAILED}


def exposition(table: Table, accept: str) -> tuple[bytes, str]:
    """The page and its content type. accept: the header of who asks; OpenMetrics if it names it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TableCollector(table))
    if "application/openmetrics-text" in accept:
        return open_metrics(registry), OPEN_METRICS  # type: ignore[no-untyped-call]
    return plain_text(registry), PLAIN


class TableCollector(Collector):
    """Reads the table anew each time it is asked."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def describe(self) -> Iterable[Metric]:
        """Nothing: whether two collectors clash is no question where there is one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        rows = {NOBODY: self._table.row(), **self._table.models()}
        yield _build()
        yield self._workers()
        yield self._models()
        yield _requests(rows)
        yield GaugeMetricFamily(
            "sealserve_requests_in_flight",
            "Calls that are being worked on.",
            value=self._table.under_way(),
        )
        yield _request_seconds(rows)
        yield _seconds(
            "queue", "Predictions: time from the request to its turn.", rows, Timing.WAITED
        )
        yield _seconds(
            "run", "Predictions: time in the runtime, tensors included.", rows, Timing.RAN
        )
        yield self._events()

    def _workers(self) -> Metric:
        family = GaugeMetricFamily(
            "sealserve_workers", "Processes that serve, by where they are.", labels=["state"]
        )
        states = Counter(self._table.states())
        for state in State:
            if state is not State.UNUSED:
                family.add_metric([state.name.lower()], states[state])
        return family

    def _models(self) -> Metric:
        family = GaugeMetricFamily(
            "sealserve_model_workers",
            "Processes that serve this model now.",
            labels=["model", "version", "root"],
        )
        for label in filter(None, self._table.labels()):
            family.add_metric(
                [label.name, label.version, label.root], self._table.workers_of(label.root)
            )
        return family

    def _events(self) -> Metric:
        family = CounterMetricFamily(
            "sealserve_events", "Lines of the log, by their event.", labels=["event"]
        )
        for event, count in self._table.events().items():
            family.add_metric([event.value], count)
        return family


def _build() -> Metric:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return InfoMetricFamily(
        "sealserve_build",
        "What this server is made of.",
        value={**versions, "python": platform.python_version()},
    )


def _requests(rows: dict[tuple[str, str], Row]) -> Metric:
    family = CounterMetricFamily(
        "sealserve_requests",
        "Calls that ended, by how they did (a status of gRPC).",
        labels=["model", "version", "method", "outcome"],
    )
    for model, row in rows.items():
        for method in METHODS if model == NOBODY else MODEL_METHODS:
            for outcome in OUTCOMES:
                family.add_metric([*model, method, outcome], row.calls(method, outcome))
    return family


def _request_seconds(rows: dict[tuple[str, str], Row]) -> Metric:
    family = HistogramMetricFamily(
        "sealserve_request_seconds",
        "Predictions: time from a call's headers to its end.",
        labels=["model", "version", "result"],
    )
    for model, row in rows.items():
        for result, timing in _RESULTS.items():
            _add(family, [*model, result], row.durations(timing))
    return family


def _seconds(
    name: str, documentation: str, rows: dict[tuple[str, str], Row], timing: Timing
) -> Metric:
    family = HistogramMetricFamily(
        f"sealserve_{name}_seconds", documentation, labels=["model", "version"]
    )
    for model, row in rows.items():
        if model != NOBODY:
            _add(family, list(model), row.durations(timing))
    return family


def _add(family: HistogramMetricFamily, labels: list[str], taken: Durations) -> None:
    buckets = list(zip(_BUCKETS, taken.cumulative, strict=True))
    # In whole milliseconds: who asks before and after one request is to learn no more of it.
    family.add_metric(labels, buckets, round(taken.nanoseconds / 1e9, 3))

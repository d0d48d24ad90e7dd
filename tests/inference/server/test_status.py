"""The operator's pages: what each says, and that nothing else is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from sealserve.inference.server.status import NotReady, build
from sealserve.inference.server.table import FIRST_WORKER, SUPERVISOR, State, Table

ROOT = "ab" * 32
PAGES = ("/livez", "/readyz", "/metrics")


@pytest.fixture
def table() -> Table:
    table = Table([ROOT], workers=2)
    table.slot(SUPERVISOR).state(State.SERVING)
    table.slot(FIRST_WORKER).state(State.SERVING)
    return table


class Client:
    """Asks the application without a socket."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport) as client:
                return await client.request(method, f"http://status{path}", **given)

        return asyncio.run(ask())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)


@pytest.fixture
def client(table: Table) -> Client:
    return Client(build(table))


def test_a_server_that_serves_lives_and_is_ready(client: Client) -> None:
    assert (client.get("/livez").status_code, client.get("/livez").text) == (200, "lives\n")
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (200, "ready\n")


READINESS = {
    "models are being opened": (State.STARTING, (State.UNUSED, State.UNUSED), NotReady.STARTING),
    "workers start": (State.SERVING, (State.STARTING, State.ENDED), NotReady.STARTING),
    "one of two serves": (State.SERVING, (State.ENDED, State.SERVING), None),
    "a reload under way": (State.SERVING, (State.DRAINING, State.SERVING), None),
    "all died": (State.SERVING, (State.ENDED, State.ENDED), NotReady.NOBODY),
    "told to stop": (State.DRAINING, (State.SERVING, State.SERVING), NotReady.DRAINING),
    "the last one drains": (State.SERVING, (State.DRAINING, State.ENDED), NotReady.DRAINING),
    "stopped": (State.ENDED, (State.ENDED, State.ENDED), NotReady.DRAINING),
}


@pytest.mark.parametrize(("whole", "workers", "reason"), READINESS.values(), ids=READINESS)
def test_readiness_has_few_reasons(table, client, whole, workers, reason) -> None:
    table.slot(SUPERVISOR).state(whole)
    for number, state in enumerate(workers, FIRST_WORKER):
        table.slot(number).state(state)
    answer = client.get("/readyz")
    if reason is None:
        assert (answer.status_code, answer.text) == (200, "ready\n")
    else:
        assert (answer.status_code, answer.text) == (503, f"not ready: {reason}\n")
    alive = any(state not in (State.UNUSED, State.ENDED) for state in workers)
    assert client.get("/livez").status_code == (200 if alive else 503)


def test_the_metrics_come_in_the_format_asked_for(client: Client) -> None:
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    accept = {"accept": "application/openmetrics-text"}
    page = client.get("/metrics", headers=accept)
    assert page.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert page.text.endswith("# EOF\n")


@pytest.mark.parametrize("page", PAGES)
def test_a_head_is_the_page_without_its_body(client: Client, page: str) -> None:
    whole, head = client.get(page), client.request("HEAD", page)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers == whole.headers


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "secret"])
def test_a_page_is_only_read(client: Client, page: str, method: str) -> None:
    answer = client.request(method, page)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answer.text == "a page is read with GET or HEAD\n"


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics/secret", "//livez", "/secret?secret"])
def test_what_is_no_page_is_not_there(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (404, "no such page\n")
    assert "secret" not in json.dumps(dict(answer.headers))


@pytest.mark.parametrize(
    "headers", [{"content-length": "7"}, {"transfer-encoding": "chunked"}, {"content-length": "-"}]
)
def test_a_body_is_refused_unread(client: Client, headers: dict[str, str]) -> None:
    answer = client.get("/livez", headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_kept_by_anybody_on_the_way(client: Client, page: str) -> None:
    assert client.get(page).headers["cache-control"] == "no-store"

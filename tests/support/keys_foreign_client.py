"""A client of Microsoft's sidecar, written from its documentation alone: HTTP, JSON, base64."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Said:
    """Status and JSON of an answer; there is exactly one JSON text in it."""

    status: int
    json: dict[str, Any]

    @property
    def error(self) -> str:
        assert self.json.keys() == {"error"}
        text: str = self.json["error"]
        return text


class ForeignClient:
    """One that knows nothing of us. address: HOST:PORT."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **headers: str) -> Said:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: object, **headers: str) -> Said:
        return self.ask("POST", path, json.dumps(body).encode(), headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Said:
        """headers: with _ for -; they replace what every client sends."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Content-Type": "application/json", **given} if body is not None else given
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            assert answer.headers.get_content_type() == "application/json"
            return Said(answer.status, json.loads(answer.read()))
        finally:
            connection.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""The log: closed events with closed fields, and nobody can add to them in passing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sealserve.inference.server.events import FIELDS, Event, log


def test_every_event_has_its_fields_listed() -> None:
    assert FIELDS.keys() == set(Event)


@pytest.mark.parametrize(
    "fields",
    [{}, {"method": "ModelInfer"}, {"method": "m", "error": "e", "text": "the tensor was 3.25"}],
    ids=["none", "one missing", "one more"],
)
def test_other_fields_than_its_own_are_a_mistake(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has the fields"):
        log(Event.REQUEST_FAILED, **fields)


def test_an_event_is_one_json_object_on_stderr() -> None:
    code = (
        "from sealserve.inference.server.events import Event, log\n"
        "log(Event.REQUEST_FAILED, method='m\\n', error='E')"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    told = json.loads(line)
    assert told.pop("time")
    assert told == {"event": "request_failed", "method": "m\n", "error": "E"}

"""Packages that load while other threads work in native code."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from sealserve.inference.server.ahead import Ahead
from support.server_case import until

FIRST, LATER, BROKEN = "ahead_first", "ahead_later", "ahead_broken"


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{FIRST}.py").touch()
    (tmp_path / f"{LATER}.py").touch()
    (tmp_path / f"{BROKEN}.py").write_text("raise RuntimeError('here')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in (FIRST, LATER, BROKEN):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_some_load_at_once_and_others_when_told() -> None:
    with Ahead([FIRST], [LATER]) as ahead:
        until(lambda: FIRST in sys.modules)
        assert LATER not in sys.modules
        ahead.go_on()
        until(lambda: LATER in sys.modules)


def test_at_the_end_all_are_there_and_no_thread_is() -> None:
    interval = sys.getswitchinterval()
    with Ahead([FIRST], [LATER]):
        pass
    assert {FIRST, LATER} <= set(sys.modules)
    assert "sealserve-ahead" not in {thread.name for thread in threading.enumerate()}
    assert sys.getswitchinterval() == interval


def test_what_cannot_be_loaded_is_left_to_whoever_imports_it() -> None:
    with Ahead([BROKEN, "no_such_module", FIRST]):
        pass
    assert FIRST in sys.modules
    with pytest.raises(RuntimeError, match="here"):
        importlib.import_module(BROKEN)

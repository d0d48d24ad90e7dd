"""The modules under test are of the build that was asked for, and all of them are."""

from __future__ import annotations

import importlib
import os
import runpy
from pathlib import Path
from typing import Any

import Cython.Build
import pytest
import setuptools

NATIVE = Path(__file__).resolve().parents[2] / "native"
MODULES = sorted(source.stem for source in NATIVE.glob("*.pyx"))
TRACES = {"address": b"__asan_report", "undefined": b"__ubsan_handle"}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("sanitizer", TRACES)
def test_a_sanitizer_is_in_it_exactly_if_asked_for(name: str, sanitizer: str) -> None:
    module = importlib.import_module(f"sealserve.native.{name}")
    assert module.__file__
    asked = os.environ.get("SEALSERVE_SANITIZE", "").split(",")
    assert (TRACES[sanitizer] in Path(module.__file__).read_bytes()) == (sanitizer in asked)


def test_whatever_changes_is_linked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """setuptools looks at sources and depends before our own C is taken out of the sources."""
    told: dict[str, Any] = {}
    monkeypatch.chdir(NATIVE.parent)
    monkeypatch.setattr(Cython.Build, "cythonize", lambda modules, **_: modules)
    monkeypatch.setattr(setuptools, "setup", lambda **given: told.update(given))
    runpy.run_path("setup.py")
    depends = {module.name: set(module.depends) for module in told["ext_modules"]}
    c, headers = (
        {f"src/sealserve/native/src/{file.name}" for file in (NATIVE / "src").glob(pattern)}
        for pattern in ("*.c", "*.h")
    )
    own = {"src/sealserve/native/src/nghttp2.c"}
    assert depends.pop("sealserve.native.http2") == own | headers
    assert depends.pop("sealserve.native.crypto") == (c - own) | headers
    assert set(map(frozenset, depends.values())) == {frozenset(headers)}

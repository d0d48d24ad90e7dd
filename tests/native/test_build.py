"""The modules under test are of the build that was asked for, and all of them are."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

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

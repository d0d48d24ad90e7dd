"""Every routine and its twin face the same tests."""

from __future__ import annotations

from typing import Any

import pytest

from support.native_backends import BACKENDS


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Any:
    return BACKENDS[request.param]

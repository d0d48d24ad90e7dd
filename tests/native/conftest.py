"""Every routine and its twin face the same tests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from support.native_backends import BACKENDS

# How long an example takes says something of the machine, of the kernel and of the sanitizers.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Any:
    return BACKENDS[request.param]

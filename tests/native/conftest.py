"""Every routine and its twin face the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from sealserve.native.destination import Destination
from support.native_backends import BACKENDS
from support.native_loading import memory_file

# How long an example takes says something of the machine, of the kernel and of the sanitizers.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def slow() -> Iterator[list[Destination]]:
    """So many writes of the first eight chunks that they last for several ticks."""
    with memory_file() as fd:
        yield [Destination(0, 8 * 16384, fd=fd)] * 100_000


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Any:
    return BACKENDS[request.param]

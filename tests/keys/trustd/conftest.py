"""One simulated and one real trust service for all tests here; each test file opens it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.connection import Connection
from support.attestation_simulated import NOW
from support.keys_trustd import LocalTrustd, local, make


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> tuple[Path, Connection]:
    """A folder that `trustd init` filled, and the owner's way in."""
    folder = tmp_path_factory.mktemp("trustd") / "simulated"
    return folder, make(folder, simulated_root)


@pytest.fixture(scope="session")
def made_real(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> tuple[Path, Connection]:
    """The same for real machines."""
    folder = tmp_path_factory.mktemp("trustd") / "real"
    return folder, make(folder, simulated_root, platform="real")


@pytest.fixture(scope="module")
def _running(made: tuple[Path, Connection]) -> Iterator[LocalTrustd]:
    with local(*made) as trustd:
        yield trustd


@pytest.fixture
def trustd(_running: LocalTrustd) -> LocalTrustd:
    """The simulated service; its clock says now."""
    _running.now = NOW
    return _running


@pytest.fixture(scope="module")
def real(made_real: tuple[Path, Connection]) -> Iterator[LocalTrustd]:
    """The service for real machines."""
    with local(*made_real) as trustd:
        yield trustd

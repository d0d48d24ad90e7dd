"""One trust service for the verbs that talk to a vault, and a desk beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from support.cli_vault import VaultDesk
from support.keys_trustd import LocalTrustd, make, serving


@pytest.fixture(scope="module")
def trustd(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[LocalTrustd]:
    folder = tmp_path_factory.mktemp("trustd") / "vault"
    connection = make(folder, simulated_root)
    with serving(folder, connection) as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], trustd: LocalTrustd) -> VaultDesk:
    return VaultDesk(tmp_path, capsys, trustd)

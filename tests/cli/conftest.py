"""Whom the verbs talk to: a trust service and a desk, a server and a client's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from support import client_case as case
from support.cli_vault import VaultDesk
from support.client_cli import Clinic
from support.client_server import LiveServer
from support.keys_trustd import LocalTrustd, make, serving
from support.rsa_stock import rsa_stock as rsa_stock


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


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root)) as live:
        yield live


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    return Clinic(tmp_path, capsys, simulated_root)

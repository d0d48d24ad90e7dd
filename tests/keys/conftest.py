"""One authority, one simulated vault and one machine for all tests of key release."""

from __future__ import annotations

import pytest

from sealserve.attestation.simulated import Machine
from sealserve.keys.owner import open_reference
from sealserve.keys.wrap import RsaRecipient
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA
from support.keys_tls import Ca
from support.keys_vault import SimulatedVault
from support.rsa_stock import rsa_stock as rsa_stock

KEY = bytes(range(100, 132))


@pytest.fixture(scope="session")
def ca():
    return Ca()


@pytest.fixture(scope="session")
def other_ca():
    return Ca("another CA")


@pytest.fixture
def vault(ca, simulated_roots):
    with SimulatedVault(ca, simulated_roots) as vault:
        yield vault


@pytest.fixture(scope="session")
def machine(simulated_root):
    return Machine(simulated_root, HOST_DATA)


@pytest.fixture
def connection(vault, tmp_path):
    path = tmp_path / "connection.toml"
    path.write_text(vault.connection.to_toml())
    return path


@pytest.fixture
def policy(vault):
    return build(vault.issuer, HOST_DATA.hex(), simulated=True)


@pytest.fixture
def slot(vault, policy, connection):
    """A slot for a key whose policy lets `machine` have it."""
    owned = open_reference(f"trustd:{vault.host}/model", connection)
    made = owned.vault.create("model", policy)
    owned.vault.close()
    with SecretBuffer.from_bytes(KEY) as key:
        return RsaRecipient(made.key_id, made.public).wrap(key, b"", b"")

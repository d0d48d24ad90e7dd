"""One trust service with a few keys, and sidecars that may ask it, on ports of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.service import Sidecar
from support.keys_foreign_client import ForeignClient
from support.keys_sidecar import OCTETS, USER_AGENT, Case, Events, Source, bring, listening
from support.keys_trustd import LocalTrustd, make, private_jwk
from support.keys_trustd import serving as serving_trustd
from support.keys_vault import b64url


@pytest.fixture(scope="session")
def trustd(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[LocalTrustd]:
    """With the keys `rsa`, `octets` and `hidden` for our machine, `foreign` for another."""
    folder = tmp_path_factory.mktemp("sidecar") / "vault"
    with serving_trustd(folder, make(folder, simulated_root)) as running:
        bring(running, "rsa", {**private_jwk(3072), "key_ops": ["wrapKey", "unwrapKey"]})
        octets = {"kty": "oct-HSM", "k": b64url(OCTETS)}
        for name in ("octets", "hidden"):
            bring(running, name, octets)
        bring(running, "foreign", octets, host_data=b"\xff" * 32)
        yield running


@pytest.fixture
def case(trustd: LocalTrustd, machine: Machine) -> Iterator[Case]:
    source, log = Source(machine), Events()
    vault = trustd.connection.address
    digest = trustd.connection.authority().sha256
    options = Options(
        vaults=(f"trustd:{vault}",), ca_sha256=(digest,), keys=("rsa", "octets", "foreign", "none")
    )
    allowed = Allowed.of(options, source.platform)
    with closing(Sidecar(source, allowed, log, user_agent=USER_AGENT)) as sidecar:
        yield Case(sidecar, source, vault, trustd, log)


@pytest.fixture
def client(case: Case) -> Iterator[ForeignClient]:
    with listening(case.sidecar) as client:
        yield client

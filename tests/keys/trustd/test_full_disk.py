"""A full disk: nothing half-written, a clear refusal, and the service goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.trustd import audit_reader
from sealserve.keys.trustd.audit import rows
from support.keys_trustd import LocalTrustd, make, serving
from support.models_cramped import cramped


@pytest.fixture
def small(tmp_path: Path, simulated_root: SimulatedRoot) -> Iterator[LocalTrustd]:
    """A service with half a megabyte, a part of which is taken by a ballast file."""
    with cramped(tmp_path / "small", 768) as place:
        folder = place / "vault"
        connection = make(folder, simulated_root)
        (place / "ballast").write_bytes(bytes(128 * 1024))
        with serving(folder, connection) as trustd:
            yield trustd


def test_it_refuses_clearly_and_goes_on(small: LocalTrustd) -> None:
    url = f"https://{small.connection.address}"
    owner = {"Authorization": f"Bearer {small.owner}"}
    tls = small.connection.authority().tls()
    made: list[str] = []
    with httpx.Client(base_url=url, verify=tls, trust_env=False, headers=owner) as client:

        def create() -> Any:
            body = {"kty": "oct", "tags": {str(n): "x" * 200 for n in range(15)}}
            return client.post("/keys/model/create", json=body)

        for _ in range(500):
            answer = create()
            if answer.status_code != 200:
                break
            made.append(answer.json()["key"]["kid"].rpartition("/")[2])
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "ServiceUnavailable"
        assert made
        assert create().status_code == 503
        assert client.get("/keys/model").status_code == 200
        kept = [record.version for record in small.records.versions("key", "model")]
        assert kept == made
        assert audit_reader.verify(small.folder, None).rows == len(made) + 3
        (small.folder.path.parent / "ballast").unlink()
        after = create()
        assert after.status_code == 200, after.text
    assert len(list(rows(small.records.database))) == len(made) + 4
    audit_reader.verify(small.folder, None)

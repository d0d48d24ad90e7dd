"""A trust service of its own process with one key in it, and machines that get this key."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation import Evidence
from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys import jws
from sealserve.keys.answer import ENC, ReleasedKey
from sealserve.keys.attest import request_body
from sealserve.keys.connection import Connection
from sealserve.keys.keyid import KeyId
from sealserve.keys.owner import open_reference
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.policy.release_build import Admitted

SEALSERVE = str(Path(sys.executable).with_name("sealserve"))
HOST_DATA = bytes(range(32))
NAME = "model"
_NO_LIMIT = ("--requests-per-second", "1e9", "--requests-per-peer", "1e9")


@dataclass(frozen=True)
class Trustd:
    """A service that answers. version: of the key that everybody should get."""

    folder: Path
    connection: Connection
    root: SimulatedRoot
    version: str

    @property
    def kid(self) -> str:
        return f"https://{self.connection.address}/keys/{NAME}/{self.version}"

    def client(self) -> httpx.Client:
        """A connection that is kept."""
        tls = self.connection.authority().tls()
        return httpx.Client(
            base_url=f"https://{self.connection.address}", verify=tls, trust_env=False, timeout=60
        )


@dataclass(frozen=True)
class Asker:
    """A machine with one ephemeral key and evidence for it, made beforehand: they are its own
    work, and not the service's.
    """

    trustd: Trustd
    key: rsa.RSAPrivateKey
    evidence: Evidence

    @classmethod
    def of(cls, trustd: Trustd) -> Asker:
        key = rsa.generate_private_key(65537, 3072)
        machine = Machine(trustd.root, HOST_DATA)
        return cls(trustd, key, machine.evidence(ReleaseClaims.of(key.public_key()).encode()))

    def release(self, client: httpx.Client) -> str:
        """Attest and have the key released; the signed answer."""
        url = "/attest/SevSnpVm?api-version=2022-08-01"
        body = request_body(self.evidence, with_crl=True)
        token = _told(client.post(url, content=body))["token"]
        return _told(
            client.post(
                f"/keys/{NAME}/{self.trustd.version}/release?api-version=7.4",
                json={"target": token, "enc": ENC},
                headers={"Authorization": "Bearer attested"},
            )
        )["value"]

    def open(self, answer: str) -> bytes:
        """What came, by the client's own checks, as far as they are the service's to cause: that
        OpenSSL looks for factors of a released RSA key takes longer than all of it.
        """
        connection = self.trustd.connection
        roots = (connection.authority().certificate,)
        now = datetime.now(UTC)
        payload = jws.open_jws(answer, roots=roots, host=connection.address, now=now)
        released = ReleasedKey.read(payload)
        released.check(KeyId.parse(self.trustd.kid))
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        size = self.key.key_size // 8
        kek = self.key.decrypt(released.wrapped[:size], oaep)
        return keywrap.aes_key_unwrap_with_padding(kek, released.wrapped[size:])


@contextmanager
def trust_service(folder: Path) -> Iterator[Trustd]:
    """While it runs; everything it needs stands in this folder."""
    root = SimulatedRoot.load_or_create(folder / "tee")
    vault = folder / "vault"
    wanted = Wanted(_free(), simulated_root_sha256=root.ark_sha256.hex())
    connection = init(vault, wanted, datetime.now(UTC))
    command = [SEALSERVE, "trustd", "run", str(vault), *_NO_LIMIT]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        try:
            assert running.stdout is not None
            if not running.stdout.readline().startswith("ready: "):
                raise RuntimeError("the trust service did not become ready")
            reference = f"trustd:{connection.address}/{NAME}"
            owned = open_reference(reference, vault / "connection.toml")
            made = owned.key_for(Admitted((HOST_DATA.hex(),)))
            owned.close()
            yield Trustd(vault, connection, root, made.key_id.version)
        finally:
            running.terminate()


def _free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _told(answer: httpx.Response) -> dict[str, str]:
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"HTTP {answer.status_code}: {answer.text[:200]}")
    told: dict[str, str] = json.loads(answer.content)
    return told

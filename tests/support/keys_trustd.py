"""Trust services of the tests: made in a folder, and asked in this process without a network."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import Evidence
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.attest import request_body
from sealserve.keys.body import Body
from sealserve.keys.connection import SIMULATED, Connection
from sealserve.keys.refused import Refused
from sealserve.keys.trustd import server
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.service import Service
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.keys.trustd.throttle import Rates
from support.attestation_simulated import NOW
from support.keys_vault import b64url, rsa_key, uint, unb64url
from support.ports import free_port

API_VERSION = "7.4"
UNLIMITED = Rates(1e9, 1e9)  # a test asks faster than anybody


def make(
    folder: Path, root: SimulatedRoot, *, platform: str = SIMULATED, port: int = 0
) -> Connection:
    """`trustd init` on a port of the loopback."""
    digest = root.ark_sha256.hex() if platform == SIMULATED else ""
    wanted = Wanted(f"127.0.0.1:{port or free_port()}", "", platform, digest)
    return init(folder, wanted, datetime.now(UTC))


class LocalTrustd:
    """The service of a folder, in this process. now: what its clock says."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.now = NOW
        self.folder = Folder(folder)
        self.connection = connection
        self.owner = connection.token
        self.records = self.folder.records()
        self.service = Service(self.records, clock=lambda: self.now)

    @property
    def issuer(self) -> str:
        return self.service.tokens.issuer

    def attest(self, evidence: Evidence, **changes: object) -> dict[str, Any]:
        """The claims of a token about this evidence."""
        request = {**json.loads(request_body(evidence, with_crl=True)), **changes}
        return payload_of(self.service.attest("SevSnpVm", body_of(request))["token"])

    def create(self, name: str, **members: object) -> dict[str, Any]:
        """A new key, as the owner."""
        return self.service.create(self.owner, name, body_of(members))

    def token(self, claims: Mapping[str, object]) -> str:
        """A token of this service that says this, whether or not anything was attested."""
        return self.service.tokens.sign(self.service.tokens.claims(claims, self.now))

    def release(self, name: str, version: str = "", *, bearer: str = "any", **body: object) -> str:
        """The signed answer."""
        answered = self.service.release(bearer, name, version, body_of(body), API_VERSION)
        value: str = answered["value"]
        return value


@contextmanager
def local(folder: Path, connection: Connection) -> Iterator[LocalTrustd]:
    """The service of a folder, closed at the end."""
    trustd = LocalTrustd(folder, connection)
    try:
        yield trustd
    finally:
        trustd.records.close()


@contextmanager
def serving(folder: Path, connection: Connection) -> Iterator[LocalTrustd]:
    """The service of a folder on its port, in a thread of this process."""
    with local(folder, connection) as trustd:
        listener = server.bound(trustd.service.state.listen)
        running = uvicorn.Server(server.config_of(trustd.service, UNLIMITED))
        thread = threading.Thread(target=lambda: asyncio.run(served(running, listener)))
        thread.start()
        try:
            yield trustd
        finally:
            running.should_exit = True
            thread.join()
            listener.close()


async def served(running: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until it is told to exit, and leave no connection behind.

    One that a client just left may be in the middle of TLS's goodbye when the server ends.
    """
    await running.serve([listener])
    transports: Any = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    for transport in list(transports.values()):
        transport.abort()
    await asyncio.sleep(0)  # what was aborted is closed in the next round


def body_of(values: Mapping[str, object]) -> Body:
    """A request as it comes from the wire."""
    return Body.parse(json.dumps(values).encode())


def payload_of(token: str) -> dict[str, Any]:
    """What a token or a signed answer says, not verified."""
    value: dict[str, Any] = json.loads(unb64url(token.split(".")[1]))
    return value


def release_policy(policy: bytes, **more: object) -> dict[str, object]:
    """A release policy as requests carry it."""
    return {"data": b64url(policy), **more}


def wrapping_jwk(key: rsa.RSAPrivateKey, **members: object) -> dict[str, object]:
    """The public part of a machine's key, to wrap to."""
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": uint(numbers.n), "e": uint(numbers.e), "kid": "of-the-machine"}
    return {**jwk, "key_ops": ["encrypt"], **members}


def private_jwk(bits: int = 2048, number: int = 7) -> dict[str, object]:
    """A whole RSA key, as an owner brings it."""
    key = rsa_key(bits, number).private_numbers()
    numbers = {
        "n": key.public_numbers.n,
        "e": key.public_numbers.e,
        "d": key.d,
        "p": key.p,
        "q": key.q,
        "dp": key.dmp1,
        "dq": key.dmq1,
        "qi": key.iqmp,
    }
    return {"kty": "RSA", **{name: uint(value) for name, value in numbers.items()}}


def told(refused: Refused) -> tuple[int, str]:
    """Status and code of a refusal."""
    return refused.status, refused.code


def random_name() -> str:
    """A key name nobody has used."""
    return f"key-{os.urandom(6).hex()}"

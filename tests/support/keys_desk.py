"""An owner's desk: a trust service with two keys, a sealed model, and the processes around them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealserve.attestation.simulated import SOCKET_VARIABLE, SimulatedRoot
from sealserve.keys.connection import Connection
from sealserve.keys.keyid import KeyId
from sealserve.keys.trustd import audit_reader
from sealserve.keys.trustd.audit import Entry
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.wrap import RsaRecipient
from sealserve.policy.release_build import SIMULATED_SUFFIX, build
from support import client_case as case
from support.client_server import MODEL
from support.keys_foreign_client import ForeignClient, Said
from support.keys_trustd import body_of, local, make, private_jwk, release_policy
from support.keys_trustd_process import RUN
from support.keys_vault import b64url, rsa_key
from support.models_onnx import classifier
from support.models_sealed import seal_model
from support.ports import free_port
from support.server_process import SEALSERVE, answering, clean_environment

OWNER = Path(__file__).with_name("keys_owner_peer.py")
OCTETS = bytes(range(150, 182))
VAULT_KEY = rsa_key(2048, 7)
Life = AbstractContextManager[subprocess.Popen[str]]


@dataclass(frozen=True)
class Desk:
    """model, octets: versions of the two keys. plain: the model that was sealed.

    port: of the sidecar. prefix: a command that runs each of the processes.
    """

    folder: Path
    root: SimulatedRoot
    connection: Connection
    policy: bytes
    sealed_root: str
    plain: bytes
    model: str
    octets: str
    port: int
    prefix: Sequence[str] = ()

    @property
    def vault(self) -> Path:
        """The folder of the trust service."""
        return self.folder / "vault"

    def owner(self) -> Life:
        """Imports keys; prints the URL of each."""
        told = {
            "address": self.connection.address,
            "ca": str(self.vault / "ca.pem"),
            "key": {name: value for name, value in private_jwk().items() if name != "kty"},
            "policy": b64url(self.policy),
            "token": self.connection.token,
        }
        return self.run("owner", (sys.executable, "-I", str(OWNER)), said=json.dumps(told))

    def trustd(self, command: Sequence[str] = RUN) -> Life:
        """command: what runs the service of the folder that follows."""
        return self.run("trustd", (*command, "vault"))

    def server(self) -> Life:
        sealed = ("net.sealed", "--root", self.sealed_root, "--listen", "127.0.0.1:0")
        # with the authority at hand it waits for a trust service that is dead just now
        return self._attested("server", "serve", *sealed, "--vault-ca", "vault/ca.pem")

    def sidecar(self) -> Life:
        return self._attested("sidecar", "skr", "--key", "octets", "--port", str(self.port))

    def ask_sidecar(self, **changes: str) -> Said:
        """What a container says to have the key that is for containers."""
        vault = self.connection.address
        body = {"maa_endpoint": vault, "akv_endpoint": vault, "kid": "octets"}
        return ForeignClient(f"127.0.0.1:{self.port}").post("/key/release", {**body, **changes})

    def log(self, name: str) -> Path:
        """Stderr of all lives of one of the four."""
        return self.folder / f"{name}.err"

    def rows_of_releases(self) -> Counter[str]:
        """By key version, from the audit log."""
        told = [row.told for row in audit_reader.shown(Folder(self.vault), None)]
        return Counter(row["told"]["version"] for row in told if row["entry"] == Entry.RELEASED)

    @contextmanager
    def _attested(self, name: str, *verb: str) -> Iterator[subprocess.Popen[str]]:
        ca = self.connection.authority().sha256
        vault = ("--vault", f"trustd:{self.connection.address}", "--vault-ca-sha256", ca)
        with (
            answering(case.machine(self.root)) as device,
            self.run(name, (*SEALSERVE, *verb, *vault), device=device) as process,
        ):
            yield process

    @contextmanager
    def run(
        self, name: str, command: Sequence[str], *, said: str = "", device: int | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """One process in the folder; killed at the end. said: on its stdin."""
        more = {} if device is None else {SOCKET_VARIABLE: str(device)}
        with (
            self.log(name).open("a") as err,
            subprocess.Popen(
                [*self.prefix, *command],
                cwd=self.folder,
                env=clean_environment(**more),
                pass_fds=() if device is None else (device,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdin
                process.stdin.write(said)
                process.stdin.close()
                yield process
            finally:
                process.kill()


def new_desk(folder: Path, root: SimulatedRoot, prefix: Sequence[str] = ()) -> Desk:
    """Make the trust service and what it keeps; nothing runs yet."""
    connection = make(folder / "vault", root)
    issuer = f"https://{connection.address}{SIMULATED_SUFFIX}"
    policy = build(issuer, case.POLICY.hex(), simulated=True)
    keys = {"model": private_jwk(), "octets": {"kty": "oct-HSM", "k": b64url(OCTETS)}}
    made = {}
    with local(folder / "vault", connection) as trustd:
        for name, key in keys.items():
            body = {
                "key": key,
                "attributes": {"exportable": True},
                "release_policy": release_policy(policy),
            }
            answered = trustd.service.bring(connection.token, name, body_of(body))
            made[name] = KeyId.parse(answered["key"]["kid"])
    plain = classifier()
    recipient = RsaRecipient(made["model"], VAULT_KEY.public_key())
    sealed = seal_model(plain, folder / "net.sealed", keys=[recipient], name=MODEL)
    return Desk(
        folder=folder,
        root=root,
        connection=connection,
        policy=policy,
        sealed_root=sealed.root.hex(),
        plain=plain.SerializeToString(),
        model=made["model"].version,
        octets=made["octets"].version,
        port=free_port(),
        prefix=prefix,
    )

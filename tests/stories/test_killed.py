"""Owner, trust service, server and sidecar as processes, each killed at random moments.

All four go on at once, so that each meets the others' deaths too. Whatever was answered is there
afterwards: each imported key opens, each release has its row with evidence that meets its policy,
every head that was seen once is in the log, and server and sidecar get their keys again.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SOCKET_VARIABLE, SimulatedRoot
from sealserve.inference.client import connect
from sealserve.keys.connection import Connection
from sealserve.keys.keyid import KeyId
from sealserve.keys.opener import connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.keys.trustd import audit_reader
from sealserve.keys.trustd.audit import Entry
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.wrap import RsaRecipient
from sealserve.models.slots import Slot
from sealserve.native.errors import SealserveError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.release import SIMULATED_SUFFIX, build
from support import client_case as case
from support.client_server import MODEL
from support.keys_foreign_client import ForeignClient
from support.keys_trustd import body_of, local, make, private_jwk, release_policy
from support.keys_trustd_process import RUN
from support.keys_vault import b64url, rsa_key
from support.models_onnx import batch, classifier, predict
from support.models_sealed import seal_model
from support.mortal import Mortal
from support.ports import free_port
from support.server_process import SEALSERVE, answering, clean_environment, target_of

OWNER = Path(__file__).resolve().parents[1] / "support" / "keys_owner_peer.py"
KEY = bytes(range(50, 82))
OCTETS = bytes(range(150, 182))
VAULT_KEY = rsa_key(2048, 7)
PAUSE_SECONDS = 0.4  # between two releases: each costs both sides RSA keys and handshakes
Life = AbstractContextManager[subprocess.Popen[str]]


@dataclass(frozen=True)
class Desk:
    """What was made before anybody was killed. model, octets: versions of those two keys."""

    folder: Path
    root: SimulatedRoot
    connection: Connection
    policy: bytes
    sealed_root: str
    plain: bytes
    model: str
    octets: str
    port: int

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
        return self._life("owner", (sys.executable, "-I", str(OWNER)), said=json.dumps(told))

    def trustd(self) -> Life:
        return self._life("trustd", (*RUN, "vault"))

    def server(self) -> Life:
        sealed = ("net.sealed", "--root", self.sealed_root, "--listen", "127.0.0.1:0")
        # with the authority at hand it waits for a trust service that is dead just now
        return self._attested("server", "serve", *sealed, "--vault-ca", "vault/ca.pem")

    def sidecar(self) -> Life:
        return self._attested("sidecar", "skr", "--key", "octets", "--port", str(self.port))

    @contextmanager
    def _attested(self, name: str, *verb: str) -> Iterator[subprocess.Popen[str]]:
        ca = self.connection.authority().sha256
        vault = ("--vault", f"trustd:{self.connection.address}", "--vault-ca-sha256", ca)
        with (
            answering(case.machine(self.root)) as device,
            self._life(name, (*SEALSERVE, *verb, *vault), device=device) as process,
        ):
            yield process

    @contextmanager
    def _life(
        self, name: str, command: tuple[str, ...], *, said: str = "", device: int | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        more = {} if device is None else {SOCKET_VARIABLE: str(device)}
        with (
            (self.folder / f"{name}.err").open("a") as err,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=clean_environment(**more),
                pass_fds=() if device is None else (device,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            ) as process,
        ):
            assert process.stdin
            process.stdin.write(said)
            process.stdin.close()
            yield process

    def rows_of_releases(self) -> Counter[str]:
        """By key version, from the log."""
        told = [row.told for row in audit_reader.shown(Folder(self.vault), None)]
        return Counter(row["told"]["version"] for row in told if row["entry"] == Entry.RELEASED)


@dataclass
class Story:
    """What was answered so far. slots: of imported keys. released: by key version, as told to
    whoever asked. target: of the server that was ready last.
    """

    desk: Desk
    head: str
    slots: list[Slot] = field(default_factory=list)
    released: Counter[str] = field(default_factory=Counter)
    target: str = ""
    quiet: threading.Event = field(default_factory=threading.Event)

    def mortals(self) -> list[Mortal]:
        desk = self.desk
        return [
            Mortal("owner", desk.owner, self._imported, lambda: len(self.slots)),
            Mortal("trustd", desk.trustd, _ready, self._answered, self.verify),
            Mortal("server", desk.server, self._serves, lambda: self.released[desk.model]),
            Mortal("sidecar", desk.sidecar, _ready, lambda: self.released[desk.octets]),
        ]

    def _answered(self) -> int:
        return len(self.slots) + self.released.total()

    def _imported(self, line: str) -> None:
        with SecretBuffer.from_bytes(KEY) as key:
            recipient = RsaRecipient(KeyId.parse(line.strip()), VAULT_KEY.public_key())
            self.slots.append(recipient.wrap(key, b"", b""))

    def _serves(self, line: str) -> None:
        self.target = target_of(line)
        self.released[self.desk.model] += 1

    def verify(self) -> None:
        """The log holds up, what was seen of it is there, and so is every release of somebody."""
        answered = Counter(self.released)
        self.head = audit_reader.verify(Folder(self.desk.vault), None, head=self.head).head
        assert self.desk.rows_of_releases() >= answered

    def machine_asks(self) -> None:
        """Have keys released, over and over; our client asks again while nobody answers."""
        chosen = random.Random(1)
        while not self.quiet.wait(PAUSE_SECONDS):
            if self.slots:
                with suppress(SealserveError):
                    self.open(chosen.choice(self.slots))

    def container_asks(self) -> None:
        """Ask the sidecar, over and over."""
        while not self.quiet.wait(PAUSE_SECONDS):
            with suppress(OSError, http.client.HTTPException):
                self.ask_sidecar()

    def ask_sidecar(self) -> int:
        vault = self.desk.connection.address
        body = {"maa_endpoint": vault, "akv_endpoint": vault, "kid": "octets"}
        said = ForeignClient(f"127.0.0.1:{self.desk.port}").post("/key/release", body)
        if said.status == 200:
            assert json.loads(said.json["key"])["k"] == b64url(OCTETS)
            self.released[self.desk.octets] += 1
        return said.status

    def open(self, slot: Slot) -> None:
        """This key, released to a machine over the network."""
        connection = self.desk.connection
        options = VaultOptions(
            f"trustd:{connection.address}", ca_sha256=connection.authority().sha256
        )
        with closing(connect_vault(options, case.machine(self.desk.root))) as opener:
            with opener.unwrap([slot], b"", b"") as key:
                assert key.equals(KEY)
            self.released[KeyId.parse(slot.recipient).version] += 1

    @contextmanager
    def going_on(self, kills: int, seed: int) -> Iterator[None]:
        """All at work, each killed so many times before; everything ends with it."""
        mortals, over = self.mortals(), threading.Event()
        with ThreadPoolExecutor(len(mortals) + 2) as pool:
            asking = [pool.submit(ask) for ask in (self.machine_asks, self.container_asks)]
            living = [pool.submit(mortal.live, kills, seed, over) for mortal in mortals]
            try:
                while not all(mortal.settled.is_set() for mortal in mortals):
                    assert not any(each.done() for each in (*asking, *living))
                    time.sleep(0.05)
                yield
            finally:
                self.quiet.set()
                wait(asking)  # whoever asks gets an answer while there is somebody to give one
                over.set()
                for each in (*living, *asking):
                    each.result()  # what went wrong in one of them


def _ready(line: str) -> None:
    assert line.startswith("ready: "), line


@pytest.fixture
def desk(tmp_path: Path, simulated_root: SimulatedRoot) -> Desk:
    """A trust service with a model's key and a container's, and the sealed model."""
    connection = make(tmp_path / "vault", simulated_root)
    policy = build(
        f"https://{connection.address}{SIMULATED_SUFFIX}", case.POLICY.hex(), simulated=True
    )
    keys = {"model": private_jwk(), "octets": {"kty": "oct-HSM", "k": b64url(OCTETS)}}
    with local(tmp_path / "vault", connection) as trustd:
        made = {}
        for name, key in keys.items():
            body = {"key": key, "attributes": {"exportable": True},
                    "release_policy": release_policy(policy)}  # fmt: skip
            answered = trustd.service.bring(connection.token, name, body_of(body))
            made[name] = KeyId.parse(answered["key"]["kid"])
    plain = classifier()
    recipient = RsaRecipient(made["model"], VAULT_KEY.public_key())
    sealed = seal_model(plain, tmp_path / "net.sealed", keys=[recipient], name=MODEL)
    return Desk(
        folder=tmp_path,
        root=simulated_root,
        connection=connection,
        policy=policy,
        sealed_root=sealed.root.hex(),
        plain=plain.SerializeToString(),
        model=made["model"].version,
        octets=made["octets"].version,
        port=free_port(),
    )


@pytest.mark.parametrize(
    "kills", [5, pytest.param(100, marks=pytest.mark.long)], ids=lambda kills: f"{kills} kills"
)
def test_each_killed_at_random_moments(kills: int, desk: Desk) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    story = Story(desk, audit_reader.verify(Folder(desk.vault), None).head)
    with story.going_on(kills, seed):
        for slot in list(story.slots):
            story.open(slot)
        assert story.ask_sidecar() == 200
        trust = case.trust(desk.root, (case.ROOT.hex(), desk.sealed_root))
        with connect(story.target, trust) as client:
            answer = client.predict(MODEL, batch())["y"]
        (plain,) = predict(desk.plain, batch())
        assert answer.tobytes() == plain.tobytes()
    story.verify()
    print(f"{len(story.slots)} keys, {story.released.total()} releases told of, head {story.head}")  # noqa: T201

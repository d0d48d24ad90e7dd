"""Owner, trust service, server and sidecar as processes, each killed at random moments.

All four go on at once, so that each meets the others' deaths too. Whatever was answered is there
afterwards: each imported key opens, each release has its row with evidence that meets its policy,
every head that was seen once is in the log, and server and sidecar get their keys again.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect
from sealserve.keys.keyid import KeyId
from sealserve.keys.opener import connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.keys.trustd import audit_reader
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.wrap import RsaRecipient
from sealserve.models.slots import Slot
from sealserve.native.errors import SealserveError
from sealserve.native.secret import SecretBuffer
from support import client_case as case
from support.client_server import MODEL
from support.keys_desk import OCTETS, VAULT_KEY, Desk, new_desk
from support.keys_vault import b64url
from support.models_onnx import batch, predict
from support.mortal import Mortal
from support.server_process import target_of

KEY = bytes(range(50, 82))
PAUSE_SECONDS = 0.4  # between two releases: each costs both sides RSA keys and handshakes


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
        said = self.desk.ask_sidecar()
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
    return new_desk(tmp_path, simulated_root)


@pytest.mark.parametrize(
    "kills", [2, pytest.param(100, marks=pytest.mark.long)], ids=lambda kills: f"{kills} kills"
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

"""The trust service killed at random moments, while owners import keys and machines get them.

Whatever was answered is there afterwards: each imported key opens, each release has its row with
evidence that meets its policy, and every head that was seen once is in the log.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyReleasePolicy

from sealserve.attestation.simulated import Machine, SimulatedRoot
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
from sealserve.policy.release_build import SIMULATED_SUFFIX, build
from support.attestation_simulated import HOST_DATA
from support.keys_trustd import make, private_jwk
from support.keys_trustd_process import running
from support.keys_vault import rsa_key, unb64url

KEY = bytes(range(50, 82))
VAULT_KEY = rsa_key(2048, 7)
PAUSE_SECONDS = 0.2  # between two imports: each key is opened at the end


class Owner:
    """A credential for the SDK."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self._token, 2**40)


@dataclass
class Story:
    """What was answered so far. slots: by key version, which the test alone can know of."""

    folder: Path
    connection: Connection
    machine: Machine
    slots: list[Slot] = field(default_factory=list)
    released: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def imports(self) -> None:
        """Bring keys, one after the other; what is not answered is no key of ours."""
        address = self.connection.address
        issuer = f"https://{address}{SIMULATED_SUFFIX}"
        policy = KeyReleasePolicy(build(issuer, HOST_DATA.hex(), simulated=True))
        jwk = {name: unb64url(str(value)) for name, value in private_jwk().items() if name != "kty"}
        with KeyClient(
            f"https://{address}",
            Owner(self.connection.token),
            verify_challenge_resource=False,
            connection_verify=str(self.folder / "ca.pem"),
            retry_total=0,
        ) as client:
            for number in itertools.count():
                if self.stop.wait(PAUSE_SECONDS):
                    return
                with suppress(AzureError):
                    made = client.import_key(
                        f"key-{number}",
                        JsonWebKey(kty="RSA", **jwk),
                        exportable=True,
                        release_policy=policy,
                    )
                    self.slots.append(slot_of(str(made.id)))

    def releases(self) -> None:
        """Have keys released, over and over; our client asks again while nobody answers."""
        chosen = random.Random(1)
        while not self.stop.wait(0.01):
            if self.slots:
                with suppress(SealserveError):
                    self.open(chosen.choice(self.slots))

    def open(self, slot: Slot) -> None:
        """This key, released to the machine over the network."""
        options = VaultOptions(
            f"trustd:{self.connection.address}", ca_sha256=self.connection.authority().sha256
        )
        with closing(connect_vault(options, self.machine)) as opener:
            with opener.unwrap([slot], b"", b"") as key:
                assert key.equals(KEY)
            self.released[KeyId.parse(slot.recipient).version] += 1

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Owners and machines at work."""
        threads = [threading.Thread(target=work) for work in (self.imports, self.releases)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def rows_of_releases(self) -> Counter[str]:
        """By key version, from the log."""
        told = [row.told for row in audit_reader.shown(Folder(self.folder), None)]
        return Counter(row["told"]["version"] for row in told if row["entry"] == Entry.RELEASED)


def slot_of(kid: str) -> Slot:
    with SecretBuffer.from_bytes(KEY) as key:
        return RsaRecipient(KeyId.parse(kid), VAULT_KEY.public_key()).wrap(key, b"", b"")


@pytest.fixture
def story(tmp_path: Path, simulated_root: SimulatedRoot) -> Story:
    folder = tmp_path / "vault"
    return Story(folder, make(folder, simulated_root), Machine(simulated_root, HOST_DATA))


@pytest.mark.parametrize(
    "kills", [5, pytest.param(100, marks=pytest.mark.long)], ids=lambda kills: f"{kills} kills"
)
def test_killed_at_random_moments(kills: int, story: Story) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    head = audit_reader.verify(Folder(story.folder), None).head
    with story.busy():
        for _ in range(kills):
            before = len(story.slots)
            with running(story.folder) as service:
                while len(story.slots) == before:
                    assert service.process.poll() is None, service.err
                    time.sleep(0.01)
                time.sleep(moments.random())
                assert service.stop(signal.SIGKILL)[0] == -signal.SIGKILL
            answered = Counter(story.released)
            head = audit_reader.verify(Folder(story.folder), None, head=head).head
            assert story.rows_of_releases() >= answered
        with running(story.folder) as service:
            story.stop.set()  # whoever is asking gets an answer first
            for slot in story.slots:
                story.open(slot)
            assert service.stop()[0] == 0
    assert len(story.slots) >= kills
    audit_reader.verify(Folder(story.folder), None, head=head)
    assert story.rows_of_releases() >= story.released

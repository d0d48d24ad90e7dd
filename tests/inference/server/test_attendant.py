"""The process that gets keys and makes the identity: in which order, and what fails how."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from sealserve.inference.server import attendant, channel
from sealserve.inference.server.channel import Channel, Kind
from sealserve.inference.server.config import KeySource
from sealserve.inference.server.handed import HandedKeys
from sealserve.keys.azure_identity import MANAGED
from sealserve.models import Slot
from sealserve.native.errors import UnavailableError
from sealserve.native.secret import SecretBuffer

KEY = bytes(range(32))


class Machine:
    """A source of evidence that has none, and an opener that has a key; notes what came when."""

    platform = "simulated"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def evidence(self, _claims: bytes) -> None:
        self.seen.append("evidence")
        raise UnavailableError("there is none")

    def unwrap(self, _slots: Sequence[Slot], _root: bytes, _header: bytes) -> SecretBuffer:
        self.seen.append("key")
        return SecretBuffer.from_bytes(KEY)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(attendant, "opener_for", lambda *_: machine)
    return machine


@pytest.fixture
def ends(machine: Machine) -> Iterator[tuple[HandedKeys, Channel]]:
    """What the process that opens models has, and what the supervisor has."""
    (up, theirs_up), (over, theirs_over) = channel.pair(), channel.pair()
    keys = HandedKeys(over)
    thread = threading.Thread(
        target=lambda: attendant.attend(
            KeySource(identity="key"),
            lambda: machine,  # type: ignore[arg-type,return-value]
            MANAGED,
            theirs_up,
            theirs_over,
            introduce=True,
        )
    )
    thread.start()
    yield keys, up
    keys.close()
    thread.join()
    for each in (up, theirs_up, theirs_over):
        each.close()


def test_the_first_key_does_not_wait_for_the_identity(
    ends: tuple[HandedKeys, Channel], machine: Machine
) -> None:
    keys, up = ends
    with keys.unwrap((), b"root", b"header") as key:
        assert bytes(key) == KEY
    assert up.receive() is not None
    assert machine.seen == ["key", "evidence"]


def test_without_an_identity_the_supervisor_hears_of_it_and_there_is_no_further_key(
    ends: tuple[HandedKeys, Channel], machine: Machine
) -> None:
    keys, up = ends
    keys.unwrap((), b"root", b"header").wipe()
    told = up.receive()
    assert told is not None
    assert told.kind is Kind.FAILED
    with pytest.raises(UnavailableError, match="there is none"):
        keys.unwrap((), b"root", b"header")
    assert machine.seen == ["key", "evidence"]


def test_the_identity_is_made_where_nobody_asks_for_a_key(
    ends: tuple[HandedKeys, Channel], machine: Machine
) -> None:
    keys, up = ends
    keys.close()
    assert up.receive() is not None
    assert machine.seen == ["evidence"]

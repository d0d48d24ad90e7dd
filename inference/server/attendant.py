"""The short-lived child that asks for evidence and for keys, and hands both over by pipe.

What it loads for that, the threads it starts and the connections it makes end with it; whoever
opens models and serves them has none of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server import failures
from sealserve.inference.server.channel import Channel, Kind
from sealserve.inference.server.config import KeySource
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import FindSource, HandedIdentity, hand_on
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.server.memory import keep_from_swap
from sealserve.inference.server.release import opener_for
from sealserve.keys.azure_identity import MachineIdentity
from sealserve.models import Opener, Slot
from sealserve.native.secret import SecretBuffer


def attend(
    keys: KeySource,
    find_source: FindSource,
    machine: MachineIdentity,
    up: Channel,
    over: Channel,
    *,
    introduce: bool,
) -> int:
    """Get the models' keys for whoever opens them at the other end of `over`, until it ends.

    introduce: make a TLS identity as well, and send it up. The first key comes before it: models
    are opened meanwhile, and nothing listens before both are there.
    """
    try:
        keep_from_swap()
        source = find_source()
        if introduce:
            log(Event.PLATFORM_FOUND, platform=source.platform)
        opener = opener_for(keys, source, machine)
        if introduce:
            _answer_next(over, opener)
            _introduce(source, up)
    except Exception as error:  # whoever waits for something of ours has to hear of it
        up.fail(error)
        _answer(over, _Refusing(error))
        return failures.exit_code(error)
    _answer(over, opener)
    return 0


def renew(find_source: FindSource, identity: HandedIdentity, up: Channel) -> int:
    """The next certificate takes over and one with fresh evidence follows; sends both up.

    Raises whatever went wrong; the certificates in use stay valid for weeks.
    """
    keep_from_swap()
    owner = TlsIdentity(find_source(), kept=identity)
    owner.rotate()
    up.send(Kind.CERTIFICATES, **asdict(owner.certificates))
    return 0


def _introduce(source: EvidenceSource, up: Channel) -> None:
    started = time.monotonic()
    made = TlsIdentity(source)
    seconds = time.monotonic() - started
    log(Event.CERTIFICATES_MADE, seconds=round(seconds, 4))
    with SecretBuffer.from_bytes(made.key_pem) as secret:
        handed = HandedIdentity(secret, made.certificates, made.spki_sha256)
        hand_on(handed, up, platform=source.platform, seconds=seconds)


class _Refusing:
    """An Opener for whoever asks although there is none."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        raise self._error


def _answer(over: Channel, opener: Opener) -> None:
    while _answer_next(over, opener):
        pass


def _answer_next(over: Channel, opener: Opener) -> bool:
    """One key, or why there is none; False once nobody asks any more."""
    asked = over.receive()
    if asked is None:
        return False
    try:
        slots = tuple(
            Slot(**{**slot, "wrapped": bytes.fromhex(slot["wrapped"])})
            for slot in asked.values["slots"]
        )
        key = opener.unwrap(slots, asked.data("root"), asked.data("header"))
    except Exception as error:
        over.fail(error)
        return True
    with key:
        over.send(Kind.KEY)
        over.send_secret(key)
    return True

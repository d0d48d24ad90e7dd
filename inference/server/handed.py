"""What one of our processes hands to another: the TLS identity, and the models' keys.

Imports nothing heavy: the first process hands on what it never looks into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING, Any, Protocol

from sealserve.inference.server import failures
from sealserve.inference.server.channel import Channel, Kind, Message
from sealserve.native.errors import UnavailableError
from sealserve.native.secret import SecretBuffer

if TYPE_CHECKING:
    from sealserve.attestation.evidence import EvidenceSource
    from sealserve.models import Slot

FindSource = Callable[[], "EvidenceSource"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificate in use and the one that follows it, DER."""

    current: bytes
    next: bytes


class Identity(Protocol):
    """What a server shows of itself. key_pem, certificate_pem: in PEM."""

    @property
    def spki_sha256(self) -> bytes: ...

    @property
    def certificates(self) -> Certificates: ...

    @property
    def key_pem(self) -> bytes: ...

    @property
    def certificate_pem(self) -> bytes: ...


class HandedIdentity:
    """A key and certificates that another process made, and later others for the same key.

    secret: the key as PEM; it stays the caller's to wipe.
    """

    def __init__(
        self, secret: SecretBuffer, certificates: Certificates, spki_sha256: bytes
    ) -> None:
        self.secret = secret
        self.certificates = certificates
        self.spki_sha256 = spki_sha256

    @property
    def key_pem(self) -> bytes:
        return bytes(self.secret)

    @property
    def certificate_pem(self) -> bytes:
        return pem(self.certificates.current)


class HandedKeys:
    """An Opener whose keys another process gets: the one at the other end of this channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """As the opener there. UnavailableError if that process ended."""
        asked = [{**asdict(slot), "wrapped": slot.wrapped.hex()} for slot in slots]
        self._channel.send(Kind.UNWRAP, slots=asked, root=root, header=header_sha256)
        answer = self._channel.receive()
        if answer is None:
            raise UnavailableError("the process that gets the models' keys ended")
        if answer.kind is Kind.FAILED:
            raise failures.raised(answer.values)
        return self._channel.receive_secret(inherited=False)

    def close(self) -> None:
        """No more keys are needed; that process ends."""
        self._channel.close()


def identity_in(message: Message, channel: Channel) -> HandedIdentity:
    """What `hand_on` or an attendant sent."""
    return HandedIdentity(
        channel.receive_secret(inherited=True), certificates_in(message), message.data("spki")
    )


def certificates_in(message: Message) -> Certificates:
    """What stands in a message of either kind."""
    return Certificates(message.data("current"), message.data("next"))


def hand_on(identity: HandedIdentity, channel: Channel, **more: Any) -> None:
    """Send an identity. more: members beside it."""
    certificates = asdict(identity.certificates)
    channel.send(Kind.IDENTITY, spki=identity.spki_sha256, **certificates, **more)
    channel.send_secret(identity.secret)


def pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    return DER_cert_to_PEM_cert(der).encode("ascii")

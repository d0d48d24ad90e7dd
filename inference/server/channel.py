"""Words between our own processes, over a socket pair made before the fork.

A frame is its length (u32, big-endian) and one JSON object with a `kind`, of those below; a secret
follows its frame as a frame of its own that is read straight into memory that is wiped. Both ends
are the same program, so a frame that is none is a bug and not an attack; it is refused all the
same.
"""

from __future__ import annotations

import base64
import enum
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

from sealserve.inference.server.failures import told
from sealserve.native.errors import UnavailableError
from sealserve.native.secret import SecretBuffer

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES: Final = 2**20  # a slot area has 256 KiB, two certificates at most 132
MAX_SECRET_BYTES: Final = 4096


class Kind(enum.StrEnum):
    """What a message can be."""

    FAILED = "failed"  # what was wanted of the sender cannot be had: as failures.py tells it
    IDENTITY = "identity"  # the TLS identity; its key follows
    CERTIFICATES = "certificates"  # others for the same key
    UNWRAP = "unwrap"  # a model's key is wanted
    KEY = "key"  # it follows
    OPENED = "opened"  # the models of a generation
    LISTENING = "listening"  # all that was started listens


@dataclass(frozen=True, slots=True)
class Message:
    """kind: what it is. values: members of JSON."""

    kind: Kind
    values: dict[str, Any]

    def data(self, name: str) -> bytes:
        """A member that was sent as bytes."""
        return base64.b64decode(self.values[name], validate=True)


class Channel:
    """One end; used by one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """To wait for the next message on."""
        return self._connection.fileno()

    def send(self, kind: Kind, **values: Any) -> None:
        """One message. Of a peer that has ended nobody hears here, but where its end is seen."""
        encoded = {name: _text(value) for name, value in values.items()}
        self._frame(json.dumps({"kind": kind, **encoded}).encode("ascii"))

    def fail(self, error: BaseException) -> None:
        """The message that something went wrong here."""
        self.send(Kind.FAILED, **told(error))

    def send_secret(self, secret: SecretBuffer) -> None:
        """The frame that follows a message which announces it."""
        with memoryview(secret) as view:
            self._frame(view)

    def receive(self) -> Message | None:
        """The next message; None when the other side has ended. Blocks until there is one."""
        size = self._size(MAX_FRAME_BYTES)
        if size is None:
            return None
        data = bytearray(size)
        if not self._fill(memoryview(data)):
            return None
        values = json.loads(data)
        return Message(Kind(values.pop("kind")), values)

    def receive_secret(self, *, inherited: bool) -> SecretBuffer:
        """The secret that was announced. UnavailableError if the other side ended before it.

        inherited: whether the children of this process have it too.
        """
        size = self._size(MAX_SECRET_BYTES)
        secret = SecretBuffer(size or 0, inherited=inherited)
        if not size or not self._fill(memoryview(secret)):
            secret.wipe()
            raise UnavailableError("a process of the server ended before it handed over a secret")
        return secret

    def close(self) -> None:
        """Give up this end."""
        self._connection.close()

    def _frame(self, data: bytes | memoryview) -> None:
        try:
            self._connection.sendall(_LENGTH.pack(len(data)), socket.MSG_NOSIGNAL)
            self._connection.sendall(data, socket.MSG_NOSIGNAL)
        except OSError:
            return

    def _size(self, most: int) -> int | None:
        head = bytearray(_LENGTH.size)
        if not self._fill(memoryview(head)):
            return None
        (size,) = _LENGTH.unpack(head)
        if size > most:
            raise ValueError(f"a frame of {size} bytes; at most {most} are possible")
        return int(size)

    def _fill(self, view: memoryview) -> bool:
        """Whether all of it came."""
        done = 0
        while done < len(view):
            try:
                got = self._connection.recv_into(view[done:])
            except ConnectionResetError:
                return False
            if not got:
                return False
            done += got
        return True


def pair() -> tuple[Channel, Channel]:
    """Both ends, of this process; each is closed in the process that has no use for it."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(one), Channel(other)


def _text(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value

"""What one of our processes may ask the supervisor for: load, unload, reload, and what there is.

Both ends of a socket pair (SOCK_SEQPACKET) that is made before the fork; nobody else can reach it.
One JSON object a packet, closed: a command of this list out, one answer with its number back. What
a reload failed of stands in the log; whoever asked learns the class of the refusal alone.
"""

from __future__ import annotations

import enum
import itertools
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from sealserve.native.errors import UnavailableError

MAX_COMMAND_BYTES: Final = 4096
MAX_ANSWER_BYTES: Final = 64 * 1024  # 32 models take 11 KiB
MAX_NAME_CHARS: Final = 128  # models/SPEC.md, section 1
# Longer than any model takes to open; a caller's own deadline is shorter.
ANSWER_SECONDS: Final = 1800.0


class Verb(enum.StrEnum):
    """What can be asked for. LOAD and UNLOAD mean every version of a name."""

    LOAD = "load"
    UNLOAD = "unload"
    RELOAD = "reload"
    MODELS = "models"


class Refusal(enum.StrEnum):
    """Why a command did not do what it was meant to."""

    UNKNOWN_MODEL = "unknown_model"
    LAST_MODEL = "last_model"
    BUSY = "busy"
    NOT_OPENED = "not_opened"
    STOPPING = "stopping"


_WORDS: Final = {
    Refusal.UNKNOWN_MODEL: "no file on the command line is a model of that name",
    Refusal.LAST_MODEL: "no model would be left to serve",
    Refusal.BUSY: "the models are being opened anew already",
    Refusal.NOT_OPENED: "the models could not be opened anew; those served before still are",
    Refusal.STOPPING: "the server is being stopped",
}


class RefusedCommandError(UnavailableError):
    """The supervisor did not do it. refusal: why, from a closed list."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(_WORDS[refusal])
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the command line. loaded: whether it is served now."""

    name: str
    version: str
    root: str
    loaded: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One command as the supervisor gets it. model: "" where it means all of them."""

    number: int
    verb: Verb
    model: str


class Commander:
    """The asking end; its methods block until there is an answer, and any thread may call them.

    They raise RefusedCommandError, and UnavailableError if no answer comes.
    """

    def __init__(self, connection: socket.socket, *, seconds: float = ANSWER_SECONDS) -> None:
        self._connection = connection
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def load(self, model: str) -> None:
        """Open this model's file as it is now, and serve it."""
        self._ask(Verb.LOAD, model)

    def unload(self, model: str) -> None:
        """Serve this model no longer."""
        self._ask(Verb.UNLOAD, model)

    def reload(self) -> None:
        """Open every file that is loaded as it is now."""
        self._ask(Verb.RELOAD)

    def models(self) -> tuple[KnownModel, ...]:
        """Every model of the command line."""
        return tuple(KnownModel(**model) for model in self._ask(Verb.MODELS)["models"])

    def close(self) -> None:
        """Give up this end."""
        self._connection.close()

    def _ask(self, verb: Verb, model: str = "") -> dict[str, Any]:
        if len(model) > MAX_NAME_CHARS:
            raise RefusedCommandError(Refusal.UNKNOWN_MODEL)
        with self._lock:
            number = next(self._numbers)
            try:
                self._connection.settimeout(self._seconds)
                self._connection.send(_packed({"number": number, "verb": verb, "model": model}))
                answer = self._answer(number)
            except OSError as error:  # a timeout is one
                raise UnavailableError("the supervisor does not answer") from error
        if answer["refusal"]:
            raise RefusedCommandError(Refusal(answer["refusal"]))
        return answer

    def _answer(self, number: int) -> dict[str, Any]:
        """The answer of that number; one to somebody who gave up waiting is skipped."""
        end = time.monotonic() + self._seconds
        while True:
            self._connection.settimeout(max(end - time.monotonic(), 0.001))
            data = self._connection.recv(MAX_ANSWER_BYTES)
            if not data:
                raise UnavailableError("the supervisor has ended")
            answer: dict[str, Any] = json.loads(data)
            if answer["number"] == number:
                return answer


class Commanded:
    """The supervisor's end. Nothing here blocks but `receive` without a packet."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """To wait for the next command on."""
        return self._connection.fileno()

    def receive(self) -> Command | None:
        """The next command; None when nobody is left who could ask.

        ValueError for a packet that is none of ours; whoever sent it should not be listened to.
        """
        data = self._connection.recv(MAX_COMMAND_BYTES + 1)
        if not data:
            return None
        return _command(data)

    def done(self, command: Command, models: tuple[KnownModel, ...] = ()) -> None:
        """It was done. models: what was asked for."""
        self._answer(command, "", models)

    def refuse(self, command: Command, refusal: Refusal) -> None:
        """It was not."""
        self._answer(command, refusal, ())

    def close(self) -> None:
        """Give up this end."""
        self._connection.close()

    def _answer(self, command: Command, refusal: str, models: tuple[KnownModel, ...]) -> None:
        answer = {
            "number": command.number,
            "refusal": refusal,
            "models": [asdict(model) for model in models],
        }
        with suppress(OSError):  # nobody waits for it, or far too many answers wait for them
            self._connection.send(_packed(answer), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def pair() -> tuple[Commander, Commanded]:
    """Both ends, of this process; each is closed in the process that has no use for it."""
    asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Commander(asking), Commanded(asked)


def _packed(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _command(data: bytes) -> Command:
    if len(data) > MAX_COMMAND_BYTES:
        raise ValueError("a command is too long")
    value = json.loads(data)
    if not isinstance(value, dict) or set(value) != {"number", "verb", "model"}:
        raise ValueError("a command has other members")
    number, model = value["number"], value["model"]
    if type(number) is not int or not isinstance(model, str):
        raise ValueError("a command has members of other types")
    return Command(number, Verb(value["verb"]), model)

"""Commands to the supervisor: both ends, and what neither takes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from sealserve.inference.server import commands
from sealserve.inference.server.commands import (
    MAX_COMMAND_BYTES,
    MAX_NAME_CHARS,
    Command,
    Commanded,
    Commander,
    KnownModel,
    Refusal,
    RefusedCommandError,
    Verb,
)
from sealserve.native.errors import UnavailableError

NET = KnownModel("net", "1.0", "11" * 32, loaded=True)


@pytest.fixture
def ends() -> Iterator[tuple[Commander, Commanded]]:
    asking, asked = commands.pair()
    yield asking, asked
    asking.close()
    asked.close()


def answering(asked: Commanded, answer) -> threading.Thread:
    """The supervisor of one command."""

    def supervise() -> None:
        answer(asked.receive())

    thread = threading.Thread(target=supervise)
    thread.start()
    return thread


ASKED = {
    "load": (lambda asking: asking.load("net"), (Verb.LOAD, "net")),
    "unload": (lambda asking: asking.unload("Nétz"), (Verb.UNLOAD, "Nétz")),
    "reload": (lambda asking: asking.reload(), (Verb.RELOAD, "")),
}


@pytest.mark.parametrize(("ask", "wanted"), ASKED.values(), ids=ASKED)
def test_a_command_arrives_and_its_answer_comes_back(ends, ask, wanted) -> None:
    asking, asked = ends
    seen: list[Command] = []
    thread = answering(asked, lambda command: (seen.append(command), asked.done(command)))
    ask(asking)
    thread.join()
    assert [(command.verb, command.model) for command in seen] == [wanted]


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_is_of_a_closed_list_and_has_words(ends, refusal: Refusal) -> None:
    asking, asked = ends
    thread = answering(asked, lambda command: asked.refuse(command, refusal))
    with pytest.raises(RefusedCommandError) as refused:
        asking.load("net")
    thread.join()
    assert refused.value.refusal is refusal
    assert refused.value.message


def test_what_there_is_comes_back_whole(ends) -> None:
    asking, asked = ends
    many = tuple(
        KnownModel("m" * MAX_NAME_CHARS, "v" * 64, f"{n:064x}", loaded=False) for n in range(32)
    )
    thread = answering(asked, lambda command: asked.done(command, (NET, *many[1:])))
    assert asking.models() == (NET, *many[1:])
    thread.join()


def test_a_name_nobody_can_have_is_not_even_sent(ends) -> None:
    asking, asked = ends
    with pytest.raises(RefusedCommandError) as refused:
        asking.load("x" * (MAX_NAME_CHARS + 1))
    assert refused.value.refusal is Refusal.UNKNOWN_MODEL
    asking.close()
    assert asked.receive() is None


def test_a_supervisor_that_ended_is_told_apart_from_a_refusal(ends) -> None:
    asking, asked = ends
    asked.close()
    with pytest.raises(UnavailableError) as ended:
        asking.reload()
    assert not isinstance(ended.value, RefusedCommandError)


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        asked = Commanded(theirs)
        with pytest.raises(UnavailableError):
            Commander(ours, seconds=0.01).load("net")
        late = asked.receive()
        asking = Commander(ours)
        next(asking._numbers)  # as if it had asked the first one too
        asked.refuse(late, Refusal.BUSY)
        thread = answering(asked, asked.done)
        asking.load("net")
        thread.join()


def test_when_nobody_is_left_to_ask_there_is_no_command(ends) -> None:
    asking, asked = ends
    asking.close()
    assert asked.receive() is None


def test_an_answer_that_nobody_waits_for_is_dropped(ends) -> None:
    asking, asked = ends
    asking.close()
    asked.done(Command(1, Verb.RELOAD, ""))


GOOD = {"number": 1, "verb": "load", "model": "net"}
REFUSED = {
    "no JSON": b"load net",
    "no object": b"[]",
    "a member more": json.dumps(GOOD | {"file": "x"}).encode(),
    "a member less": json.dumps({"number": 1, "verb": "reload"}).encode(),
    "another verb": json.dumps(GOOD | {"verb": "stop"}).encode(),
    "a number that is none": json.dumps(GOOD | {"number": True}).encode(),
    "a model that is no text": json.dumps(GOOD | {"model": 1}).encode(),
    "too long": json.dumps(GOOD).encode() + b" " * MAX_COMMAND_BYTES,
}


@pytest.mark.parametrize("packet", REFUSED.values(), ids=REFUSED)
def test_a_packet_that_is_no_command_is_refused(packet: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(packet)
        with pytest.raises(ValueError, match=r"command|JSON|Verb|column"):
            Commanded(theirs).receive()

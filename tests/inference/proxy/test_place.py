"""Plain text stays on this machine, unless somebody says loudly that it need not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sealserve.inference.proxy.place import Place, parse_place
from sealserve.native.errors import ConfigError, UnavailableError

LOOPBACK = {
    "127.0.0.1:9": Place("127.0.0.1", 9),
    "127.8.9.10:9": Place("127.8.9.10", 9),
    "127.0.0.1": Place("127.0.0.1", 8001),
    "[::1]:9": Place("::1", 9),
    "localhost:9": Place("127.0.0.1", 9),
    "unix:/run/x": Place(path="/run/x"),
}
ELSEWHERE = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.0.1", "example.org:1", "[fe80::1]:1",
             "[::ffff:10.0.0.1]:1", "127.1:1", "localhost.:1"]  # fmt: skip


@pytest.mark.parametrize("text", LOOPBACK)
def test_places_of_this_machine(text: str) -> None:
    assert parse_place(text) == LOOPBACK[text]
    assert parse_place(text, anywhere=True) == LOOPBACK[text]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_places_that_others_reach(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--listen: .* reached from elsewhere") as caught:
        parse_place(text)
    assert "--listen-anywhere" in caught.value.hint
    assert parse_place(text, anywhere=True).anywhere


@pytest.mark.parametrize("text", ["", ":1", "http://localhost:1", "127.0.0.1:x", "unix:", "a b"])
def test_no_places(text: str) -> None:
    for anywhere in (False, True):
        with pytest.raises(ConfigError):
            parse_place(text, anywhere=anywhere)


def test_as_people_write_them() -> None:
    assert Place("127.0.0.1", 0).text(77) == "127.0.0.1:77"
    assert Place("::1", 5).text() == "[::1]:5"
    assert Place(path="/run/x").text(1) == "unix:/run/x"


def test_a_socket_somebody_answers_at_is_not_taken_away(tmp_path: Path) -> None:
    place = Place(path=str(tmp_path / "socket"))
    place.require_free()  # nobody was ever here
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(place.path)
        other.listen()
        with pytest.raises(UnavailableError, match="cannot listen on unix:"):
            place.require_free()
    place.require_free()  # somebody was, and died

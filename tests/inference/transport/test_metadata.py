"""Metadata as HTTP/2 carries it, both ways."""

from __future__ import annotations

import pytest

from sealserve.inference.transport.metadata import MetadataError, caller_metadata, trailers
from sealserve.native.errors import InputError
from support.http2_peer import Peer


def test_what_the_caller_said_in_its_order() -> None:
    pairs = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]
    assert caller_metadata(pairs) == (("b", "1"), ("a", "2"), ("b", "3"))


@pytest.mark.parametrize(
    "name",
    [":path", "te", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"],
)
def test_what_is_of_the_protocol_is_not_the_callers(name: str) -> None:
    assert caller_metadata([(name.encode(), b"x")]) == ()


def test_other_names_of_grpc_are_its_own() -> None:
    assert (
        caller_metadata([(b"grpc-trace-bin", b"???"), (b"grpc-previous-rpc-attempts", b"1")]) == ()
    )


def test_bytes_beyond_ascii_are_kept() -> None:
    assert caller_metadata([(b"a", b"\xe9")]) == (("a", "\xe9"),)


# ---- names that end in -bin

BINARY = {
    "padded": (b"/wA=", [b"\xff\0"]),
    "not padded": (b"/wA", [b"\xff\0"]),
    "empty": (b"", [b""]),
    "several in one": (b"YQ,YmM=,ZGVm", [b"a", b"bc", b"def"]),
    "several with spaces": (b"YQ, YmM", [b"a", b"bc"]),
    "several, one empty": (b"YQ,,", [b"a", b"", b""]),
}


@pytest.mark.parametrize(("value", "meant"), BINARY.values(), ids=BINARY)
def test_binary_metadata(value: bytes, meant: list[bytes]) -> None:
    """What comes joined is several values [PROTOCOL-HTTP2.md, Custom-Metadata]."""
    assert caller_metadata([(b"a-bin", value)]) == tuple(("a-bin", each) for each in meant)


@pytest.mark.parametrize("value", [b"A", b"a b", b"_w", b"-w", b"YQ==YQ==", b"\xff", b"=", b"YQ,?"])
def test_what_is_no_base64(value: bytes) -> None:
    with pytest.raises(MetadataError, match="is base64"):
        caller_metadata([(b"a-bin", value)])


def test_text_with_commas_is_one_value() -> None:
    assert caller_metadata([(b"a", b"b, c")]) == (("a", "b, c"),)


# ---- how answers end


def test_a_status() -> None:
    assert trailers(0, "", ()) == [(b"grpc-status", b"0")]


WORDS = {
    "plain ~ !": b"plain ~ !",
    "100 %": b"100 %25",
    "two\nlines\x7f": b"two%0Alines%7F",
    "é": b"%C3%A9",
    "half \ud800": b"half ?",
}


@pytest.mark.parametrize(("words", "sent"), WORDS.items(), ids=map(ascii, WORDS))
def test_words(words: str, sent: bytes) -> None:
    assert trailers(5, words, ()) == [(b"grpc-status", b"5"), (b"grpc-message", sent)]


def test_metadata_behind_the_status() -> None:
    assert trailers(0, "", [("a", "b"), ("c-bin", b"\xff\0"), ("d-bin", b"")]) == [
        (b"grpc-status", b"0"),
        (b"a", b"b"),
        (b"c-bin", b"/wA"),
        (b"d-bin", b""),
    ]


def test_a_name_that_is_not_ascii_does_not_get_this_far() -> None:
    """It is decoded as ASCII, because HTTP/2 lets no other through."""
    peer = Peer()
    try:
        peer.give(peer.headers(1, [(":method", "POST"), ("\xe9", "x")]))
    except InputError:
        return
    peer.frames()
    assert peer.session.streams == {}

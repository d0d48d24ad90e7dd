"""What errors say, and what it means that a file could not be written."""

from __future__ import annotations

import errno
import os

import pytest

from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    Finding,
    FormatError,
    PolicyViolation,
    UnavailableError,
    printable,
    unwritten,
)

NOT_NOW = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ENOMEM", "EMFILE", "ENFILE")
NEVER = ("ENOENT", "ENOTDIR", "EISDIR", "EACCES", "EPERM", "ENAMETOOLONG", "ELOOP", "EEXIST")


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, UnavailableError) for name in NOT_NOW), *((name, ConfigError) for name in NEVER)],
)
def test_a_full_disk_is_no_mistake_and_a_wrong_name_is(name: str, kind: type[Exception]) -> None:
    number = getattr(errno, name)
    error = unwritten(OSError(number, os.strerror(number)), "out/file")
    assert type(error) is kind
    assert error.message == f"out/file: cannot be written: {os.strerror(number)}"


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("plain, ü and 例", "plain, ü and 例"),
        ("\x1b[2J\ufeff", "\\x1b[2J\\ufeff"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \ud800", "half \\ud800"),
        ("tag \U000e0041", "tag \\U000e0041"),
    ],
)
def test_no_word_of_a_stranger_reaches_a_terminal_as_a_command(heard: str, said: str) -> None:
    assert printable(heard) == said
    assert str(FormatError(heard, hint=heard)) == f"{said}\nhint: {said}"
    assert str(EvidenceError("code", "what", seen=heard)).startswith(f"what: seen {said}; ")
    assert said in str(PolicyViolation("not", findings=[Finding("code", heard, "wanted")]))
    assert str(ConfigError("bad", file="f", key=heard)) == f"f, key {said}: bad"


def test_lines_stay_where_they_were_meant() -> None:
    assert FormatError("one\ntwo").message == "one\ntwo"
    assert printable("one\ntwo", lines=True) == "one\ntwo"
    assert printable("one\ntwo") == r"one\ntwo"

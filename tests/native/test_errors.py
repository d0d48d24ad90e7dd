"""What it means that a file could not be written."""

from __future__ import annotations

import errno
import os

import pytest

from sealserve.native.errors import ConfigError, UnavailableError, unwritten

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

"""Files that are written whole or not at all: places that take none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sealserve.cli import files
from sealserve.native.errors import ConfigError

PLACES = {
    "a folder that is not there": "nowhere/out",
    "a folder that is a file": "file/out",
    "a name that is too long": "n" * 255,
}


@pytest.fixture(params=[files.check_place, lambda path: files.write(path, b"data")])
def try_it(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    chosen: Callable[[Path], None] = request.param
    return chosen


@pytest.mark.parametrize("name", PLACES)
def test_places_that_take_no_file(
    tmp_path: Path, try_it: Callable[[Path], None], name: str
) -> None:
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(ConfigError, match="cannot be written: "):
        try_it(tmp_path / PLACES[name])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_name(try_it: Callable[[Path], None]) -> None:
    with pytest.raises(ConfigError, match="no file name"):
        try_it(Path())


def test_a_place_that_takes_one_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before")
    files.check_place(tmp_path / "out")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]

"""Leaves checked while an opener gets the key: what is opened then, and what is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sealserve.models import RawKey, SealedModel, open_model
from sealserve.models import open as opening
from sealserve.native.checked import CheckedCopy
from sealserve.native.errors import IntegrityError, ReleaseError
from support.models_onnx import classifier, random_array
from support.models_places import MESSAGE, flipped
from support.models_sealed import KEY, FolderPlace, Regions, seal_model

WAIT_SECONDS = 60.0
WEIGHTS = random_array(1, 512, 512).tobytes()


@pytest.fixture
def sealed(tmp_path: Path) -> SealedModel:
    return seal_model(classifier(), tmp_path / "net.sealed")


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    (tmp_path / "place").mkdir()
    return FolderPlace(tmp_path / "place")


class Patient(RawKey):
    """Waits until everything behind the header is checked, and changes the file then."""

    def __init__(self, path: Path, changed: bytes, copies: list[CheckedCopy]) -> None:
        super().__init__(KEY)
        self._path, self._changed, self._copies = path, changed, copies

    def unwrap(self, slots, root, header_sha256):
        regions, end = Regions.of(self._path.read_bytes()), time.monotonic() + WAIT_SECONDS
        (copy,) = self._copies
        while copy.checked_bytes < len(regions.covered) - len(regions.front) - 56:
            assert time.monotonic() < end
            time.sleep(0.001)
        with self._path.open("r+b") as file:
            file.write(self._changed)
        return super().unwrap(slots, root, header_sha256)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[CheckedCopy]:
    """Those that are made while this test runs."""
    made: list[CheckedCopy] = []

    def remembered(*arguments: Any, **more: Any) -> CheckedCopy:
        made.append(CheckedCopy(*arguments, **more))
        return made[-1]

    monkeypatch.setattr(opening, "CheckedCopy", remembered)
    return made


def test_what_was_checked_is_what_is_opened(sealed, place, copies):
    """A file that is changed while the key is on its way is not read again."""
    path = Path(sealed.path)
    changed = flipped(path.read_bytes(), MESSAGE["middle"])
    with open_model(path, sealed.root, Patient(path, changed, copies), place, ahead=True):
        assert (place.folder / "weights/00000").read_bytes() == WEIGHTS
    assert path.read_bytes() == changed
    place.wipe()
    with pytest.raises(IntegrityError, match="is not the one in the hash tree"):
        open_model(path, sealed.root, RawKey(KEY), place, ahead=True)


def test_nothing_is_copied_unless_it_is_asked_for(sealed, place, copies):
    """A folder on a disk may take what memory cannot."""
    with open_model(sealed.path, sealed.root, RawKey(KEY), place):
        assert not copies


def test_a_leaf_that_differs_is_refused(sealed, place):
    path = Path(sealed.path)
    path.write_bytes(flipped(path.read_bytes(), MESSAGE["middle"]))
    with pytest.raises(IntegrityError, match="is not the one in the hash tree"):
        open_model(path, sealed.root, RawKey(KEY), place, ahead=True)
    assert place.told == ["wipe"]
    assert not list(place.folder.iterdir())


class Refusing(RawKey):
    def unwrap(self, slots, root, header_sha256):
        time.sleep(0.05)
        raise ReleaseError("nobody gets this key")


def test_a_key_that_is_refused_leaves_nothing(sealed, place):
    """No thread, no memory of the copy, no descriptor, and the place was never touched."""
    before = _held()
    with pytest.raises(ReleaseError, match="nobody gets this key"):
        open_model(sealed.path, sealed.root, Refusing(KEY), place, ahead=True)
    end = time.monotonic() + 1  # a thread that was joined may be listed a moment more
    while _held() != before and time.monotonic() < end:
        time.sleep(0.001)
    assert _held() == before
    assert place.told == []


def test_another_models_key_leaves_nothing(sealed, place):
    with pytest.raises(IntegrityError, match="this key is"):
        open_model(sealed.path, sealed.root, RawKey(bytes(32)), place, ahead=True)
    assert place.told == []


def _held() -> tuple[int, int]:
    """Threads, and descriptors, of this process."""
    task, fd = (sum(1 for _ in Path("/proc/self", name).iterdir()) for name in ("task", "fd"))
    return task, fd

"""Gives a sealed model back as files: the layout inside, not the bytes it was made from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sealserve.models import names
from sealserve.models.draft import partial_beside
from sealserve.models.open import open_model
from sealserve.models.reader import Progress
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import Opener
from sealserve.native.errors import ConfigError, UnavailableError
from sealserve.native.secret import SecretBuffer


def unseal(
    path: str | Path,
    out_dir: str | Path,
    key: Opener,
    *,
    root: str | bytes | None = None,
    progress: Progress | None = None,
) -> SealedModel:
    """Decrypt a sealed file into a new folder, for its owner alone (mode 0700).

    The folder appears in one step once everything is verified. out_dir: must not exist, or be
    empty (ConfigError). root: compared if given; without it the file is only found consistent.
    Raises what `open_model` raises.
    """
    target = Path(out_dir)
    _check_target(target)
    partial = partial_beside(target)
    folder = _Folder(partial)
    try:
        with open_model(path, root, key, folder, progress=progress) as opened:
            folder.write(names.GRAPH, opened.graph)
            partial.replace(target)
            return opened.sealed
    except OSError as error:
        raise UnavailableError(f"cannot write {target}: {error.strerror}") from error
    finally:
        folder.wipe()


class _Folder:
    """A Place that is a folder on disk, new and private."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fds: list[int] = []
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigError(f"cannot write {folder.parent}: {error.strerror}") from error

    def wants(self, name: str) -> bool:
        del name  # an owner gets everything back
        return True

    def create(self, name: str, size: int) -> int:
        del size  # a disk says soon enough when it is full
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fds.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return self._fds[-1]

    def write(self, name: str, data: SecretBuffer) -> None:
        """A whole file at once."""
        with os.fdopen(os.dup(self.create(name, len(data))), "wb") as file:
            file.write(data)
        self.finish()

    def finish(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def wipe(self) -> None:
        """Remove what was not given its final name."""
        self.finish()
        shutil.rmtree(self._folder, ignore_errors=True)


def _check_target(target: Path) -> None:
    try:
        taken = target.is_symlink() or (target.exists() and not _is_empty_folder(target))
        nowhere = not target.parent.is_dir()
    except OSError as error:  # a name that is too long, or a folder that cannot be listed
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
    if taken:
        raise ConfigError(f"{target} exists and is not an empty folder", hint="choose another -o")
    if nowhere:
        raise ConfigError(f"cannot write {target}: its folder does not exist")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())

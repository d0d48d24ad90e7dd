"""Images by the names templates give them, out of archives that somebody named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.image import Image, Images, open_images


class ImageSource:
    """named: the archive of an image. archives: where the others are looked for, in order.

    An archive is opened when an image of it is asked for; each image is read once.
    """

    def __init__(
        self,
        named: Mapping[str, Path],
        archives: Sequence[Path] = (),
        open_archive: Callable[[Path], Images] = open_images,
    ) -> None:
        self._named = {tagged(name): path for name, path in named.items()}
        self._archives = archives
        self._open_archive = open_archive
        self._opened: dict[Path, Images] = {}
        self._found: dict[str, Image] = {}

    def __call__(self, name: str) -> Image:
        """The image of that name. Raises ConfigError where there is none, or none that is whole."""
        full = tagged(name)
        if full not in self._found:
            self._found[full] = self._find(full)
        return self._found[full]

    def _find(self, name: str) -> Image:
        path = self._named.get(name)
        if path is not None:
            images = self._open(path)
            return images.find(name if images.names else "")
        for path in self._archives:
            images = self._open(path)
            if name in {tagged(known) for known in images.names}:
                return images.find(name)
        raise ConfigError(
            "none of the archives has it",
            hint=f"--image {name}=FILE, with a file of `podman save` or `docker save`",
        )

    def _open(self, path: Path) -> Images:
        if path not in self._opened:
            self._opened[path] = self._open_archive(path)
        return self._opened[path]


def tagged(name: str) -> str:
    """The name with `latest` where it has neither tag nor digest; a port is no tag."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"

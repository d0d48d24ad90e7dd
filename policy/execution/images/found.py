"""The images of one place: told apart by name and platform, their layers turned into roots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealserve.native.errors import ConfigError, IntegrityError
from sealserve.policy.execution.image import Image, Platform, Progress
from sealserve.policy.execution.images import names as naming
from sealserve.policy.execution.images.cache import Cache
from sealserve.policy.execution.images.config import Config
from sealserve.policy.execution.images.files import Blob, Files
from sealserve.policy.execution.images.sources import Watched, decompressed
from sealserve.policy.execution.layers.refused import RefusedError, shown

_MAX_NAMES_TOLD = 12


@dataclass(frozen=True)
class Contents:
    """layers: names of files, base layer first, one for each diff id of the configuration."""

    config: Config
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Described:
    """One image as its place lists it. digests: `sha256:…` of its manifest and what led there.

    load: reads what it consists of; raises RefusedError.
    """

    names: tuple[str, ...]
    load: Callable[[], Contents]
    digests: tuple[str, ...] = ()

    def goes_by(self, name: str) -> bool:
        """Whether a person who writes `name` means this image."""
        digest = naming.digest_of(name)
        if digest:
            return digest in self.digests
        return any(naming.same(name, written) for written in self.names)


@dataclass(frozen=True)
class FoundImages:
    """`sealserve.policy.execution.image.Images`."""

    path: Path
    files: Files
    described: Sequence[Described]
    platform: Platform
    cache: Cache | None = None
    progress: Progress | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, each once."""
        return tuple(dict.fromkeys(name for each in self.described for name in each.names))

    def find(self, name: str = "") -> Image:
        """The image of this name, or without one the only image."""
        with readable(self.path):
            contents = self._chosen(name)
            return contents.config.image(self._roots(contents))

    def _chosen(self, name: str) -> Contents:
        meant = [each for each in self.described if not name or each.goes_by(name)]
        if not meant:
            raise RefusedError(f"has no image {_told(name)}; {self._told_names()}")
        loaded = list(dict.fromkeys(_Keyed(each.load()) for each in meant))
        fitting = [each.contents for each in loaded if each.runs_on(self.platform)]
        if not fitting:
            others = ", ".join(str(each.contents.config.platform) for each in loaded)
            raise RefusedError(
                f"{_told(name) if name else 'the image'} is for {others}; wanted {self.platform}",
                "another one is chosen with --platform",
            )
        if len(fitting) > 1:
            raise RefusedError(
                f"{len(fitting)} images {'of this name' if name else 'are here'};"
                f" {self._told_names()}",
                "choose one with --image NAME",
            )
        return fitting[0]

    def _told_names(self) -> str:
        names = self.names
        if not names:
            return "none has a name here"
        more = f" and {len(names) - _MAX_NAMES_TOLD} more" if len(names) > _MAX_NAMES_TOLD else ""
        return f"there are {', '.join(map(_told, names[:_MAX_NAMES_TOLD]))}{more}"

    def _roots(self, contents: Contents) -> tuple[str, ...]:
        """Of each layer; those that are there twice are converted once."""
        diff_ids = contents.config.diff_ids
        if len(diff_ids) != len(contents.layers):
            raise RefusedError(
                f"{len(contents.layers)} layers; the configuration names {len(diff_ids)}"
            )
        files = dict(zip(diff_ids, contents.layers, strict=True))
        roots = {}
        with self.files.reading() as open_blob:
            for diff_id in sorted(files, key=lambda each: self.files.place(files[each])):
                with _of_layer(diff_ids.index(diff_id) + 1, len(diff_ids)):
                    roots[diff_id] = self._root(diff_id, open_blob(files[diff_id]))
        return tuple(roots[diff_id] for diff_id in diff_ids)

    def _root(self, diff_id: str, blob: Blob) -> str:
        cache = self.cache or Cache(None)
        source = decompressed(Watched(blob.source, blob.size, self.progress))
        root, seen = cache.root(source, diff_id)
        if seen != diff_id:
            raise IntegrityError(
                f"{self.path}: a layer has the digest {seen}; the image's configuration names"
                f" {diff_id}",
                hint="the archive was altered or put together wrongly",
            )
        return root


@dataclass(frozen=True)
class _Keyed:
    """Contents that are equal when configuration and layers are."""

    contents: Contents

    def __hash__(self) -> int:
        return hash((self.contents.layers, self.contents.config.diff_ids))

    def runs_on(self, wanted: Platform) -> bool:
        """What an image does not say about its platform, it is not held to."""
        seen = self.contents.config.platform
        return (
            seen.os in ("", wanted.os)
            and seen.architecture in ("", wanted.architecture)
            and (not wanted.variant or seen.variant in ("", wanted.variant))
        )


def _told(name: str) -> str:
    return shown(name.encode("utf-8", "backslashreplace"))


@contextmanager
def placed(path: Path) -> Iterator[None]:
    """Say of which file a refusal is."""
    try:
        yield
    except RefusedError as error:
        raise ConfigError(str(error), file=str(path), hint=error.hint) from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """The same, also of what the system refuses."""
    with placed(path):
        try:
            yield
        except OSError as error:
            raise RefusedError(f"cannot be read: {error.strerror}") from None


@contextmanager
def _of_layer(number: int, count: int) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise RefusedError(f"layer {number} of {count}: {error}", error.hint) from None

"""A container image, as far as an execution policy speaks of it.

Whoever writes a policy needs an image by the name a template gives it, the roots of its layers and
what its configuration says where the template says nothing (OCI image-spec 1.1, config.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sealserve.native.errors import ConfigError

Progress = Callable[[int, int], None]  # bytes read of a layer, bytes in all or 0 if unknown


@dataclass(frozen=True)
class Platform:
    """What an image was built for, in Go's words, as images name it."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture` or `os/architecture/variant`. Raises ConfigError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ConfigError(
                f"{text!r} is no platform", key="--platform", hint="for example linux/amd64"
            )
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


LINUX_AMD64 = Platform("linux", "amd64")  # what confidential containers run on


@dataclass(frozen=True)
class Image:
    """layers: dm-verity roots, 64 hexadecimal digits each, base layer first; equal ones repeat.

    The other fields are those of the image's configuration, as written there; what it leaves out
    is empty. env: `NAME=VALUE`. stop_signal: `SIGTERM`, `15`, or a number.
    """

    layers: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str | int = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        """What runs unless the template says otherwise; empty if the image names nothing."""
        return self.entrypoint + self.cmd


class Images(Protocol):
    """The images of one archive, layout or store. Layers are read when an image is asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name an image goes by here, as it is written; without names, empty."""
        ...

    def find(self, name: str = "") -> Image:
        """The image of this name (`latest` where it has no tag), or without one the only image.

        Raises ConfigError where no image, or more than one, is meant, and for layers that cannot
        be converted; IntegrityError for layers that are not those of the configuration.
        """
        ...


def open_images(
    path: Path,
    *,
    platform: Platform = LINUX_AMD64,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Images:
    """The images at a path: an archive of `docker save`, an OCI layout, a store of podman's.

    cache: a folder for roots of layers, by the digest of their tar. Raises ConfigError for what is
    none of these.
    """
    # Imported here: this module is what everybody may import, and that one imports it.
    from sealserve.policy.execution.images import Cache, find_images

    found = find_images(path, platform=platform, cache=Cache(cache), progress=progress)
    if found is None:
        raise ConfigError(
            "is an archive without images",
            file=str(path),
            hint="`docker save`, `podman save` and `skopeo copy … oci:FOLDER` write what we read",
        )
    return found

"""`sealserve layers`: the roots of a container image's layers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.output import emit, json_option, progress
from sealserve.native.errors import ConfigError
from sealserve.policy.execution.image import LINUX_AMD64, Platform, Progress
from sealserve.policy.execution.images import Cache, find_images, layer_root


@click.group("layers")
def command() -> None:
    """Compute what a policy knows the layers of a container image by."""


@command.command("root", epilog="Example: sealserve layers root image.tar --image app:1.4 --json")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--image", metavar="NAME", default="", help="Which image, where PATH has several.")
@click.option(
    "--platform",
    default=str(LINUX_AMD64),
    show_default=True,
    help="Which platform, where an image is built for several.",
)
@click.option("--no-cache", is_flag=True, help="Convert layers that were converted before, too.")
@click.option(
    "--ext4",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the ext4 image of a single layer there, to look at it.",
)
@json_option
def root(
    path: Path, image: str, platform: str, no_cache: bool, ext4: Path | None, as_json: bool
) -> None:
    """Print the dm-verity root of each layer of an image, base layer first.

    PATH is an archive of `docker save` or `podman save`, an OCI layout as folder or archive, a
    store of podman's (/var/lib/containers/storage), or one layer as a tar; archives may be gzip or
    zstd.
    """
    cache = Cache(None if no_cache else cache_folder())
    with progress("hashing") as bar:
        layers = _roots(path, image, Platform.parse(platform), cache, ext4, bar)
    emit({"layers": layers}, "\n".join(layers), as_json=as_json)


def _roots(
    path: Path,
    image: str,
    platform: Platform,
    cache: Cache,
    ext4: Path | None,
    bar: Progress | None,
) -> list[str]:
    images = find_images(path, platform=platform, cache=cache, progress=bar)
    if images is None:
        if image:
            raise ConfigError("is one layer, and no image", file=str(path), key="--image")
        if ext4 is None:
            return [layer_root(path, progress=bar)]
        with files.writing(ext4, inputs=[path]) as file:
            return [layer_root(path, image=file, progress=bar)]
    if ext4:
        raise ConfigError("is for one layer, and this is an image", key="--ext4")
    return [*images.find(image).layers]


def cache_folder() -> Path:
    """Where roots of layers are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return home / "sealserve" / "layers"

"""Container images in files: archives of `docker save`, OCI layouts, stores of podman's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from sealserve.policy.execution.image import LINUX_AMD64, Platform, Progress
from sealserve.policy.execution.images import docker, oci
from sealserve.policy.execution.images.cache import Cache
from sealserve.policy.execution.images.files import Archive, Files, Folder
from sealserve.policy.execution.images.found import Described, FoundImages, placed, readable
from sealserve.policy.execution.images.sources import Watched, decompressed, open_file
from sealserve.policy.execution.images.store import Store
from sealserve.policy.execution.layers import convert
from sealserve.policy.execution.layers.refused import RefusedError

__all__ = ["Cache", "FoundImages", "find_images", "layer_root"]


def find_images(
    path: Path,
    *,
    platform: Platform = LINUX_AMD64,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> FoundImages | None:
    """The images at a path, or None: an archive without any may be a layer itself.

    Raises ConfigError for what cannot be read, and for a folder that is neither layout nor store.
    """
    with readable(path):
        files, described = _in_folder(path) if path.is_dir() else _in_archive(path)
    if described is None:
        return None
    return FoundImages(path, files, described, platform, cache, progress)


def layer_root(
    path: Path, *, image: BinaryIO | None = None, progress: Progress | None = None
) -> str:
    """The root of one layer in a file of its own, which may be gzip or zstd.

    image: a seekable file that gets the ext4 image. Raises ConfigError.
    """
    with placed(path), open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        layer = convert(decompressed(Watched(file, size, progress)), digest=False, image=image)
        return layer.root.hex()


def _in_folder(path: Path) -> tuple[Files, list[Described]]:
    store = Store.at(path)
    if store is not None:
        return store, store.described()
    folder = Folder(path)
    if not folder.has(oci.INDEX):
        raise RefusedError(
            "is a folder, and neither an OCI layout nor a store of containers",
            f"a layout has {oci.INDEX}, a store overlay-images/images.json",
        )
    return folder, oci.described(folder)


def _in_archive(path: Path) -> tuple[Files, list[Described] | None]:
    archive = Archive(path)
    if archive.has(docker.MANIFEST):
        return archive, docker.described(archive)
    if archive.has(oci.INDEX) and archive.has(oci.LAYOUT):
        return archive, oci.described(archive)
    return archive, None

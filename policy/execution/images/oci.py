"""OCI image layouts: an index of manifests, in which several platforms share a name.

Manifests and configurations are held to their digests, layers to those in the configuration
(OCI image-spec 1.1: image-layout.md, image-index.md, manifest.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial

from sealserve.native.errors import IntegrityError
from sealserve.policy.execution.images import config
from sealserve.policy.execution.images.config import Config, Object
from sealserve.policy.execution.images.files import Files, document
from sealserve.policy.execution.images.found import Contents, Described
from sealserve.policy.execution.layers.refused import RefusedError

INDEX = "index.json"
LAYOUT = "oci-layout"
_MAX_DEPTH = 3  # an index of indices; more levels nobody writes
_INDICES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# What tools write an image's name into: containerd and docker the whole name, others as they like.
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def described(files: Files) -> list[Described]:
    """The images of a layout. Raises RefusedError."""
    index = config.parse_object(document(files, INDEX), INDEX)
    return [*_listed(files, index, (), (), _MAX_DEPTH)]


def _listed(
    files: Files, index: Object, names: tuple[str, ...], digests: tuple[str, ...], depth: int
) -> Iterator[Described]:
    """What stands in an index within an index has the outer one's names and digests too."""
    for entry in config.objects(index, "manifests"):
        digest = config.text(entry, "digest")
        annotations = config.texts(entry, "annotations")
        all_names = (*names, *(annotations[key] for key in _NAMES if key in annotations))
        all_digests = (*digests, digest)
        if config.text(entry, "mediaType") in _INDICES:
            if not depth:
                raise RefusedError(f"indices in indices, more than {_MAX_DEPTH} deep")
            inner = config.parse_object(_verified(files, digest), "an index")
            yield from _listed(files, inner, all_names, all_digests, depth - 1)
        elif not _is_about_another(annotations):
            yield Described(all_names, partial(_load, files, digest), all_digests)


def _is_about_another(annotations: Object) -> bool:
    """Whether a manifest is no image but what BuildKit attests of one."""
    return "vnd.docker.reference.type" in annotations


def _load(files: Files, digest: str) -> Contents:
    manifest = config.parse_object(_verified(files, digest), "a manifest")
    about = config.get(manifest, "config", dict, {})
    layers = config.objects(manifest, "layers")
    return Contents(
        Config.parse(_verified(files, config.text(about, "digest"))),
        tuple(_blob(config.text(layer, "digest")) for layer in layers),
    )


def _verified(files: Files, digest: str) -> bytes:
    data = document(files, _blob(digest))
    seen = hashlib.sha256(data).hexdigest()
    if seen != config.sha256_of(digest):
        raise IntegrityError(
            f"the blob {digest} has the digest {seen}", hint="the layout was altered or cut"
        )
    return data


def _blob(digest: str) -> str:
    return f"blobs/sha256/{config.sha256_of(digest)}"

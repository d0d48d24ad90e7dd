"""Archives as `docker save` writes them: `manifest.json` names configurations and layers."""

from __future__ import annotations

from functools import partial

from sealserve.policy.execution.images import config
from sealserve.policy.execution.images.config import Config, Object
from sealserve.policy.execution.images.files import Files, document
from sealserve.policy.execution.images.found import Contents, Described
from sealserve.policy.execution.layers.refused import RefusedError

MANIFEST = "manifest.json"


def described(files: Files) -> list[Described]:
    """The images of an archive. Raises RefusedError."""
    manifest = config.parse(document(files, MANIFEST), MANIFEST)
    if not isinstance(manifest, list) or not all(isinstance(image, dict) for image in manifest):
        raise RefusedError(f"{MANIFEST} is not a list of images")
    return [
        Described(config.strings(image, "RepoTags"), partial(_load, files, image))
        for image in manifest
    ]


def _load(files: Files, image: Object) -> Contents:
    name = config.text(image, "Config")
    return Contents(Config.parse(document(files, name)), config.strings(image, "Layers"))

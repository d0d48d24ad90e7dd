"""Documents that describe images: what is read of them, strictly.

Of docker's archive `manifest.json`; of OCI's layout index, manifest and configuration, which docker
has as well (OCI image-spec 1.1: image-index.md, manifest.md, config.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sealserve.policy import strict_json
from sealserve.policy.execution.image import Image, Platform
from sealserve.policy.execution.layers.refused import RefusedError

MAX_LAYERS = 1000  # overlayfs stacks 500; docker 127
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """diff_ids: SHA-256 of each layer's tar, base first, in hexadecimal."""

    platform: Platform
    diff_ids: tuple[str, ...]
    fields: Object

    @classmethod
    def parse(cls, data: bytes) -> Config:
        """Read a configuration. Raises RefusedError."""
        whole = parse_object(data, "the image's configuration")
        root = get(whole, "rootfs", dict, {})
        diff_ids = strings(root, "diff_ids")
        if len(diff_ids) > MAX_LAYERS:
            raise RefusedError(f"{len(diff_ids)} layers; at most {MAX_LAYERS} are read")
        made = cls(
            _platform(whole), tuple(sha256_of(digest) for digest in diff_ids), _fields(whole)
        )
        made.image(())  # its fields too are what they should be
        return made

    def image(self, layers: tuple[str, ...]) -> Image:
        """The image of these layers."""
        fields = self.fields
        return Image(
            layers=layers,
            entrypoint=strings(fields, "Entrypoint"),
            cmd=strings(fields, "Cmd"),
            env=strings(fields, "Env"),
            working_dir=text(fields, "WorkingDir"),
            user=text(fields, "User"),
            stop_signal=_stop_signal(fields),
            labels=texts(fields, "Labels"),
        )


def _fields(whole: Object) -> Object:
    return cast(Object, get(whole, "config", dict, {}))


def _platform(whole: Object) -> Platform:
    return Platform(text(whole, "os"), text(whole, "architecture"), text(whole, "variant"))


def _stop_signal(fields: Object) -> str | int:
    value = fields.get("StopSignal")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return text(fields, "StopSignal")


def parse_object(data: bytes, what: str) -> Object:
    """A JSON object. Raises RefusedError."""
    value = parse(data, what)
    if not isinstance(value, dict):
        raise RefusedError(f"{what} is not a JSON object")
    return value


def parse(data: bytes, what: str) -> object:
    """One JSON text. Raises RefusedError."""
    try:
        return strict_json.loads(data.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise RefusedError(f"{what} is not JSON we read: {str(error)[:200]}") from None


def get(object_: Object, key: str, kind: type, default: object) -> Any:
    """A member of this type; null and nothing are the default. Raises RefusedError."""
    value = object_.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RefusedError(f"{key} is {type(value).__name__}; wanted {kind.__name__}")
    return value


def text(object_: Object, key: str) -> str:
    """A text, empty without one."""
    return cast(str, get(object_, key, str, ""))


def strings(object_: Object, key: str) -> tuple[str, ...]:
    """A list of texts."""
    values = get(object_, key, list, [])
    if not all(isinstance(value, str) for value in values):
        raise RefusedError(f"{key} is not a list of texts")
    return tuple(values)


def objects(object_: Object, key: str) -> tuple[Object, ...]:
    """A list of objects."""
    values = get(object_, key, list, [])
    if not all(isinstance(value, dict) for value in values):
        raise RefusedError(f"{key} is not a list of objects")
    return tuple(values)


def texts(object_: Object, key: str) -> Mapping[str, str]:
    """An object of texts."""
    values = get(object_, key, dict, {})
    if not all(isinstance(value, str) for value in values.values()):
        raise RefusedError(f"{key} is not an object of texts")
    return cast(Mapping[str, str], values)


def sha256_of(digest: str) -> str:
    """The 64 digits of a digest. Raises RefusedError for what is no SHA-256."""
    if not _DIGEST.fullmatch(digest):
        raise RefusedError(f"{digest[:80]!r} is not the digest of a layer: sha256 is read alone")
    return digest.removeprefix("sha256:")

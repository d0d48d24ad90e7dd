"""Layers and images of containers, which anybody may have made."""

from __future__ import annotations

import base64
import gzip
import io
import json
from contextlib import suppress
from pathlib import Path

from fuzz.ground import VECTORS, scratch
from sealserve.native.errors import ConfigError, IntegrityError
from sealserve.native.tar import Header
from sealserve.policy.execution.image import open_images
from sealserve.policy.execution.images import layer_root
from sealserve.policy.execution.images.config import Config
from sealserve.policy.execution.layers import RefusedError, attributes, convert, pax
from support.fuzz_mutations import Target
from support.policy_layers import (
    MadeImage,
    docker_archive,
    entry,
    fixed,
    layer,
    oci_layout,
    record,
    tar_split,
    write_folder,
)

IMAGE = MadeImage([layer(entry("a", b"1"))], ["app"])


def layer_tar() -> Target:
    """A layer; half of the time its headers have the checksums they should have."""

    def run(data: bytes) -> None:
        if len(data) % 2:
            data = b"".join(_put_right(data[at : at + 512]) for at in range(0, len(data), 512))
        convert(io.BytesIO(data))

    paths = sorted((VECTORS / "layers").glob("[!e]*.tar"))
    seeds = [path.read_bytes() for path in paths if path.stat().st_size <= 20480]
    tokens = (b"ustar\x0000", b"ustar  \0", b"x", b"L", b"S", b"g", b".wh.", b"\xff" * 12)
    return Target(run, seeds, (RefusedError,), tokens)


def _put_right(block: bytes) -> bytes:
    return fixed(block) if len(block) == 512 and b"ustar" in block[257:263] else block


def pax_records() -> Target:
    pair = record(b"GNU.sparse.offset", b"1") + record(b"GNU.sparse.numbytes", b"1")
    seeds = [record(b"path", b"a") + record(b"mtime", b"-1.5"), pair]
    tokens = (b"SCHILY.xattr.", b"GNU.sparse.offset=", b"GNU.sparse.map=0,1", b"uid=")

    def run(data: bytes) -> None:
        pax.apply(pax.parse(data), Header())

    return Target(run, seeds, (RefusedError,), tokens)


def inode_attributes() -> Target:
    """What was encoded comes out again, up to the first without a name."""

    def run(data: bytes) -> None:
        values = dict(part.split(b"=", 1) for part in data.split(b"\n") if b"=" in part)
        inline, block = attributes.encode(values)
        found = {**attributes.decode_inline(inline), **attributes.decode_block(block)}
        assert found.items() <= values.items()

    seed = b"user.a=1\nsecurity.capability=" + bytes(20) + b"\nsystem.posix_acl_access=x"
    return Target(run, [seed, b"trusted.b=" + b"v" * 300], (RefusedError,))


def image_archive() -> Target:
    """An archive of docker's or OCI's, or a layer, plain or compressed."""

    def run(data: bytes) -> None:
        path = scratch() / "image.tar"
        path.write_bytes(data)
        with suppress(ConfigError):
            layer_root(path)
        open_images(path).find()

    layout = layer(*(entry(name, each) for name, each in oci_layout(IMAGE).items()))
    tokens = (b"manifest.json", b"index.json", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"../")
    return Target(run, [docker_archive(IMAGE), layout], (ConfigError, IntegrityError), tokens)


def image_config() -> Target:
    return Target(
        Config.parse, [IMAGE.document], (RefusedError,), (b"diff_ids", b"null", b"sha256:")
    )


def layer_record() -> Target:
    """The record that a store keeps of a layer's tar, packed again."""
    root = _store(scratch() / "store")

    def run(data: bytes) -> None:
        (root / "vfs-layers" / "a.tar-split.gz").write_bytes(gzip.compress(data, 1))
        open_images(root).find()

    seed = gzip.decompress(tar_split(IMAGE.layers[0]))
    return Target(run, [seed], (ConfigError, IntegrityError), (b'"name_raw"', b"../"))


def _store(root: Path) -> Path:
    """One image of one layer, whose record is missing."""
    identity = "0" * 64
    key = base64.b64encode(f"sha256:{identity}".encode()).decode()
    images = [{"id": identity, "names": ["app"], "layer": "a"}]
    return write_folder(
        root,
        {
            "vfs-images/images.json": json.dumps(images).encode(),
            "vfs-layers/layers.json": b'[{"id":"a"}]',
            f"vfs-images/{identity}/={key}": IMAGE.document,
            "vfs/dir/a/a": b"1",
        },
    )

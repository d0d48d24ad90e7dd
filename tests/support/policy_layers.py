"""Layers and images made for tests: tars entry by entry, archives, and what becomes of them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealserve.policy.execution.layers import convert

END = bytes(1024)


def fixed(block: bytes | bytearray) -> bytes:
    """The header with the checksum that it should have."""
    plain = block[:148] + b" " * 8 + block[156:]
    return bytes(plain[:148] + b"%06o\0 " % sum(plain) + plain[156:])


def entry(
    name: str, data: bytes = b"", *, form: int = tarfile.USTAR_FORMAT, **fields: Any
) -> bytes:
    """One entry, with its data and extensions; fields: those of `tarfile.TarInfo`."""
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in fields.items():
        setattr(made, key, value)
    head = made.tobuf(form, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % 512)


def pax(records: Mapping[bytes, bytes]) -> bytes:
    """A PAX header for the entry after it."""
    return extension(b"x", b"".join(record(key, value) for key, value in records.items()))


def extension(kind: bytes, data: bytes) -> bytes:
    """An entry that says something of the next one."""
    return entry("extension", data, type=kind)


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts itself."""
    rest = b" %b=%b\n" % (key, value)
    size = len(rest)
    while len(b"%d" % size) + len(rest) != size:
        size = len(b"%d" % size) + len(rest)
    return b"%d" % size + rest


def layer(*entries: bytes) -> bytes:
    """A whole tar."""
    return b"".join(entries) + END


def root_of(tar: bytes) -> str:
    """The root of a layer."""
    return convert(io.BytesIO(tar)).root.hex()


def image_of(tar: bytes) -> bytes:
    """The ext4 image of a layer."""
    image = io.BytesIO()
    convert(io.BytesIO(tar), image=image)
    return image.getvalue()


@dataclass(frozen=True)
class MadeImage:
    """An image to be put into archives and layouts."""

    layers: Sequence[bytes]
    names: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"

    @property
    def roots(self) -> tuple[str, ...]:
        return tuple(root_of(each) for each in self.layers)

    @property
    def document(self) -> bytes:
        """Its configuration."""
        diff_ids = [f"sha256:{sha256(each)}" for each in self.layers]
        return json.dumps(
            {
                "os": "linux",
                "architecture": self.architecture,
                "config": dict(self.config),
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
            }
        ).encode()


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def docker_archive(*images: MadeImage) -> bytes:
    """What `docker save` writes of them."""
    members: dict[str, bytes] = {}
    manifest = []
    for image in images:
        config = f"{sha256(image.document)}.json"
        layers = {f"{sha256(each)}/layer.tar": each for each in image.layers}
        members |= {config: image.document, **layers}
        paths = [f"{sha256(each)}/layer.tar" for each in image.layers]
        manifest.append({"Config": config, "RepoTags": list(image.names), "Layers": paths})
    return archive({**members, "manifest.json": json.dumps(manifest).encode()})


def archive(members: Mapping[str, bytes]) -> bytes:
    """A tar of files."""
    return layer(*(entry(name, data) for name, data in members.items()))


def oci_layout(*images: MadeImage, pack: Any = bytes, index: bool = False) -> dict[str, bytes]:
    """The files of an OCI layout. pack: what layers go through. index: all in one inner index."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def put(data: bytes, kind: str) -> dict[str, Any]:
        files[f"blobs/sha256/{sha256(data)}"] = data
        media_type = f"application/vnd.oci.image.{kind}"
        return {"digest": f"sha256:{sha256(data)}", "size": len(data), "mediaType": media_type}

    entries = []
    for image in images:
        manifest = {
            "schemaVersion": 2,
            "config": put(image.document, "config.v1+json"),
            "layers": [put(pack(each), "layer.v1.tar+gzip") for each in image.layers],
        }
        described = put(json.dumps(manifest).encode(), "manifest.v1+json")
        if image.names:
            name = {"org.opencontainers.image.ref.name": image.names[0]}
            described["annotations"] = name
        entries.append(described)
    if index:
        inner = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        entries = [put(inner, "index.v1+json")]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return files


def tar_split(tar_bytes: bytes) -> bytes:
    """The record that containers/storage keeps of a layer."""
    records: list[dict[str, object]] = []
    at = 0
    with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as members:
        for member in members:
            if member.size:
                segment = tar_bytes[at : member.offset_data]
                records.append({"type": 2, "payload": base64.b64encode(segment).decode()})
                records.append({"type": 1, "name": member.name, "size": member.size, "payload": ""})
                at = member.offset_data + member.size
    records.append({"type": 2, "payload": base64.b64encode(tar_bytes[at:]).decode()})
    return gzip.compress(b"".join(json.dumps(each).encode() + b"\n" for each in records))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files in a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder

"""A second reader of sealed models, written from models/SPEC.md alone; it shares nothing with ours.

Slow, obvious, strict enough for honest files. Libraries: hashlib, json, zipfile, cryptography.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

PAGE = 4096


@dataclass(frozen=True)
class Read:
    """What a sealed file holds. v: offset of the tree; archive: the plaintext, a ZIP file."""

    header: dict[str, Any]
    root: bytes
    v: int
    slots: list[dict[str, str]]
    archive: bytes

    @property
    def entries(self) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.archive)) as opened:
            return {name: opened.read(name) for name in opened.namelist()}


def read(data: bytes, key: bytes) -> Read:
    """Sections 1 to 6, in order. AssertionError for whatever does not fit."""
    header, front = _header(data)
    start, size = len(front), header["payload_size"]
    v = -(-(start + size) // PAGE) * PAGE
    assert not any(data[start + size : v])
    tree, root = _tree(data[:v])
    assert data[v : v + len(tree)] == tree
    slots = _slots(data[v + len(tree) :])
    derived = HKDF(SHA256(), 8, None, b"sealserve/key-id/v1").derive(key)
    assert derived.hex() == header["key_id"]
    context = b"sealserve/model/v1\0" + hashlib.sha256(front).digest()
    return Read(header, root, v, slots, _message(data[start : start + size], key, context))


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    assert data[:16] == b"sealserve/model\n"
    assert int.from_bytes(data[16:20], "little") == 1
    length = int.from_bytes(data[20:24], "little")
    p = -(-(24 + length + 56) // PAGE) * PAGE - 56
    assert not any(data[24 + length : p])
    return _canonical(data[24 : 24 + length]), data[:p]


def _canonical(text: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    assert json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == text
    return value


def _tree(data: bytes) -> tuple[bytes, bytes]:
    """Superblock and levels, top first; and the root."""
    levels: list[bytes] = []
    below = data
    while len(below) > PAGE:
        digests = b"".join(_digest(below[i : i + PAGE]) for i in range(0, len(below), PAGE))
        below = digests.ljust(-(-len(digests) // PAGE) * PAGE, b"\0")
        levels.insert(0, below)
    return _superblock(len(data) // PAGE) + b"".join(levels), _digest(below)


def _digest(block: bytes) -> bytes:
    return hashlib.sha256(bytes(32) + block).digest()


def _superblock(blocks: int) -> bytes:
    """struct verity_sb of cryptsetup's lib/verity/verity.c."""
    fields = b"verity\0\0" + b"\1\0\0\0" * 2 + bytes(16) + b"sha256".ljust(32, b"\0")
    fields += PAGE.to_bytes(4, "little") * 2 + blocks.to_bytes(8, "little")
    return (fields + (32).to_bytes(2, "little")).ljust(PAGE, b"\0")


def _slots(area: bytes) -> list[dict[str, str]]:
    assert area[:16] == b"sealserve/slots\n"
    assert int.from_bytes(area[16:20], "little") == 1
    length = int.from_bytes(area[20:24], "little")
    assert len(area) == -(-(24 + length) // PAGE) * PAGE
    assert not any(area[24 + length :])
    slots: list[dict[str, str]] = _canonical(area[24 : 24 + length])["slots"]
    return slots


def _message(message: bytes, key: bytes, context: bytes) -> bytes:
    """C2SP chunked-encryption, Cobblestone-256."""
    salt, commitment = message[:24], message[24:56]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(SHA512(), 76, info).derive(key)
    assert derived[44:] == commitment
    aead, base = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
    plain = b""
    for number, at in enumerate(range(56, len(message), 16400)):
        chunk = message[at : at + 16400]
        plain += aead.decrypt((base ^ number).to_bytes(12, "big"), chunk, None)
    assert len(chunk) < 16400  # the last one says that nothing is missing
    return plain

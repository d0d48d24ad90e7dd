"""The plain twin of the native routines: slow, obvious, the same answers and the same errors.

Built on hashlib, hmac and pyca/cryptography. Tests run every case against both; nothing else uses
it. Secret memory has no twin: that memory is all it is about.
"""

from __future__ import annotations

import hashlib
import hmac
import operator
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sealserve.native.destination import (
    Cancelled,
    Destination,
    check_layout,
    check_threads,
    descriptor,
)
from sealserve.native.errors import FormatError, IntegrityError
from sealserve.native.verity import Tree

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 16384
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
SALT_BYTES = 24
HEADER_BYTES = 56
KEY_BYTES = 32
MAX_CHUNKS = 1 << 38

BLOCK_BYTES = 4096
DIGEST_BYTES = 32
MAX_DATA_BYTES = 1 << 52
_SALT = bytes(32)


# ---- cryptography ------------------------------------------------------------------------------


def gcm_seal(key: Buffer, nonce: Buffer, plain: Buffer) -> bytes:
    _exactly("key", key, KEY_BYTES)
    _exactly("nonce", nonce, 12)
    return AESGCM(bytes(key)).encrypt(bytes(nonce), _bytes(plain), None)


def gcm_open(key: Buffer, nonce: Buffer, sealed: Buffer) -> bytes:
    if len(_bytes(sealed)) < TAG_BYTES:
        raise IntegrityError("shorter than a tag")
    _exactly("key", key, KEY_BYTES)
    _exactly("nonce", nonce, 12)
    try:
        return AESGCM(bytes(key)).decrypt(bytes(nonce), _bytes(sealed), None)
    except InvalidTag as error:
        raise IntegrityError("does not authenticate") from error


def sha256_blocks(salt: Buffer, blocks: Buffer, block_bytes: int) -> bytes:
    _exactly("salt", salt, DIGEST_BYTES)
    data, block_bytes = _bytes(blocks), operator.index(block_bytes)
    if block_bytes <= 0 or len(data) % block_bytes:
        raise ValueError("not whole blocks")
    starts = range(0, len(data), block_bytes)
    return b"".join(
        hashlib.sha256(bytes(salt) + data[at : at + block_bytes]).digest() for at in starts
    )


def hmac_sha512(key: Buffer, data: Buffer) -> bytes:
    if not _bytes(key):
        raise ValueError("key is empty")
    return hmac.digest(_bytes(key), _bytes(data), "sha512")


# ---- Cobblestone-256 (https://c2sp.org/chunked-encryption) --------------------------------------


def sealed_size(plain_bytes: int) -> int:
    plain_bytes = operator.index(plain_bytes)
    chunks = plain_bytes // CHUNK_BYTES + 1
    if plain_bytes < 0 or chunks > MAX_CHUNKS:
        raise ValueError("no message is that long")
    return HEADER_BYTES + plain_bytes + chunks * TAG_BYTES


def plain_size(sealed_bytes: int) -> int:
    full, rest = divmod(sealed_bytes - HEADER_BYTES, SEALED_CHUNK_BYTES)
    if sealed_bytes < HEADER_BYTES or rest < TAG_BYTES or full >= MAX_CHUNKS:
        raise FormatError("no message has that length")
    return full * CHUNK_BYTES + rest - TAG_BYTES


class Message:
    def __init__(self) -> None:
        raise TypeError("use Message.new or Message.of")

    @classmethod
    def new(cls, key: Buffer, context: Buffer) -> Message:
        return cls._derive(key, os.urandom(SALT_BYTES), context)

    @classmethod
    def of(cls, key: Buffer, header: Buffer, context: Buffer) -> Message:
        _exactly("header", header, HEADER_BYTES)
        message = cls._derive(key, bytes(header)[:SALT_BYTES], context)
        if not hmac.compare_digest(message.header, bytes(header)):
            raise IntegrityError("the key and context do not match the message's commitment")
        return message

    @classmethod
    def _derive(cls, key: Buffer, salt: bytes, context: Buffer) -> Message:
        _exactly("key", key, KEY_BYTES)
        name = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
        derived = HKDFExpand(SHA512(), 76, name + salt + _bytes(context)).derive(bytes(key))
        message = cls.__new__(cls)
        message._aead = AESGCM(derived[:32])
        message._base_nonce = int.from_bytes(derived[32:44], "big")
        message.header = salt + derived[44:]
        return message

    _aead: AESGCM | None
    _base_nonce: int
    header: bytes

    def seal_into(self, first_chunk: int, plain: Buffer, out: Buffer, *, last: bool) -> int:
        data, target = _bytes(plain), _writable(out)
        if len(data) % CHUNK_BYTES and not last:
            raise ValueError("not whole chunks, and not the last ones")
        chunks = len(data) // CHUNK_BYTES + last
        self._check(first_chunk, chunks, len(data) + chunks * TAG_BYTES, plain, target)
        pieces = (data[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES] for at in range(chunks))
        sealed = b"".join(
            self._key().encrypt(self._nonce(first_chunk + at), piece, None)
            for at, piece in enumerate(pieces)
        )
        target[: len(sealed)] = sealed
        return len(sealed)

    def open_into(self, first_chunk: int, sealed: Buffer, out: Buffer, *, last: bool) -> int:
        data, target = _bytes(sealed), _writable(out)
        full, rest = divmod(len(data), SEALED_CHUNK_BYTES)
        if rest and not last:
            raise ValueError("not whole chunks, and not the last ones")
        if last and rest < TAG_BYTES:
            raise IntegrityError("the message is cut")
        size = len(data) - (full + last) * TAG_BYTES
        self._check(first_chunk, full + last, size, sealed, target)
        try:
            plain = b"".join(
                self._open(first_chunk + at, data[at * SEALED_CHUNK_BYTES :])
                for at in range(full + last)
            )
        except IntegrityError:
            target[:size] = bytes(size)
            raise
        target[:size] = plain
        return size

    def wipe(self) -> None:
        self._aead = None

    def __enter__(self) -> Message:
        return self

    def __exit__(self, *exception: object) -> None:
        self.wipe()

    def __reduce__(self) -> str:
        raise TypeError("a Message is never pickled or copied")

    def _open(self, number: int, rest: bytes) -> bytes:
        try:
            return self._key().decrypt(self._nonce(number), rest[:SEALED_CHUNK_BYTES], None)
        except InvalidTag as error:
            raise IntegrityError(f"chunk {number} does not authenticate") from error

    def _key(self) -> AESGCM:
        if self._aead is None:
            raise ValueError("this message was wiped")
        return self._aead

    def _nonce(self, number: int) -> bytes:
        return (self._base_nonce ^ number).to_bytes(12, "big")

    def _check(
        self, first: int, chunks: int, size: int, source: Buffer, target: memoryview
    ) -> None:
        if not 0 <= first <= MAX_CHUNKS - chunks:
            raise ValueError("a message has at most 2^38 chunks")
        if len(target) < size:
            raise ValueError("out is too small")
        if memoryview(source).obj is target.obj and size:
            raise ValueError("out overlaps the input")
        self._key()


# ---- dm-verity ---------------------------------------------------------------------------------


def tree_size(data_bytes: int) -> int:
    return BLOCK_BYTES * (1 + sum(_level_blocks(data_bytes)))


def root_of(area: Buffer, data_bytes: int) -> bytes:
    data = _bytes(area)
    _check_superblock(data, data_bytes, FormatError)
    if not _level_blocks(data_bytes):
        raise FormatError("one block of data has no hash tree")
    return _digest(data[BLOCK_BYTES : 2 * BLOCK_BYTES])


def digests_of(data: Buffer) -> bytes:
    blocks = _bytes(data)
    if len(blocks) % BLOCK_BYTES:
        raise ValueError("not whole blocks")
    return _digests(blocks)


def tree_of(digests: Buffer) -> Tree:
    leaves = _bytes(digests)
    if len(leaves) % DIGEST_BYTES:
        raise ValueError("not whole digests")
    counts = _level_blocks(len(leaves) // DIGEST_BYTES * BLOCK_BYTES)
    levels, digests = [], leaves
    for blocks in counts:
        levels.append(bytes(digests).ljust(blocks * BLOCK_BYTES, b"\0"))
        digests = _digests(levels[-1])
    size = len(leaves) // DIGEST_BYTES * BLOCK_BYTES
    return Tree(bytes(digests), b"".join([_superblock(size), *reversed(levels)]))


class TreeBuilder:
    def __init__(self) -> None:
        self._data = bytearray()
        self._finished = False

    def update(self, data: Buffer) -> None:
        self._check()
        self._data += _bytes(data)

    def finish(self) -> Tree:
        self._check()
        tree = tree_of(digests_of(self._data))  # ValueError unless whole blocks, at least one
        self._finished = True
        return tree

    def _check(self) -> None:
        if self._finished:
            raise ValueError("this tree is finished")


class TrustedTree:
    def __init__(self) -> None:
        raise TypeError("use TrustedTree.load")

    root: bytes
    data_bytes: int
    _leaves: bytes

    @classmethod
    def load(cls, area: Buffer, data_bytes: int, root: Buffer) -> TrustedTree:
        _exactly("root", root, DIGEST_BYTES)
        data = _bytes(area)
        _check_superblock(data, data_bytes, IntegrityError)
        wanted = bytes(root)
        at = BLOCK_BYTES
        for blocks in reversed(_level_blocks(data_bytes)):
            level = data[at : at + blocks * BLOCK_BYTES]
            digests = _digests(level)
            if digests != wanted[: len(digests)] or any(wanted[len(digests) :]):
                raise IntegrityError("this is not the tree of that root")
            wanted = level
            at += len(level)
        used = data_bytes // BLOCK_BYTES * DIGEST_BYTES
        if any(wanted[used:]):
            raise IntegrityError("the hash tree is not filled up with zeros")
        tree = cls.__new__(cls)
        tree.root, tree.data_bytes, tree._leaves = bytes(root), data_bytes, wanted
        return tree

    def check(self, offset: int, data: Buffer) -> None:
        blocks, offset = _bytes(data), operator.index(offset)
        if offset < 0 or offset % BLOCK_BYTES or len(blocks) % BLOCK_BYTES:
            raise ValueError("not whole blocks")
        if offset + len(blocks) > self.data_bytes:
            raise ValueError("not inside the data of this tree")
        for at in range(0, len(blocks), BLOCK_BYTES):
            number = (offset + at) // BLOCK_BYTES
            wanted = self._leaves[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
            if _digest(blocks[at : at + BLOCK_BYTES]) != wanted:
                raise IntegrityError(f"block {number} is not the one in the hash tree")


def _level_blocks(data_bytes: int) -> list[int]:
    """Blocks of each level, from the one over the data upwards."""
    data_bytes = operator.index(data_bytes)
    if data_bytes <= 0 or data_bytes % BLOCK_BYTES or data_bytes > MAX_DATA_BYTES:
        raise ValueError("a tree covers whole blocks")
    counts = []
    blocks = data_bytes // BLOCK_BYTES
    while blocks > 1:
        blocks = -(-blocks // 128)
        counts.append(blocks)
    return counts


def _superblock(data_bytes: int) -> bytes:
    """cryptsetup lib/verity/verity.c, struct verity_sb."""
    fields = (b"verity\0\0", 1, 1, bytes(16), b"sha256", 4096, 4096, data_bytes // 4096, 32)
    return struct.pack("<8sII16s32sIIQH", *fields).ljust(BLOCK_BYTES, b"\0")


def _check_superblock(
    area: bytes, data_bytes: int, error: type[FormatError] | type[IntegrityError]
) -> None:
    if len(area) != tree_size(data_bytes):
        raise error("the hash tree has another length")
    if area[:BLOCK_BYTES] != _superblock(data_bytes):
        raise error("the superblock is another one")


def _digest(block: bytes) -> bytes:
    return hashlib.sha256(_SALT + block).digest()


def _digests(level: bytes) -> bytes:
    return sha256_blocks(_SALT, level, BLOCK_BYTES)


# ---- sealing -----------------------------------------------------------------------------------

UNIT_PLAIN_BYTES = 256 * CHUNK_BYTES
UNIT_BYTES = 256 * SEALED_CHUNK_BYTES


def pages_of(plain_bytes: int, *, last: bool) -> int:
    chunks = plain_bytes // CHUNK_BYTES + last
    return -(-(plain_bytes + chunks * TAG_BYTES) // BLOCK_BYTES)


def seal_unit(
    fd: int,
    offset: int,
    message: Message,
    first_chunk: int,
    plain: Buffer,
    digests: Buffer,
    *,
    last: bool,
) -> int:
    size, fd = len(_bytes(plain)), descriptor(fd)
    offset, first_chunk = operator.index(offset), operator.index(first_chunk)
    if not 0 <= offset < 1 << 62 or offset % BLOCK_BYTES:
        raise ValueError("a unit begins at a page")
    if not 0 <= first_chunk < (1 << 38) - 256 or first_chunk % 256:
        raise ValueError("a unit begins at a page, with chunk 256 n")
    if size > UNIT_PLAIN_BYTES or (size < UNIT_PLAIN_BYTES and not last):
        raise ValueError("this is no unit, and not the last")
    pages = pages_of(size, last=last)
    leaves = _writable(digests)
    if len(leaves) != pages * DIGEST_BYTES:
        raise ValueError("digests has another length")
    if size and memoryview(plain).obj is leaves.obj:
        raise ValueError("digests overlaps the text")
    sealed = bytearray(pages * BLOCK_BYTES)
    message.seal_into(first_chunk, plain, sealed, last=last)
    done = 0
    while done < len(sealed):
        done += os.pwrite(fd, sealed[done:], offset + done)
    leaves[:] = _digests(bytes(sealed))
    return pages


# ---- checked copies ----------------------------------------------------------------------------


class CheckedCopy:
    """Everything at once, and then it is there."""

    def __init__(
        self,
        fd: int,
        *,
        payload_offset: int,
        payload_bytes: int,
        data_bytes: int,
        tree: TrustedTree,
        threads: int = 2,
    ) -> None:
        check_threads(threads)
        plain_size(payload_bytes)
        check_layout(payload_offset, payload_bytes, data_bytes)
        if data_bytes != tree.data_bytes:
            raise ValueError("the tree covers other data")
        self._of = (payload_offset, payload_bytes, data_bytes)
        self._tree, self._taken, self._in_use = tree, False, False
        self._units: dict[int, bytes] = {}
        with suppress(IntegrityError, OSError):
            for at in range(payload_offset + HEADER_BYTES, data_bytes, UNIT_BYTES):
                unit = _read(descriptor(fd), at, min(at + UNIT_BYTES, data_bytes))
                tree.check(at, unit)
                self._units[at] = unit

    @property
    def checked_bytes(self) -> int:
        return sum(map(len, self._units.values()))

    def close(self) -> None:
        if self._in_use:
            raise ValueError("a load is using this copy")
        self._taken = True

    def __enter__(self) -> CheckedCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, tree: TrustedTree, of: tuple[int, int, int]) -> dict[int, bytes]:
        if (tree, of) != (self._tree, self._of):
            raise ValueError("the copy is of another payload, or was checked with another tree")
        if self._taken:
            raise ValueError("a load has had this copy, or it is closed")
        self._taken = self._in_use = True
        return self._units


# ---- load --------------------------------------------------------------------------------------


def load(
    fd: int,
    *,
    payload_offset: int,
    payload_bytes: int,
    data_bytes: int,
    tree: TrustedTree,
    message: Message,
    destinations: Sequence[Destination],
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    checked: CheckedCopy | None = None,
) -> None:
    fd = descriptor(fd)
    check_threads(threads)
    check_layout(payload_offset, payload_bytes, data_bytes)
    if data_bytes != tree.data_bytes:
        raise ValueError("the tree covers other data")
    message._key()
    for destination in destinations:
        _check(destination, plain_size(payload_bytes))
    layout = (payload_offset, payload_bytes, data_bytes)
    copied = {} if checked is None else checked._take(tree, layout)
    try:
        _tick(0, data_bytes, progress, cancelled)
        data = _read_around(copied, fd, payload_offset + HEADER_BYTES, data_bytes)
        tree.check(0, data)
        plain = _open(data, payload_offset, payload_bytes, message)
        for destination in destinations:
            _deliver(destination, plain)
        _tick(data_bytes, data_bytes, progress, cancelled)
    except BaseException:
        for destination in destinations:
            _forget(destination)
        raise
    finally:
        if checked is not None:
            checked._in_use = False


def _check(destination: Destination, plain_bytes: int) -> None:
    if not isinstance(destination, Destination):
        raise TypeError("a Destination is needed")
    destination.check(plain_bytes)
    if destination.buffer is not None:
        space = len(_writable(destination.buffer))
        if destination.offset + destination.size > space:
            raise ValueError("a buffer is too small")


def _read_around(copied: dict[int, bytes], fd: int, start: int, end: int) -> bytes:
    """Bytes 0 to `end`; units that were copied are not read again."""
    data = _read(fd, 0, start)
    for at in range(start, end, UNIT_BYTES):
        data += copied.get(at) or _read(fd, at, min(at + UNIT_BYTES, end))
    return data


def _tick(
    done: int,
    total: int,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    if progress is not None:
        progress(done, total)
    if cancelled is not None and cancelled():
        raise Cancelled("the load was cancelled")


def _read(fd: int, begin: int, end: int) -> bytes:
    data = bytearray()
    while begin < end:
        piece = os.pread(fd, end - begin, begin)
        if not piece:
            raise IntegrityError(f"the file ends at byte {begin}; it has to have {end}")
        data += piece
        begin += len(piece)
    return bytes(data)


def _open(data: bytes, start: int, size: int, message: Message) -> bytes:
    header, sealed = data[start : start + HEADER_BYTES], data[start + HEADER_BYTES : start + size]
    if header != message.header:
        raise IntegrityError("the message's header in the file is not the one it is opened with")
    plain = bytearray(plain_size(size))
    message.open_into(0, sealed, plain, last=True)
    if any(data[start + size :]):
        raise FormatError("the bytes behind the last chunk are not zero")
    return bytes(plain)


def _deliver(destination: Destination, plain: bytes) -> None:
    piece = plain[destination.start : destination.start + destination.size]
    if destination.buffer is not None:
        at = destination.offset
        _writable(destination.buffer)[at : at + len(piece)] = piece
        return
    done = 0
    while done < len(piece):
        assert destination.fd is not None
        done += os.pwrite(destination.fd, piece[done:], destination.offset + done)


def _forget(destination: Destination) -> None:
    if destination.buffer is not None:
        at = destination.offset
        _writable(destination.buffer)[at : at + destination.size] = bytes(destination.size)
    elif destination.fd is not None:
        os.ftruncate(destination.fd, 0)


# ---- ranges ------------------------------------------------------------------------------------


class Ranges:
    def __init__(
        self,
        fd: int,
        *,
        payload_offset: int,
        payload_bytes: int,
        data_bytes: int,
        tree: TrustedTree,
        message: Message,
    ) -> None:
        self.plain_bytes = plain_size(payload_bytes)
        check_layout(payload_offset, payload_bytes, data_bytes)
        if data_bytes != tree.data_bytes:
            raise ValueError("the tree covers other data")
        message._key()
        self._fd, self._tree, self._message = descriptor(fd), tree, message
        self._start, self._end = payload_offset + HEADER_BYTES, payload_offset + payload_bytes
        page = self._checked(self._start - BLOCK_BYTES, self._start)
        if page[-HEADER_BYTES:] != message.header:
            raise IntegrityError("the message's header in the file is another one")

    def read_into(self, start: int, out: Buffer) -> None:
        target = _writable(out)
        if not 0 <= start <= start + len(target) <= self.plain_bytes:
            raise ValueError("the message does not hold these bytes")
        try:
            self._read_into(start, target)
        except BaseException:
            target[:] = bytes(len(target))
            raise

    def _read_into(self, start: int, target: memoryview) -> None:
        first, stop = start // CHUNK_BYTES, -(-(start + len(target)) // CHUNK_BYTES)
        begin = self._start + first * SEALED_CHUNK_BYTES
        end = min(self._start + stop * SEALED_CHUNK_BYTES, self._end)
        if not len(target):
            return
        sealed = self._checked(begin, end)
        plain = bytearray((stop - first) * CHUNK_BYTES)
        last = bool(len(sealed) % SEALED_CHUNK_BYTES)
        self._message.open_into(first, sealed, plain, last=last)
        at = start - first * CHUNK_BYTES
        target[:] = plain[at : at + len(target)]

    def _checked(self, begin: int, end: int) -> bytes:
        """These bytes, from pages that are in the tree."""
        page = begin // BLOCK_BYTES * BLOCK_BYTES
        size = -(-end // BLOCK_BYTES) * BLOCK_BYTES - page
        pages = _read(self._fd, page, page + size)
        self._tree.check(page, pages)
        if page + size == self._tree.data_bytes and any(pages[self._end - page :]):
            raise FormatError("the bytes behind the last chunk are not zero")
        return pages[begin - page : end - page]


# ---- buffers -----------------------------------------------------------------------------------


def _bytes(data: Buffer) -> bytes:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("not contiguous")
    return view.tobytes()


def _writable(data: Buffer) -> memoryview:
    view = memoryview(data)
    if view.readonly or not view.c_contiguous:
        raise BufferError("not writable, or not contiguous")
    return view.cast("B")


def _exactly(what: str, data: Buffer, size: int) -> None:
    if len(_bytes(data)) != size:
        raise ValueError(f"{what} has {len(_bytes(data))} bytes; {size} are needed")

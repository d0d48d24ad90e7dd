"""Cobblestone-256 messages: C2SP chunked-encryption with SHA-512 and AES-256-GCM.

https://c2sp.org/chunked-encryption. A message is 24 bytes of salt, 32 bytes of commitment, then
chunks of 16 KiB with a tag of 16 bytes behind each. The last chunk is always shorter, maybe empty.
"""

import operator
import os

from libc.string cimport memcpy

from sealserve.native.crypto cimport (
    GCM_KEY_BYTES,
    GCM_NONCE_BYTES,
    GCM_OPEN,
    GCM_SEAL,
    GCM_TAG_BYTES,
    SHA512_BYTES,
    authenticate,
    equal,
    free_key,
    new_key,
    open_row,
    seal_row,
    wipe_memory,
)
from sealserve.native.views cimport View, overlap, readable, writable

from sealserve.native.errors import FormatError, IntegrityError

cdef enum:
    CHUNK = 16384
    SEALED_CHUNK = CHUNK + GCM_TAG_BYTES
    SALT = 24
    COMMITMENT = 32
    HEADER = SALT + COMMITMENT
    DERIVED = GCM_KEY_BYTES + GCM_NONCE_BYTES  # of each message's secrets, in this order

CHUNK_BYTES = CHUNK
TAG_BYTES = GCM_TAG_BYTES
SEALED_CHUNK_BYTES = SEALED_CHUNK
HEADER_BYTES = HEADER
KEY_BYTES = GCM_KEY_BYTES
SALT_BYTES = SALT
# "the message MUST NOT exceed 2^38 chunks (4 PiB)": C2SP chunked-encryption, Message chunking.
MAX_CHUNKS = 1 << 38

_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"


def sealed_size(plain_bytes):
    """Bytes of a whole message, header included. ValueError if no message is that long."""
    plain_bytes = operator.index(plain_bytes)
    chunks = plain_bytes // CHUNK_BYTES + 1
    if plain_bytes < 0 or chunks > MAX_CHUNKS:
        raise ValueError(f"{plain_bytes} bytes; a message holds 0 to 4 PiB less one byte")
    return HEADER_BYTES + plain_bytes + chunks * TAG_BYTES


def plain_size(sealed_bytes):
    """Bytes inside a whole message of this length. FormatError if no message has it."""
    body = operator.index(sealed_bytes) - HEADER_BYTES
    chunks = body // SEALED_CHUNK_BYTES + 1
    if body < 0 or body % SEALED_CHUNK_BYTES < TAG_BYTES or chunks > MAX_CHUNKS:
        raise FormatError(
            f"no message is {sealed_bytes} bytes long",
            hint="a file cut at or near the end of a chunk looks like this",
        )
    return body - chunks * TAG_BYTES


cdef class Message:
    """One message's key, base nonce and header. Made by `new` or `of`; wiped when dropped.

    Any number of threads may use it at once; a forked child has none of it (RuntimeError).
    """

    def __init__(self):
        raise TypeError("use Message.new or Message.of")

    @staticmethod
    def new(key, context):
        """A message to be sealed, under a fresh salt. key: 32 bytes. context: any bytes."""
        return _derive(key, os.urandom(SALT), context)

    @staticmethod
    def of(key, header, context):
        """The message that `header` (56 bytes) begins.

        Raises IntegrityError unless its commitment says that it was sealed with this key and in
        this context.
        """
        cdef View head = readable(header)
        if head.size != HEADER:
            raise ValueError(f"header has {head.size} bytes; {HEADER} are needed")
        cdef Message message = _derive(key, _bytes(head)[:SALT], context)
        if not equal(head.data, <const uint8_t*> message.header, HEADER):
            message.wipe()
            raise IntegrityError(
                "the key and context do not match the message's commitment",
                hint="another key, another file's header, or an altered one",
            )
        return message

    def seal_into(self, first_chunk, plain, out, *, bint last):
        """Seal `plain` as the chunks from number `first_chunk` on; returns the bytes written.

        plain: whole chunks, unless `last`. last: ends the message; after a multiple of 16 KiB that
        takes an empty chunk, which is written too. out: must not overlap `plain`; wiped if this
        fails. Never seal two texts as the same chunk of a message.
        Raises ValueError for lengths that do not fit.
        """
        cdef View source = readable(plain)
        cdef View target = writable(out)
        if source.size % CHUNK and not last:
            raise ValueError(f"{source.size} bytes are not whole chunks, and not the last ones")
        cdef Py_ssize_t chunks = source.size // CHUNK + last
        cdef Py_ssize_t size = source.size + chunks * GCM_TAG_BYTES
        cdef uint64_t first = _first_chunk(first_chunk, chunks)
        _check_target(source, target, size)
        cdef uint8_t base[GCM_NONCE_BYTES]
        cdef gcm_key* key = self.schedule(GCM_SEAL)
        memcpy(base, self.secrets() + GCM_KEY_BYTES, GCM_NONCE_BYTES)
        cdef bint done
        with nogil:
            done = seal_chunks(key, base, first, chunks, source.data, source.size, target.data)
            free_key(key)
            wipe_memory(base, GCM_NONCE_BYTES)
            if not done:
                wipe_memory(target.data, size)
        if not done:
            raise MemoryError("libcrypto could not seal")
        return size

    def open_into(self, first_chunk, sealed, out, *, bint last):
        """Open `sealed`, the chunks from number `first_chunk` on; returns the bytes written.

        sealed: whole sealed chunks; with `last`, the rest of the message, which ends in a shorter
        one. out: must not overlap `sealed`; wiped if this fails.
        Raises IntegrityError for a chunk that does not authenticate, or for an end that is not
        the end of a message; ValueError for lengths that do not fit.
        """
        cdef View source = readable(sealed)
        cdef View target = writable(out)
        cdef Py_ssize_t rest = source.size % SEALED_CHUNK
        if rest and not last:
            raise ValueError(f"{source.size} bytes are not whole chunks, and not the last ones")
        if last and rest < GCM_TAG_BYTES:
            raise IntegrityError(
                f"the message is cut: its last chunk has {rest} bytes and its tag alone"
                f" {GCM_TAG_BYTES}"
            )
        cdef Py_ssize_t chunks = source.size // SEALED_CHUNK + last
        cdef Py_ssize_t size = source.size - chunks * GCM_TAG_BYTES
        cdef uint64_t first = _first_chunk(first_chunk, chunks)
        _check_target(source, target, size)
        cdef uint8_t base[GCM_NONCE_BYTES]
        cdef gcm_key* key = self.schedule(GCM_OPEN)
        memcpy(base, self.secrets() + GCM_KEY_BYTES, GCM_NONCE_BYTES)
        cdef int64_t bad
        with nogil:
            bad = open_chunks(key, base, first, source.data, source.size, target.data)
            free_key(key)
            wipe_memory(base, GCM_NONCE_BYTES)
            if bad >= 0:
                wipe_memory(target.data, size)
        if bad >= 0:
            raise IntegrityError(f"chunk {bad} does not authenticate")
        return size

    def wipe(self):
        """Forget the key; what uses the message afterwards raises ValueError."""
        if self.derived is not None:
            self.derived.wipe()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.wipe()

    def __reduce_ex__(self, protocol):
        raise TypeError("a Message is never pickled or copied")

    cdef const uint8_t* secrets(self) except NULL:
        if self.derived is None or self.derived.wiped:
            raise ValueError("this message was wiped")
        return self.derived.here()

    cdef gcm_key* schedule(self, gcm_direction direction) except NULL:
        cdef gcm_key* key = new_key(self.secrets(), direction)
        if key is NULL:
            raise MemoryError("libcrypto could not schedule a key")
        return key


cdef int64_t open_chunks(
    gcm_key* key,
    const uint8_t* base_nonce,
    uint64_t first,
    const uint8_t* sealed,
    size_t size,
    uint8_t* plain,
) noexcept nogil:
    cdef size_t chunks = (size + SEALED_CHUNK - 1) // SEALED_CHUNK
    cdef size_t opened = open_row(key, base_nonce, first, CHUNK, sealed, size, plain)
    return -1 if opened == chunks else <int64_t> (first + opened)


cdef bint seal_chunks(
    gcm_key* key,
    const uint8_t* base_nonce,
    uint64_t first,
    size_t chunks,
    const uint8_t* plain,
    size_t size,
    uint8_t* sealed,
) noexcept nogil:
    return seal_row(key, base_nonce, first, CHUNK, chunks, plain, size, sealed)


cdef Message _derive(object key, bytes salt, object context):
    """HKDF-Expand with SHA-512 (C2SP chunked-encryption, Key derivation): 76 bytes in two blocks.

    T(1) = HMAC(key, info || 1), T(2) = HMAC(key, T(1) || info || 2). T(1) is key material, so what
    goes into the second HMAC lies in secret memory as well.
    """
    cdef View secret = readable(key)
    if secret.size != GCM_KEY_BYTES:
        raise ValueError(f"key has {secret.size} bytes; {GCM_KEY_BYTES} are needed")
    cdef bytes info = _INFO + salt + _bytes(readable(context))
    cdef size_t info_bytes = len(info)
    cdef SecretBuffer text = SecretBuffer(SHA512_BYTES + info_bytes + 1)
    cdef SecretBuffer output = SecretBuffer(2 * SHA512_BYTES)
    cdef uint8_t* counter = text.data + SHA512_BYTES + info_bytes
    cdef Message message = Message.__new__(Message)
    memcpy(text.data + SHA512_BYTES, <const uint8_t*> info, info_bytes)
    with text, output:
        counter[0] = 1
        if not authenticate(
            secret.data, GCM_KEY_BYTES, text.data + SHA512_BYTES, info_bytes + 1, output.data
        ):
            raise MemoryError("libcrypto could not derive a key")
        memcpy(text.data, output.data, SHA512_BYTES)
        counter[0] = 2
        if not authenticate(
            secret.data, GCM_KEY_BYTES, text.data, text.size, output.data + SHA512_BYTES
        ):
            raise MemoryError("libcrypto could not derive a key")
        message.derived = SecretBuffer.from_bytes(memoryview(output)[:DERIVED])
        message.header = salt + bytes(memoryview(output)[DERIVED : DERIVED + COMMITMENT])
    return message


cdef bytes _bytes(View view):
    return (<char*> view.data)[: view.size]


cdef uint64_t _first_chunk(object first_chunk, Py_ssize_t chunks) except? 0:
    first = operator.index(first_chunk)
    if not 0 <= first <= MAX_CHUNKS - chunks:
        raise ValueError(f"chunks {first} to {first + chunks}; a message has at most {MAX_CHUNKS}")
    return first


cdef int _check_target(View source, View target, Py_ssize_t size) except -1:
    if target.size < size:
        raise ValueError(f"out holds {target.size} bytes; {size} are needed")
    if overlap(source, target):
        raise ValueError("out overlaps the input")
    return 0

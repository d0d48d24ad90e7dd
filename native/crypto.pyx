"""AES-256-GCM, SHA-256 and HMAC-SHA-512: the C layer, and a raw face of it.

Other native modules call the cdef functions without the GIL; the functions of the Python face are
for vectors and small inputs. Importing fails if libcrypto cannot be opened or gives a wrong answer
to a known question: there is no second way to a key schedule that we would fall back to silently.
"""

import operator
import os

from cpython.unicode cimport PyUnicode_AsUTF8

from sealserve.native.views cimport View, readable

from sealserve.native.errors import IntegrityError


cdef extern from "crypto.h" nogil:
    const char* c_open "crypto_open"(const char*, const char*)
    const char* c_gcm_name "gcm_kernel_name"(size_t)
    const char* c_sha256_name "sha256_kernel_name"(size_t)
    gcm_key* c_gcm_new "gcm_new"(const uint8_t*, gcm_direction)
    void c_gcm_free "gcm_free"(gcm_key*)
    int c_gcm_seal "gcm_seal"(gcm_key*, const uint8_t*, const uint8_t*, size_t, uint8_t*)
    int c_gcm_open "gcm_open"(gcm_key*, const uint8_t*, const uint8_t*, size_t, uint8_t*)
    int c_seal_row "gcm_seal_chunks"(
        gcm_key*, const uint8_t*, uint64_t, size_t, size_t, const uint8_t*, size_t, uint8_t*
    )
    size_t c_open_row "gcm_open_chunks"(
        gcm_key*, const uint8_t*, uint64_t, size_t, const uint8_t*, size_t, uint8_t*
    )
    int c_sha256 "sha256_blocks"(
        const uint8_t*, const uint8_t*, size_t, size_t, uint8_t*, const uint8_t*
    )
    int c_hmac "hmac_sha512"(const uint8_t*, size_t, const uint8_t*, size_t, uint8_t*)
    int c_equal "constant_time_equal"(const uint8_t*, const uint8_t*, size_t)
    void c_wipe "wipe"(void*, size_t)
    void c_copy_past_cache "copy_past_cache"(uint8_t*, const uint8_t*, size_t)


cdef gcm_key* new_key(const uint8_t* key, gcm_direction direction) noexcept nogil:
    return c_gcm_new(key, direction)


cdef void free_key(gcm_key* key) noexcept nogil:
    c_gcm_free(key)


cdef bint seal_row(
    gcm_key* key,
    const uint8_t* base,
    uint64_t first,
    size_t chunk_bytes,
    size_t chunks,
    const uint8_t* plain,
    size_t plain_bytes,
    uint8_t* sealed,
) noexcept nogil:
    return c_seal_row(key, base, first, chunk_bytes, chunks, plain, plain_bytes, sealed)


cdef size_t open_row(
    gcm_key* key,
    const uint8_t* base,
    uint64_t first,
    size_t chunk_bytes,
    const uint8_t* sealed,
    size_t sealed_bytes,
    uint8_t* plain,
) noexcept nogil:
    return c_open_row(key, base, first, chunk_bytes, sealed, sealed_bytes, plain)


cdef bint hash_blocks(
    const uint8_t* salt, const uint8_t* blocks, size_t block_bytes, size_t count, uint8_t* digests
) noexcept nogil:
    return c_sha256(salt, blocks, block_bytes, count, digests, NULL)


cdef bint hash_blocks_before(
    const uint8_t* salt,
    const uint8_t* blocks,
    size_t block_bytes,
    size_t count,
    uint8_t* digests,
    const uint8_t* soon,
) noexcept nogil:
    return c_sha256(salt, blocks, block_bytes, count, digests, soon)


cdef bint authenticate(
    const uint8_t* key, size_t key_bytes, const uint8_t* data, size_t data_bytes, uint8_t* mac
) noexcept nogil:
    return c_hmac(key, key_bytes, data, data_bytes, mac)


cdef bint equal(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    return c_equal(a, b, size)


cdef void copy_past_cache(uint8_t* to, const uint8_t* data, size_t size) noexcept nogil:
    c_copy_past_cache(to, data, size)


cdef void wipe_memory(void* memory, size_t size) noexcept nogil:
    c_wipe(memory, size)


def kernels():
    """The kernels of each family that this processor can run, by name, the one in use first."""
    return {"gcm": _names(c_gcm_name), "sha256": _names(c_sha256_name)}


cdef list _names(const char* (*name_of)(size_t) noexcept nogil):
    names = []
    while name_of(len(names)) is not NULL:
        names.append(name_of(len(names)).decode())
    return names


def gcm_seal(key, nonce, plain):
    """Seal bytes under one nonce; the caller answers for its freshness. Tag behind the text."""
    cdef View text = readable(plain)
    cdef bytes sealed = bytes(text.size + GCM_TAG_BYTES)
    cdef uint8_t* out = sealed
    cdef View iv = _sized("nonce", nonce, GCM_NONCE_BYTES)
    cdef gcm_key* schedule = _schedule(key, GCM_SEAL)
    cdef bint done
    with nogil:
        done = c_gcm_seal(schedule, iv.data, text.data, text.size, out)
        c_gcm_free(schedule)
    if not done:
        raise MemoryError("libcrypto could not seal")
    return sealed


def gcm_open(key, nonce, sealed):
    """The bytes `gcm_seal` was given. Raises IntegrityError if they do not authenticate."""
    cdef View source = readable(sealed)
    if source.size < GCM_TAG_BYTES:
        raise IntegrityError(f"{source.size} bytes are shorter than a tag of {GCM_TAG_BYTES}")
    cdef bytes plain = bytes(source.size - GCM_TAG_BYTES)
    cdef uint8_t* out = plain
    cdef View iv = _sized("nonce", nonce, GCM_NONCE_BYTES)
    cdef gcm_key* schedule = _schedule(key, GCM_OPEN)
    cdef bint done
    with nogil:
        done = c_gcm_open(schedule, iv.data, source.data, source.size, out)
        c_gcm_free(schedule)
    if not done:
        raise IntegrityError(f"{source.size} bytes do not authenticate")
    return plain


def sha256_blocks(salt, blocks, block_bytes):
    """SHA-256(salt || block) of every block, back to back.

    salt: 32 bytes. blocks: a multiple of block_bytes long.
    """
    cdef View before = _sized("salt", salt, SHA256_BYTES)
    cdef View source = readable(blocks)
    size = operator.index(block_bytes)
    if not 0 < size < 1 << 63 or source.size % size:
        raise ValueError(f"{source.size} bytes are not whole blocks of {size}")
    cdef size_t each = size
    cdef size_t count = source.size // each
    cdef bytes digests = bytes(count * SHA256_BYTES)
    cdef uint8_t* out = digests
    cdef bint done
    with nogil:
        done = c_sha256(before.data, source.data, each, count, out, NULL)
    if not done:
        raise MemoryError("libcrypto could not hash")
    return digests


def hmac_sha512(key, data):
    """HMAC-SHA-512, 64 bytes. The key must not be empty (ValueError)."""
    cdef View secret = readable(key)
    cdef View source = readable(data)
    if not secret.size:
        raise ValueError("key is empty")
    cdef bytes mac = bytes(SHA512_BYTES)
    cdef uint8_t* out = mac
    cdef bint done
    with nogil:
        done = c_hmac(secret.data, secret.size, source.data, source.size, out)
    if not done:
        raise MemoryError("libcrypto could not authenticate")
    return mac


cdef View _sized(str what, object data, Py_ssize_t size):
    cdef View view = readable(data)
    if view.size != size:
        raise ValueError(f"{what} has {view.size} bytes; {size} are needed")
    return view


cdef gcm_key* _schedule(object key, gcm_direction direction) except NULL:
    cdef View secret = _sized("key", key, GCM_KEY_BYTES)
    cdef gcm_key* schedule = c_gcm_new(secret.data, direction)
    if schedule is NULL:
        raise MemoryError("libcrypto could not schedule a key")
    return schedule


def _self_test():
    """Questions with known answers, made with pyca/cryptography 50 and CPython's hashlib.

    The GCM text runs past 256 counter blocks and ends in a partial one.
    """
    key, nonce = bytes(range(32)), bytes(range(12))
    plain = bytes(i % 251 for i in range(4133))
    sealed = gcm_seal(key, nonce, plain)
    _expect("AES-256-GCM seal", sealed[-16:].hex(), "2d7dc27432ea6dcd0d3d3adab1e35712")
    _expect("AES-256-GCM open", _opened(key, nonce, sealed), plain)
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    _expect("AES-256-GCM open of a wrong tag", _opened(key, nonce, forged), None)
    digests = sha256_blocks(bytes(32), plain[:4096], 128)
    _expect(
        "SHA-256",
        sha256_blocks(bytes(32), digests, 1024).hex(),
        "7559cb8e57ddf83312fa0b33130366b1595954ee20dda984a23bd85a51474b4e",
    )
    _expect("HMAC-SHA-512", hmac_sha512(key, plain)[:16].hex(), "3f808c90b4e626d3d4a2b640f84dcad5")


def _opened(key, nonce, sealed):
    try:
        return gcm_open(key, nonce, sealed)
    except IntegrityError:
        return None


def _expect(what, seen, wanted):
    if seen != wanted:
        raise RuntimeError(f"libcrypto failed its self-test: wrong answer from {what}")


# One variable per family, for tests; whatever they say, the self-test below has to pass.
_gcm = os.environ.get("SEALSERVE_GCM")
_sha256 = os.environ.get("SEALSERVE_SHA256")


cdef const char* _chosen(str name) except? NULL:
    if name is None:
        return NULL
    return PyUnicode_AsUTF8(name)


cdef const char* _why = c_open(_chosen(_gcm), _chosen(_sha256))
if _why is not NULL:
    raise ImportError(
        f"sealserve's cryptography does not start: {_why.decode()}"
        "\nhint: it needs OpenSSL 3 or 1.1.1 as a shared library (Debian: apt-get install libssl3);"
        f" SEALSERVE_GCM is {_gcm!r}, SEALSERVE_SHA256 is {_sha256!r}"
    )
_self_test()

/* The cryptography that everything else in native/ stands on, in plain C.
 *
 * Behind it stand our kernels where the processor has what they need, else libcrypto
 * (dispatch.c chooses, once).
 *
 * No function needs the GIL. Every length is in bytes. */
#ifndef SEALSERVE_CRYPTO_H
#define SEALSERVE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#define GCM_KEY_BYTES 32
#define GCM_NONCE_BYTES 12
#define GCM_TAG_BYTES 16
#define SHA256_BYTES 32
#define SHA256_SALT_BYTES 32
#define SHA512_BYTES 64

/* Opens libcrypto and chooses a kernel of each family, once per process. Not thread-safe.
 * gcm, sha256: the kernel's name, or NULL for the fastest this processor has.
 * Returns NULL, or why it could not be done. */
const char *crypto_open(const char *gcm, const char *sha256);

/* The name of the `number`-th kernel of a family that this processor can run, the one in use first;
 * NULL behind the last. */
const char *gcm_kernel_name(size_t number);
const char *sha256_kernel_name(size_t number);

/* One AES-256 key, scheduled for one direction. For one thread at a time. */
typedef struct gcm_key gcm_key;

typedef enum { GCM_OPEN = 0, GCM_SEAL = 1 } gcm_direction;

/* NULL when memory or libcrypto fails. gcm_free wipes; it takes NULL. */
gcm_key *gcm_new(const uint8_t key[GCM_KEY_BYTES], gcm_direction direction);
void gcm_free(gcm_key *key);

/* Writes plain_bytes + GCM_TAG_BYTES to sealed. 1, or 0 when the kernel fails (sealed wiped). */
int gcm_seal(gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *plain,
             size_t plain_bytes, uint8_t *sealed);

/* Writes sealed_bytes - GCM_TAG_BYTES to plain. 1, or 0 when the tag differs (plain wiped).
 * sealed_bytes must be at least GCM_TAG_BYTES. */
int gcm_open(gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *sealed,
             size_t sealed_bytes, uint8_t *plain);

/* A message in chunks of chunk_bytes each, the last one as short as it comes, a tag behind each. The
 * nonce of a chunk is the base nonce XOR the chunk's number, which is `first` and so on, big-endian
 * (C2SP chunked-encryption, AEAD usage).
 *
 * Seals `chunks` of them. 1, or 0 when the kernel fails (the chunk that it failed at wiped). */
int gcm_seal_chunks(gcm_key *key, const uint8_t base[GCM_NONCE_BYTES], uint64_t first,
                    size_t chunk_bytes, size_t chunks, const uint8_t *plain, size_t plain_bytes,
                    uint8_t *sealed);

/* How many chunks were opened: all, or those before the first whose tag differs (the plaintext of
 * that and of all behind it wiped). A last chunk must be as long as its tag at least. */
size_t gcm_open_chunks(gcm_key *key, const uint8_t base[GCM_NONCE_BYTES], uint64_t first,
                       size_t chunk_bytes, const uint8_t *sealed, size_t sealed_bytes,
                       uint8_t *plain);

/* digests[i] = SHA-256(salt || block i) for `count` blocks of block_bytes each, back to back.
 * soon: NULL, or as many bytes that are wanted next; they are brought nearer but never read, so it
 * need not be there any more. 1, or 0 when memory or libcrypto fails. */
int sha256_blocks(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks, size_t block_bytes,
                  size_t count, uint8_t *digests, const uint8_t *soon);

/* 1, or 0 when libcrypto fails. */
int hmac_sha512(const uint8_t *key, size_t key_bytes, const uint8_t *data, size_t data_bytes,
                uint8_t mac[SHA512_BYTES]);

/* 1 when equal, in a time that depends on `bytes` alone. */
int constant_time_equal(const uint8_t *a, const uint8_t *b, size_t bytes);

/* Copies without a way through the cache. Other threads see it once they see that it returned. */
void copy_past_cache(uint8_t *to, const uint8_t *from, size_t bytes);

/* Zeroes memory; the compiler cannot drop it. */
void wipe(void *memory, size_t bytes);

#endif

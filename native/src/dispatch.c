/* Which kernel answers: chosen once, by what this processor can run, or by name for tests. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include "gcm.h"
#include "libcrypto.h"
#include "sha256.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAMILY 3 /* kernels of one family at most */

/* Each family's kernels that can run here, the one in use first, NULL behind the last. */
static const gcm_kernel *gcms[FAMILY + 1];
static const sha256_kernel *sha256s[FAMILY + 1];

/* Two kernels are worth a race: on some processors 512-bit registers are two halves in turn. */
#define RACE_BLOCKS 32
#define RACE_HEATS 8

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t best_time(const sha256_kernel *kernel, const uint8_t *blocks)
{
    static const uint8_t salt[SHA256_SALT_BYTES];
    uint8_t digests[RACE_BLOCKS * SHA256_BYTES];
    uint64_t best = UINT64_MAX;
    for (int heat = 0; heat < RACE_HEATS; heat++) {
        uint64_t started = nanoseconds();
        kernel->hash(salt, blocks, 4096, RACE_BLOCKS, digests, NULL);
        uint64_t took = nanoseconds() - started;
        best = took < best ? took : best;
    }
    return best;
}

static void put_faster_first(void)
{
    uint8_t *blocks = calloc(RACE_BLOCKS, 4096);
    if (!blocks)
        return;
    if (best_time(sha256s[1], blocks) < best_time(sha256s[0], blocks)) {
        const sha256_kernel *slower = sha256s[0];
        sha256s[0] = sha256s[1];
        sha256s[1] = slower;
    }
    free(blocks);
}

static void find_kernels(void)
{
    static const gcm_kernel *const every_gcm[] = {&gcm_vaes512, &gcm_vaes256, &gcm_libcrypto};
    static const sha256_kernel *const every_sha256[] = {&sha256_x16, &sha256_ni,
                                                        &sha256_libcrypto};
    size_t found = 0;
    for (size_t i = 0; i < sizeof every_gcm / sizeof *every_gcm; i++)
        if (every_gcm[i]->usable())
            gcms[found++] = every_gcm[i];
    found = 0;
    for (size_t i = 0; i < sizeof every_sha256 / sizeof *every_sha256; i++)
        if (every_sha256[i]->usable())
            sha256s[found++] = every_sha256[i];
    if (found > 2)
        put_faster_first();
}

/* The wanted kernel comes first; the others stay behind it, for what it leaves over. */
static int use_gcm(const char *wanted)
{
    for (size_t i = 0; gcms[i]; i++)
        if (!strcmp(gcms[i]->name, wanted)) {
            const gcm_kernel *first = gcms[0];
            gcms[0] = gcms[i];
            gcms[i] = first;
            return 1;
        }
    return 0;
}

static int use_sha256(const char *wanted)
{
    for (size_t i = 0; sha256s[i]; i++)
        if (!strcmp(sha256s[i]->name, wanted)) {
            const sha256_kernel *first = sha256s[0];
            sha256s[0] = sha256s[i];
            sha256s[i] = first;
            return 1;
        }
    return 0;
}

const char *crypto_open(const char *gcm, const char *sha256)
{
    const char *why = libcrypto_open();
    if (why || gcms[0])
        return why;
    find_kernels();
    if (gcm && !use_gcm(gcm))
        return "this processor has no AES-256-GCM kernel of that name";
    if (sha256 && !use_sha256(sha256))
        return "this processor has no SHA-256 kernel of that name";
    return NULL;
}

const char *gcm_kernel_name(size_t number)
{
    return number < FAMILY && gcms[number] ? gcms[number]->name : NULL;
}

const char *sha256_kernel_name(size_t number)
{
    return number < FAMILY && sha256s[number] ? sha256s[number]->name : NULL;
}

gcm_key *gcm_new(const uint8_t key[GCM_KEY_BYTES], gcm_direction direction)
{
    return gcms[0]->schedule(key, direction);
}

void gcm_free(gcm_key *key)
{
    if (key)
        gcms[0]->forget(key);
}

int gcm_seal(gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *plain,
             size_t plain_bytes, uint8_t *sealed)
{
    if (gcms[0]->seal(key, nonce, plain, plain_bytes, sealed, sealed + plain_bytes))
        return 1;
    wipe(sealed, plain_bytes + GCM_TAG_BYTES);
    return 0;
}

int gcm_open(gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *sealed,
             size_t sealed_bytes, uint8_t *plain)
{
    size_t plain_bytes = sealed_bytes - GCM_TAG_BYTES;
    if (gcms[0]->open(key, nonce, sealed, plain_bytes, plain, sealed + plain_bytes))
        return 1;
    wipe(plain, plain_bytes);
    return 0;
}

/* What the kernel does not take in a row goes one by one, as does the last chunk. */
int gcm_seal_chunks(gcm_key *key, const uint8_t base[GCM_NONCE_BYTES], uint64_t first,
                    size_t chunk_bytes, size_t chunks, const uint8_t *plain, size_t plain_bytes,
                    uint8_t *sealed)
{
    const gcm_chunks row = {base, first, chunk_bytes};
    const size_t whole = plain_bytes / chunk_bytes;
    size_t done = gcms[0]->seal_chunks ? gcms[0]->seal_chunks(key, &row, whole, plain, sealed) : 0;
    for (; done < chunks; done++) {
        uint8_t nonce[GCM_NONCE_BYTES];
        size_t at = done * chunk_bytes, rest = plain_bytes - at;
        gcm_chunk_nonce(&row, done, nonce);
        if (!gcm_seal(key, nonce, plain + at, rest < chunk_bytes ? rest : chunk_bytes,
                      sealed + at + done * GCM_TAG_BYTES))
            return 0;
    }
    return 1;
}

/* As above; so the chunk that a row failed at is found by opening it once more. */
size_t gcm_open_chunks(gcm_key *key, const uint8_t base[GCM_NONCE_BYTES], uint64_t first,
                       size_t chunk_bytes, const uint8_t *sealed, size_t sealed_bytes,
                       uint8_t *plain)
{
    const gcm_chunks row = {base, first, chunk_bytes};
    const size_t stride = chunk_bytes + GCM_TAG_BYTES, whole = sealed_bytes / stride;
    const size_t chunks = whole + (sealed_bytes % stride != 0);
    const size_t plain_bytes = sealed_bytes - chunks * GCM_TAG_BYTES;
    size_t done = gcms[0]->open_chunks ? gcms[0]->open_chunks(key, &row, whole, sealed, plain) : 0;
    for (; done < chunks; done++) {
        uint8_t nonce[GCM_NONCE_BYTES];
        size_t rest = sealed_bytes - done * stride;
        gcm_chunk_nonce(&row, done, nonce);
        if (!gcm_open(key, nonce, sealed + done * stride, rest < stride ? rest : stride,
                      plain + done * chunk_bytes)) {
            wipe(plain + done * chunk_bytes, plain_bytes - done * chunk_bytes);
            return done;
        }
    }
    return chunks;
}

int sha256_blocks(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks, size_t block_bytes,
                  size_t count, uint8_t *digests, const uint8_t *soon)
{
    for (size_t i = 0; count && sha256s[i]; i++) { /* each takes what the one before left */
        size_t done = sha256s[i]->hash(salt, blocks, block_bytes, count, digests, soon);
        blocks += done * block_bytes;
        digests += done * SHA256_BYTES;
        count -= done;
        if (soon)
            soon += done * block_bytes;
    }
    return count == 0;
}

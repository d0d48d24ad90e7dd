/* What benchmarks call without Python in between. Built when a benchmark starts, from this file and
 * native/src: OpenSSL is called by the very code of our portable path, and the floor of a range by
 * the very functions that open one. */
#define _GNU_SOURCE

#include "gcm.h"
#include "sha256.h"
#include "libcrypto.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define LEAF_BYTES 4096

/* ---- the clock */

#define ADDS (1 << 14)

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Each addition waits for the one before: one cycle each. Of two registers, because some cores add
 * small constants while renaming, several in one cycle. */
static uint64_t time_of_adds(void)
{
    uint64_t sum = 0, step = 1, started = nanoseconds();
    for (int i = 0; i < ADDS / 64; i++)
#if defined(__x86_64__)
        __asm__ volatile(".rept 64\n\tadd %1, %0\n\t.endr" : "+r"(sum) : "r"(step) : "cc");
#elif defined(__aarch64__)
        __asm__ volatile(".rept 64\n\tadd %0, %0, %1\n\t.endr" : "+r"(sum) : "r"(step));
#else
#error "no dependent additions for this processor"
#endif
    return nanoseconds() - started;
}

/* Cycles a nanosecond: the best of three readings, as whatever disturbs one makes it slower. */
EXPORT double bench_clock(void)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        uint64_t took = time_of_adds();
        best = took < best ? took : best;
    }
    return (double)ADDS / (double)best;
}

/* ---- the ports */

#define ROUNDS (1 << 13)

/* VAESENC a nanosecond, of eight that wait for nobody: one a cycle where this core is ours alone
 * (Intel, 512 bits, port 0), less while its other hardware thread computes. 0 where there is no such
 * instruction. What a dependent addition waits for nobody else needs, so the clock does not tell. */
#if defined(__x86_64__)
__attribute__((target("avx512f,vaes"))) static double rounds_per_nanosecond(void)
{
    uint64_t started = nanoseconds();
    for (int i = 0; i < ROUNDS / 64; i++)
        __asm__ volatile(".rept 8\n\t"
                         "vaesenc %%zmm8, %%zmm0, %%zmm0\n\tvaesenc %%zmm8, %%zmm1, %%zmm1\n\t"
                         "vaesenc %%zmm8, %%zmm2, %%zmm2\n\tvaesenc %%zmm8, %%zmm3, %%zmm3\n\t"
                         "vaesenc %%zmm8, %%zmm4, %%zmm4\n\tvaesenc %%zmm8, %%zmm5, %%zmm5\n\t"
                         "vaesenc %%zmm8, %%zmm6, %%zmm6\n\tvaesenc %%zmm8, %%zmm7, %%zmm7\n\t"
                         ".endr\n\tvzeroupper" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8");
    return (double)ROUNDS / (double)(nanoseconds() - started);
}

EXPORT double bench_ports(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vaes")
               ? rounds_per_nanosecond()
               : 0;
}
#else
EXPORT double bench_ports(void)
{
    return 0;
}
#endif

/* ---- chunks, a nonce each (C2SP chunked-encryption, AEAD usage), by any AES-256-GCM */

typedef int (*open_one)(void *, const uint8_t *, const uint8_t *, size_t, uint8_t *,
                        const uint8_t *);

static int open_each(open_one open, void *key, const uint8_t *base, size_t chunk_bytes,
                     const uint8_t *sealed, size_t sealed_bytes, uint8_t *plain)
{
    const gcm_chunks chunks = {base, 0, chunk_bytes};
    uint8_t nonce[GCM_NONCE_BYTES];
    for (size_t i = 0; sealed_bytes; i++) {
        gcm_chunk_nonce(&chunks, i, nonce);
        if (!open(key, nonce, sealed, chunk_bytes, plain, sealed + chunk_bytes))
            return 0;
        sealed += chunk_bytes + GCM_TAG_BYTES;
        sealed_bytes -= chunk_bytes + GCM_TAG_BYTES;
        plain += chunk_bytes;
    }
    return 1;
}

/* ---- our own kernels, without the Python face */

static gcm_key *own_key;

/* gcm, sha256: the kernels that the module chose, which may differ from what would be chosen now. */
EXPORT const char *bench_own_start(const uint8_t *key, const char *gcm, const char *sha256)
{
    const char *why = crypto_open(gcm, sha256);
    if (why)
        return why;
    gcm_free(own_key);
    own_key = gcm_new(key, GCM_OPEN);
    return own_key ? NULL : "no memory";
}

EXPORT int bench_own_open(const uint8_t *base, size_t chunk_bytes, const uint8_t *sealed,
                          size_t sealed_bytes, uint8_t *plain)
{
    return gcm_open_chunks(own_key, base, 0, chunk_bytes, sealed, sealed_bytes, plain)
           == sealed_bytes / (chunk_bytes + GCM_TAG_BYTES);
}

/* ---- the system's OpenSSL */

EXPORT const char *bench_evp_start(void)
{
    return libcrypto_open();
}

EXPORT void *bench_evp_key(const uint8_t *key)
{
    return gcm_libcrypto.schedule(key, GCM_OPEN);
}

EXPORT int bench_evp_open(void *key, const uint8_t *base, size_t chunk_bytes,
                          const uint8_t *sealed, size_t sealed_bytes, uint8_t *plain)
{
    return open_each(gcm_libcrypto.open, key, base, chunk_bytes, sealed, sealed_bytes, plain);
}

static const uint8_t ZERO_SALT[SHA256_SALT_BYTES];

EXPORT int bench_evp_leaves(const uint8_t *data, size_t leaves, uint8_t *digests)
{
    return sha256_libcrypto.hash(ZERO_SALT, data, LEAF_BYTES, leaves, digests, NULL) == leaves;
}

/* ---- Intel's libipsec-mb, by its direct functions for AES-256-GCM (intel-ipsec-mb.h, 1.x) */

typedef void (*ipsec_schedule)(const void *key, void *scheduled);
typedef void (*ipsec_open)(const void *scheduled, void *context, uint8_t *plain,
                           const uint8_t *sealed, uint64_t bytes, const uint8_t *nonce,
                           const uint8_t *aad, uint64_t aad_bytes, uint8_t *tag,
                           uint64_t tag_bytes);

static struct {
    ipsec_schedule schedule;
    ipsec_open open;
    uint8_t scheduled[4096] __attribute__((aligned(64))); /* 1008 of them in 1.3 */
    uint8_t context[1024] __attribute__((aligned(64)));
} ipsec;

static int ipsec_find(void *library, const char *schedule, const char *open)
{
    void *found[] = {dlsym(library, schedule), dlsym(library, open)};
    memcpy(&ipsec.schedule, &found[0], sizeof found[0]);
    memcpy(&ipsec.open, &found[1], sizeof found[1]);
    return found[0] && found[1];
}

/* NULL, or why not. wide: whether this processor runs its kernel for AVX-512 and VAES. */
EXPORT const char *bench_ipsec_start(const uint8_t *key, int wide)
{
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "not installed: apt-get install libipsec-mb1";
    if (!(wide && ipsec_find(library, "aes_gcm_pre_256_vaes_avx512", "aes_gcm_dec_256_vaes_avx512"))
        && !ipsec_find(library, "aes_gcm_pre_256_avx_gen4", "aes_gcm_dec_256_avx_gen4"))
        return "this version has other functions than 1.3";
    ipsec.schedule(key, ipsec.scheduled);
    return NULL;
}

static int ipsec_open_one(void *key, const uint8_t *nonce, const uint8_t *sealed, size_t bytes,
                          uint8_t *plain, const uint8_t *tag)
{
    uint8_t seen[GCM_TAG_BYTES];
    ipsec.open(key, ipsec.context, plain, sealed, bytes, nonce, nonce, 0, seen, sizeof seen);
    return !memcmp(seen, tag, sizeof seen);
}

EXPORT int bench_ipsec_open(const uint8_t *base, size_t chunk_bytes, const uint8_t *sealed,
                            size_t sealed_bytes, uint8_t *plain)
{
    return open_each(ipsec_open_one, ipsec.scheduled, base, chunk_bytes, sealed, sealed_bytes,
                     plain);
}

/* ---- the floor of a range: five pages read, five leaves hashed, one chunk opened */

#define PAGES 5
#define CHUNK_BYTES 16384

/* offset: of the chunk's first page. start: of the chunk in there. digests: what the pages have. */
typedef struct {
    int64_t offset;
    uint64_t start;
    uint8_t nonce[GCM_NONCE_BYTES];
    uint8_t digests[PAGES * SHA256_BYTES];
} place;

static int open_place(int fd, const place *at)
{
    static uint8_t pages[PAGES * LEAF_BYTES] __attribute__((aligned(4096)));
    static uint8_t plain[CHUNK_BYTES] __attribute__((aligned(4096)));
    uint8_t seen[sizeof at->digests];
    return pread(fd, pages, sizeof pages, at->offset) == sizeof pages
           && sha256_blocks(ZERO_SALT, pages, LEAF_BYTES, PAGES, seen, NULL)
           && constant_time_equal(seen, at->digests, sizeof seen)
           && gcm_open(own_key, at->nonce, pages + at->start, CHUNK_BYTES + GCM_TAG_BYTES, plain);
}

EXPORT int bench_floor(int fd, const place *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!open_place(fd, &places[i]))
            return 0;
    return 1;
}

/* SHA-256 of two blocks at once with the SHA extensions: one stream's waits are the other's work.
 * A block that is left over goes alone, which takes six tenths of a pair's time.
 *
 * Intel SDM, SHA256RNDS2: the state is kept as ABEF and CDGH. The instructions have no VEX form, so
 * this file is built without AVX; callers leave the upper halves of vector registers clean. */
#include "cpu.h"
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#define STREAMS 2 /* at most */

typedef struct {
    __m128i abef, cdgh;
} state_t;

INLINE __m128i words(const uint8_t *from)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from), swap);
}

INLINE void start(state_t *state)
{
    const uint32_t *h = SHA256_START;
    state->abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
    state->cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
}

INLINE void finish(const state_t *state, uint8_t digest[SHA256_BYTES])
{
    uint32_t abef[4], cdgh[4];
    _mm_storeu_si128((__m128i *)abef, state->abef);
    _mm_storeu_si128((__m128i *)cdgh, state->cdgh);
    const uint32_t out[8] = {abef[3], abef[2], cdgh[3], cdgh[2], abef[1], abef[0], cdgh[1], cdgh[0]};
    for (int i = 0; i < 8; i++)
        sha256_put32(digest + 4 * i, out[i]);
}

/* One message block of each stream. m[s]: sixteen words of stream s. */
INLINE void compress(int streams, state_t state[STREAMS], __m128i m[STREAMS][4])
{
    state_t before[STREAMS];
    for (int s = 0; s < streams; s++)
        before[s] = state[s];
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) { /* four rounds each */
#pragma GCC unroll 2
        for (int s = 0; s < streams; s++) {
            __m128i *w = m[s];
            if (t >= 4) {
                __m128i later = _mm_alignr_epi8(w[(t + 3) % 4], w[(t + 2) % 4], 4);
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[t % 4], w[(t + 1) % 4]), later);
                w[t % 4] = _mm_sha256msg2_epu32(sum, w[(t + 3) % 4]);
            }
            __m128i k = _mm_loadu_si128((const __m128i *)(SHA256_K + 4 * t));
            __m128i wk = _mm_add_epi32(w[t % 4], k);
            state[s].cdgh = _mm_sha256rnds2_epu32(state[s].cdgh, state[s].abef, wk);
            state[s].abef = _mm_sha256rnds2_epu32(state[s].abef, state[s].cdgh,
                                                  _mm_shuffle_epi32(wk, 0x0E));
        }
    }
#pragma GCC unroll 2
    for (int s = 0; s < streams; s++) {
        state[s].abef = _mm_add_epi32(state[s].abef, before[s].abef);
        state[s].cdgh = _mm_add_epi32(state[s].cdgh, before[s].cdgh);
    }
}

INLINE void hash_streams(int streams, const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks,
                         size_t block_bytes, uint8_t *digests)
{
    state_t state[STREAMS];
    __m128i m[STREAMS][4];
    for (int s = 0; s < streams; s++) {
        const uint8_t *block = blocks + (size_t)s * block_bytes;
        start(&state[s]);
        m[s][0] = words(salt);
        m[s][1] = words(salt + 16);
        m[s][2] = words(block);
        m[s][3] = words(block + 16);
    }
    compress(streams, state, m);
    size_t at = SHA256_SALT_BYTES;
    for (; at + 64 <= block_bytes; at += 64) {
        for (int s = 0; s < streams; s++)
            for (int i = 0; i < 4; i++)
                m[s][i] = words(blocks + (size_t)s * block_bytes + at + 16 * (size_t)i);
        compress(streams, state, m);
    }
    uint64_t bits = (uint64_t)(SHA256_SALT_BYTES + block_bytes) << 3;
    for (int s = 0; s < streams; s++) {
        const uint8_t *rest = blocks + (size_t)s * block_bytes + at;
        m[s][0] = words(rest);
        m[s][1] = words(rest + 16);
        m[s][2] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
        m[s][3] = _mm_set_epi32((int)(uint32_t)bits, (int)(uint32_t)(bits >> 32), 0, 0);
    }
    compress(streams, state, m);
    for (int s = 0; s < streams; s++)
        finish(&state[s], digests + s * SHA256_BYTES);
}

TARGET static size_t hash(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks,
                          size_t block_bytes, size_t count, uint8_t *digests,
                          const uint8_t *soon)
{
    (void)soon;
    size_t done = 0;
    if (block_bytes % 64)
        return 0;
    for (; done + STREAMS <= count; done += STREAMS)
        hash_streams(STREAMS, salt, blocks + done * block_bytes, block_bytes,
                     digests + done * SHA256_BYTES);
    if (done < count)
        hash_streams(1, salt, blocks + done * block_bytes, block_bytes,
                     digests + done * SHA256_BYTES);
    return count;
}

const sha256_kernel sha256_ni = {"ni", cpu_has_sha, hash};

#else

const sha256_kernel sha256_ni = {"ni", cpu_never, NULL};
#endif

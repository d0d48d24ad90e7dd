/* SHA-256 of sixteen blocks at once, one in each dword lane of AVX-512 registers.
 *
 * FIPS 180-4, section 6.2.2. A message is salt || block: 32 bytes of salt put the block's words half
 * a message block late, so a block of 4096 bytes takes 65 compressions. */
#include "cpu.h"
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#define LANES 16
#define WORDS 16         /* of a message block */
#define HALF 8           /* words of the salt */
#define PREFETCH_T1_BYTES 4096

INLINE __m512i xor3(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

INLINE __m512i choose(__m512i e, __m512i f, __m512i g)
{
    return _mm512_ternarylogic_epi32(e, f, g, 0xCA);
}

INLINE __m512i majority(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi32(a, b, c, 0xE8);
}

INLINE __m512i add(__m512i a, __m512i b)
{
    return _mm512_add_epi32(a, b);
}

INLINE __m512i sum0(__m512i a)
{
    return xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));
}

INLINE __m512i sum1(__m512i e)
{
    return xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25));
}

INLINE __m512i sigma0(__m512i w)
{
    return xor3(_mm512_ror_epi32(w, 7), _mm512_ror_epi32(w, 18), _mm512_srli_epi32(w, 3));
}

INLINE __m512i sigma1(__m512i w)
{
    return xor3(_mm512_ror_epi32(w, 17), _mm512_ror_epi32(w, 19), _mm512_srli_epi32(w, 10));
}

INLINE void compress(__m512i state[8], __m512i w[WORDS])
{
    __m512i a = state[0], b = state[1], c = state[2], d = state[3];
    __m512i e = state[4], f = state[5], g = state[6], h = state[7];
#pragma GCC unroll 64
    for (int t = 0; t < 64; t++) {
        if (t >= WORDS)
            w[t % 16] = add(add(w[t % 16], sigma0(w[(t + 1) % 16])),
                            add(w[(t + 9) % 16], sigma1(w[(t + 14) % 16])));
        __m512i k = _mm512_set1_epi32((int)SHA256_K[t]);
        __m512i t1 = add(add(add(h, k), w[t % 16]), add(sum1(e), choose(e, f, g)));
        h = g;
        g = f;
        f = e;
        e = add(d, t1);
        d = c;
        __m512i t2 = add(sum0(a), majority(a, b, c));
        c = b;
        b = a;
        a = add(t1, t2);
    }
    state[0] = add(state[0], a);
    state[1] = add(state[1], b);
    state[2] = add(state[2], c);
    state[3] = add(state[3], d);
    state[4] = add(state[4], e);
    state[5] = add(state[5], f);
    state[6] = add(state[6], g);
    state[7] = add(state[7], h);
}

/* Rows become columns: in[lane] holds 16 words of one lane, out[word] one word of 16 lanes. */
INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* The words `mask` selects of one message block in each lane, big-endian; others are zero. */
INLINE void load(__m512i w[WORDS], const uint8_t *const lanes[LANES], ptrdiff_t at, __mmask16 mask)
{
    const __m512i swap = _mm512_broadcast_i32x4(
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        w[i] = _mm512_shuffle_epi8(_mm512_maskz_loadu_epi32(mask, lanes[i] + at), swap);
        _mm_prefetch((const char *)lanes[i] + at + 16 * PREFETCH_T1_BYTES, _MM_HINT_T1);
    }
    transpose(w);
}

TARGET static void sixteen(const uint8_t salt[SHA256_SALT_BYTES],
                           const uint8_t *const lanes[LANES], size_t block_bytes,
                           uint8_t *const digests[LANES])
{
    __m512i state[8], w[WORDS];
    for (int i = 0; i < 8; i++)
        state[i] = _mm512_set1_epi32((int)SHA256_START[i]);
    /* masked-off words are not touched, so the address before the block is never read */
    load(w, lanes, -SHA256_SALT_BYTES, 0xFF00);
    for (int i = 0; i < HALF; i++)
        w[i] = _mm512_set1_epi32((int)sha256_get32(salt + 4 * i));
    compress(state, w);
    size_t at = SHA256_SALT_BYTES;
    for (; at + 64 <= block_bytes; at += 64) {
        load(w, lanes, (ptrdiff_t)at, 0xFFFF);
        compress(state, w);
    }
    load(w, lanes, (ptrdiff_t)at, 0x00FF);
    w[8] = _mm512_set1_epi32((int)0x80000000);
    w[14] = _mm512_set1_epi32((int)((uint64_t)(SHA256_SALT_BYTES + block_bytes) >> 29));
    w[15] = _mm512_set1_epi32((int)((SHA256_SALT_BYTES + block_bytes) << 3));
    compress(state, w);
    uint32_t words[8][LANES];
    for (int i = 0; i < 8; i++)
        _mm512_storeu_si512(words[i], state[i]);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 8; i++)
            sha256_put32(digests[lane] + 4 * i, words[i][lane]);
}

/* From so many blocks on sixteen lanes are faster than the SHA extensions, though some are idle. */
#define WORTH 9

static size_t hash(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks,
                   size_t block_bytes, size_t count, uint8_t *digests)
{
    const uint8_t *lanes[LANES];
    uint8_t *outs[LANES];
    size_t done = 0;
    if (block_bytes % 64)
        return 0;
    while (count - done >= WORTH) {
        size_t here = count - done < LANES ? count - done : LANES;
        for (size_t i = 0; i < LANES; i++) { /* idle lanes repeat the last block */
            size_t lane = done + (i < here ? i : here - 1);
            lanes[i] = blocks + lane * block_bytes;
            outs[i] = digests + lane * SHA256_BYTES;
        }
        sixteen(salt, lanes, block_bytes, outs);
        done += here;
    }
    return done;
}

const sha256_kernel sha256_x16 = {"x16", cpu_has_avx512, hash};

#else

const sha256_kernel sha256_x16 = {"x16", cpu_never, NULL};
#endif

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

/* One instruction, kept where it stands: the order of the source is the schedule. Rotates and
 * shifts can go to one port only, all else to two; spread like this both are busy (found by trying
 * many orders). Left to itself, the compiler puts them in bunches and is 4 % slower. */
#define STEP(variable, value)                                                                      \
    variable = (value);                                                                            \
    __asm__ volatile("" : "+v"(variable))
#define NEW(variable, value) __m512i STEP(variable, value)
#define IF_MORE(variable, value)                                                                   \
    if (more) {                                                                                    \
        STEP(variable, value);                                                                     \
    }

/* FIPS 180-4, section 6.2.2, step 3; if `more`, step 1 for the round sixteen later among it. */
INLINE void one_round(__m512i s[8], __m512i w[WORDS], int t, int more)
{
    const __m512i a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    const __m512i w1 = w[(t + 1) % WORDS], w9 = w[(t + 9) % WORDS], w14 = w[(t + 14) % WORDS];
    __m512i w1_7, w1_18, w1_3, w14_17, w14_19, w14_10, next_w, sigma1;
    IF_MORE(w1_7, _mm512_ror_epi32(w1, 7))
    NEW(t1, add(h, _mm512_set1_epi32((int)SHA256_K[t])));
    IF_MORE(w1_3, _mm512_srli_epi32(w1, 3))
    IF_MORE(w1_18, _mm512_ror_epi32(w1, 18))
    STEP(t1, add(t1, w[t % WORDS]));
    NEW(e6, _mm512_ror_epi32(e, 6));
    NEW(e11, _mm512_ror_epi32(e, 11));
    NEW(choice, choose(e, f, g));
    NEW(e25, _mm512_ror_epi32(e, 25));
    NEW(sum1, xor3(e6, e11, e25));
    IF_MORE(next_w, xor3(w1_7, w1_18, w1_3))
    IF_MORE(w14_10, _mm512_srli_epi32(w14, 10))
    STEP(t1, add(t1, choice));
    IF_MORE(w14_17, _mm512_ror_epi32(w14, 17))
    IF_MORE(next_w, add(next_w, w[t % WORDS]))
    STEP(t1, add(t1, sum1));
    IF_MORE(w14_19, _mm512_ror_epi32(w14, 19))
    IF_MORE(sigma1, xor3(w14_17, w14_19, w14_10))
    NEW(a2, _mm512_ror_epi32(a, 2));
    NEW(a13, _mm512_ror_epi32(a, 13));
    NEW(a22, _mm512_ror_epi32(a, 22));
    NEW(t2, xor3(a2, a13, a22));
    IF_MORE(sigma1, add(sigma1, w9))
    IF_MORE(w[t % WORDS], add(next_w, sigma1))
    NEW(most, majority(a, b, c));
    STEP(t2, add(t2, most));
    NEW(next_a, add(t1, t2));
    NEW(next_e, add(d, t1));
    s[7] = g, s[6] = f, s[5] = e, s[4] = next_e;
    s[3] = c, s[2] = b, s[1] = a, s[0] = next_a;
}

/* A message block of each lane is turned so that a register holds one word of every lane: rows
 * become columns, sixteen by sixteen. That goes to one port alone, so it is cut into steps, done among
 * the last rounds of the block before, which have no more words to make and leave that port idle. */
typedef struct {
    __m512i words[WORDS];    /* of the sixteen lanes, one each */
    __m512i quarters[LANES]; /* 4 * j + m: words 4j to 4j + 3 of lanes m, m + 4, m + 8, m + 12 */
    const uint8_t *const *lanes;
    ptrdiff_t at;    /* where in each lane's data the message block begins */
    __mmask16 mask;  /* which of its words are data; others are zero, and not touched */
    uintptr_t ahead; /* how far behind that lies what is wanted soon */
} message;

#define STEPS 16

INLINE __m512i row(const message *m, int lane)
{
    const uint8_t *from = m->lanes[lane] + m->at;
    _mm_prefetch((const char *)((uintptr_t)from + m->ahead), _MM_HINT_T1);
    return _mm512_maskz_loadu_epi32(m->mask, from);
}

/* The even quarters of both, or the odd ones. */
INLINE __m512i quarters_of(__m512i a, __m512i b, int odd)
{
    return odd ? _mm512_shuffle_i32x4(a, b, 0xdd) : _mm512_shuffle_i32x4(a, b, 0x88);
}

INLINE void gather(message *m, int lane, int odd)
{
    NEW(left, quarters_of(row(m, lane), row(m, lane + 4), odd));
    NEW(right, quarters_of(row(m, lane + 8), row(m, lane + 12), odd));
    m->quarters[4 * odd + lane] = quarters_of(left, right, 0);
    m->quarters[4 * odd + lane + 8] = quarters_of(left, right, 1);
}

INLINE __m512i words_of(__m512i a, __m512i b, int upper)
{
    return upper ? _mm512_unpackhi_epi32(a, b) : _mm512_unpacklo_epi32(a, b);
}

/* Two words, and their bytes in our order. */
INLINE void spread(message *m, int quarter, int upper)
{
    const __m512i swap = _mm512_broadcast_i32x4(
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    const __m512i *q = m->quarters + 4 * quarter;
    __m512i *words = m->words + 4 * quarter + 2 * upper;
    NEW(left, words_of(q[0], q[1], upper));
    NEW(right, words_of(q[2], q[3], upper));
    words[0] = _mm512_shuffle_epi8(_mm512_unpacklo_epi64(left, right), swap);
    words[1] = _mm512_shuffle_epi8(_mm512_unpackhi_epi64(left, right), swap);
}

INLINE void one_step(message *m, int step)
{
    if (step < STEPS / 2)
        gather(m, step / 2, step % 2);
    else
        spread(m, (step - STEPS / 2) / 2, step % 2);
}

/* Of the words `w`; meanwhile the next ones are made. */
INLINE void compress(__m512i state[8], __m512i w[WORDS], message *next)
{
    __m512i s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        s[i] = state[i];
#pragma GCC unroll 64
    for (int t = 0; t < 64; t++) {
        one_round(s, w, t, t + WORDS < 64);
        if (t >= 64 - STEPS)
            one_step(next, t - (64 - STEPS));
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        state[i] = add(state[i], s[i]);
}

/* The first message block: the salt, and as much of the data as goes behind it. */
INLINE void begin(message *m, const uint8_t salt[SHA256_SALT_BYTES])
{
    m->at = -SHA256_SALT_BYTES; /* nothing in front of the data is touched */
    m->mask = 0xFF00;
#pragma GCC unroll 16
    for (int i = 0; i < STEPS; i++)
        one_step(m, i);
    for (int i = 0; i < HALF; i++)
        m->words[i] = _mm512_set1_epi32((int)sha256_get32(salt + 4 * i));
}

/* FIPS 180-4, section 5.1.1, into the second half of the last message block. */
INLINE void pad(__m512i w[WORDS], size_t block_bytes)
{
    const uint64_t bytes = SHA256_SALT_BYTES + block_bytes;
    w[8] = _mm512_set1_epi32((int)0x80000000);
    w[14] = _mm512_set1_epi32((int)(bytes >> 29));
    w[15] = _mm512_set1_epi32((int)(bytes << 3));
}

TARGET static void sixteen(const uint8_t salt[SHA256_SALT_BYTES],
                           const uint8_t *const lanes[LANES], size_t block_bytes,
                           uint8_t *const digests[LANES], uintptr_t ahead)
{
    const ptrdiff_t end = (ptrdiff_t)block_bytes;
    __m512i state[8], w[WORDS];
    message m;
    m.lanes = lanes;
    m.ahead = ahead;
    for (int i = 0; i < 8; i++)
        state[i] = _mm512_set1_epi32((int)SHA256_START[i]);
    begin(&m, salt);
    while (m.at < end) {
#pragma GCC unroll 16
        for (int i = 0; i < WORDS; i++)
            w[i] = m.words[i];
        m.at += 64;
        m.mask = m.at + 64 <= end ? 0xFFFF : m.at < end ? 0x00FF : 0;
        if (!m.mask)
            pad(w, block_bytes);
        compress(state, w, &m);
    }
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
                   size_t block_bytes, size_t count, uint8_t *digests, const uint8_t *soon)
{
    const uintptr_t ahead = soon ? (uintptr_t)soon - (uintptr_t)blocks : LANES * block_bytes;
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
        sixteen(salt, lanes, block_bytes, outs, ahead);
        done += here;
    }
    return done;
}

const sha256_kernel sha256_x16 = {"x16", cpu_has_avx512, hash};

#else

const sha256_kernel sha256_x16 = {"x16", cpu_never, NULL};
#endif

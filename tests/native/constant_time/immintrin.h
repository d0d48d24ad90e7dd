/* The vector instructions of our AES-256-GCM kernels, spelled out in plain C.
 *
 * valgrind runs no AVX-512. Compiled against this header instead of the compiler's, the kernels run
 * as ordinary code, in which memcheck follows every bit of a secret. Nothing here branches on data
 * or uses it as an index, so whatever memcheck finds stands in the kernel.
 *
 * Intel Intrinsics Guide for each name; FIPS 197 for the rounds of AES. */
#ifndef MODEL_IMMINTRIN_H
#define MODEL_IMMINTRIN_H

#include <stdint.h>
#include <string.h>

#define MODEL static inline __attribute__((unused))

typedef struct {
    uint8_t b[16];
} __m128i;
typedef struct {
    __m128i l[2];
} __m256i;
typedef struct {
    __m128i l[4];
} __m512i;
typedef uint64_t __mmask64;

/* ---- one lane */

MODEL __m128i _mm_setzero_si128(void)
{
    __m128i r;
    memset(&r, 0, sizeof r);
    return r;
}

MODEL __m128i _mm_loadu_si128(const __m128i *from)
{
    __m128i r;
    memcpy(&r, from, sizeof r);
    return r;
}

MODEL void _mm_storeu_si128(__m128i *to, __m128i a)
{
    memcpy(to, &a, sizeof a);
}

#define _mm_load_si128 _mm_loadu_si128
#define _mm_store_si128 _mm_storeu_si128

MODEL uint64_t half(__m128i a, int high)
{
    uint64_t r;
    memcpy(&r, a.b + 8 * high, sizeof r);
    return r;
}

MODEL __m128i _mm_set_epi64x(long long high, long long low)
{
    __m128i r;
    memcpy(r.b, &low, sizeof low);
    memcpy(r.b + 8, &high, sizeof high);
    return r;
}

MODEL __m128i _mm_set_epi32(int d, int c, int b, int a)
{
    const int words[4] = {a, b, c, d};
    __m128i r;
    memcpy(&r, words, sizeof r);
    return r;
}

#define _mm_set_epi8(p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a)                               \
    ((__m128i){{(uint8_t)(a), (uint8_t)(b), (uint8_t)(c), (uint8_t)(d), (uint8_t)(e),              \
                (uint8_t)(f), (uint8_t)(g), (uint8_t)(h), (uint8_t)(i), (uint8_t)(j),              \
                (uint8_t)(k), (uint8_t)(l), (uint8_t)(m), (uint8_t)(n), (uint8_t)(o),              \
                (uint8_t)(p)}})

#define BYTEWISE(name, expression)                                                                 \
    MODEL __m128i name(__m128i a, __m128i b)                                                       \
    {                                                                                              \
        __m128i r;                                                                                 \
        for (int i = 0; i < 16; i++)                                                               \
            r.b[i] = (uint8_t)(expression);                                                        \
        return r;                                                                                  \
    }

BYTEWISE(_mm_xor_si128, a.b[i] ^ b.b[i])
BYTEWISE(_mm_and_si128, a.b[i] & b.b[i])
BYTEWISE(_mm_or_si128, a.b[i] | b.b[i])
/* The indices are constants of the kernels. */
BYTEWISE(_mm_shuffle_epi8, b.b[i] & 0x80 ? 0 : a.b[b.b[i] & 15])

MODEL __m128i _mm_slli_epi64(__m128i a, int bits)
{
    return _mm_set_epi64x((long long)(half(a, 1) << bits), (long long)(half(a, 0) << bits));
}

MODEL __m128i _mm_srli_epi64(__m128i a, int bits)
{
    return _mm_set_epi64x((long long)(half(a, 1) >> bits), (long long)(half(a, 0) >> bits));
}

MODEL __m128i _mm_sub_epi64(__m128i a, __m128i b)
{
    return _mm_set_epi64x((long long)(half(a, 1) - half(b, 1)),
                          (long long)(half(a, 0) - half(b, 0)));
}

MODEL __m128i _mm_unpackhi_epi64(__m128i a, __m128i b)
{
    return _mm_set_epi64x((long long)half(b, 1), (long long)half(a, 1));
}

MODEL __m128i _mm_slli_si128(__m128i a, int bytes)
{
    __m128i r = _mm_setzero_si128();
    memcpy(r.b + bytes, a.b, (size_t)(16 - bytes));
    return r;
}

MODEL __m128i _mm_shuffle_epi32(__m128i a, int order)
{
    __m128i r;
    for (int i = 0; i < 4; i++)
        memcpy(r.b + 4 * i, a.b + 4 * (order >> 2 * i & 3), 4);
    return r;
}

MODEL __m128i _mm_add_epi32(__m128i a, __m128i b)
{
    uint32_t x[4], y[4];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 4; i++)
        x[i] += y[i];
    memcpy(&a, x, sizeof x);
    return a;
}

MODEL __m128i _mm_clmulepi64_si128(__m128i a, __m128i b, int which)
{
    uint64_t x = half(a, which & 1), y = half(b, which >> 4 & 1), low = 0, high = 0;
    for (int i = 0; i < 64; i++) {
        uint64_t bit = (uint64_t)0 - (y >> i & 1);
        low ^= x << i & bit;
        high ^= (i ? x >> (64 - i) : 0) & bit;
    }
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* ---- AES, FIPS 197 sections 4.2 and 5.1 */

MODEL uint8_t times_two(uint8_t a)
{
    return (uint8_t)(a << 1 ^ (0x1B & (0 - (a >> 7))));
}

MODEL uint8_t field_multiply(uint8_t a, uint8_t b)
{
    uint8_t r = 0;
    for (int i = 0; i < 8; i++) {
        r = (uint8_t)(r ^ (a & (0 - (b >> i & 1))));
        a = times_two(a);
    }
    return r;
}

MODEL uint8_t turn(uint8_t a, int bits)
{
    return (uint8_t)(a << bits | a >> (8 - bits));
}

/* The inverse is the 254th power: no table that a secret could index. */
MODEL uint8_t substitute(uint8_t a)
{
    uint8_t square = a, inverse = 1;
    for (int i = 0; i < 7; i++) {
        square = field_multiply(square, square);
        inverse = field_multiply(inverse, square);
    }
    return (uint8_t)(inverse ^ turn(inverse, 1) ^ turn(inverse, 2) ^ turn(inverse, 3)
                     ^ turn(inverse, 4) ^ 0x63);
}

MODEL __m128i _mm_aesenclast_si128(__m128i a, __m128i key)
{
    __m128i r;
    for (int i = 0; i < 16; i++)
        r.b[i] = substitute(a.b[(i + 4 * (i % 4)) % 16]);
    return _mm_xor_si128(r, key);
}

MODEL __m128i _mm_aesenc_si128(__m128i a, __m128i key)
{
    __m128i s = _mm_aesenclast_si128(a, _mm_setzero_si128()), r;
    for (int i = 0; i < 16; i++) {
        const uint8_t *column = s.b + i / 4 * 4;
        uint8_t all = (uint8_t)(column[0] ^ column[1] ^ column[2] ^ column[3]);
        uint8_t pair = (uint8_t)(column[i % 4] ^ column[(i + 1) % 4]);
        r.b[i] = (uint8_t)(s.b[i] ^ all ^ times_two(pair));
    }
    return _mm_xor_si128(r, key);
}

MODEL __m128i _mm_aeskeygenassist_si128(__m128i a, int rcon)
{
    __m128i r;
    for (int i = 0; i < 4; i++) {
        r.b[i] = substitute(a.b[4 + i]);
        r.b[8 + i] = substitute(a.b[12 + i]);
    }
    for (int i = 0; i < 4; i++) {
        r.b[4 + i] = (uint8_t)(r.b[(i + 1) % 4] ^ (i ? 0 : rcon));
        r.b[12 + i] = (uint8_t)(r.b[8 + (i + 1) % 4] ^ (i ? 0 : rcon));
    }
    return r;
}

/* ---- two and four lanes, each as one */

#define LANEWISE2(name, type, lanes, one)                                                          \
    MODEL type name(type a, type b)                                                                \
    {                                                                                              \
        for (int i = 0; i < lanes; i++)                                                            \
            a.l[i] = one(a.l[i], b.l[i]);                                                          \
        return a;                                                                                  \
    }
#define LANEWISE(name256, name512, one)                                                            \
    LANEWISE2(name256, __m256i, 2, one)                                                            \
    LANEWISE2(name512, __m512i, 4, one)

LANEWISE(_mm256_xor_si256, _mm512_xor_si512, _mm_xor_si128)
LANEWISE(_mm256_add_epi32, _mm512_add_epi32, _mm_add_epi32)
LANEWISE(_mm256_shuffle_epi8, _mm512_shuffle_epi8, _mm_shuffle_epi8)
LANEWISE(_mm256_aesenc_epi128, _mm512_aesenc_epi128, _mm_aesenc_si128)
LANEWISE(_mm256_aesenclast_epi128, _mm512_aesenclast_epi128, _mm_aesenclast_si128)

MODEL __m256i _mm256_clmulepi64_epi128(__m256i a, __m256i b, int which)
{
    for (int i = 0; i < 2; i++)
        a.l[i] = _mm_clmulepi64_si128(a.l[i], b.l[i], which);
    return a;
}

MODEL __m512i _mm512_clmulepi64_epi128(__m512i a, __m512i b, int which)
{
    for (int i = 0; i < 4; i++)
        a.l[i] = _mm_clmulepi64_si128(a.l[i], b.l[i], which);
    return a;
}

MODEL __m256i _mm256_shuffle_epi32(__m256i a, int order)
{
    for (int i = 0; i < 2; i++)
        a.l[i] = _mm_shuffle_epi32(a.l[i], order);
    return a;
}

MODEL __m512i _mm512_shuffle_epi32(__m512i a, int order)
{
    for (int i = 0; i < 4; i++)
        a.l[i] = _mm_shuffle_epi32(a.l[i], order);
    return a;
}

MODEL __m256i _mm256_setzero_si256(void)
{
    return (__m256i){{_mm_setzero_si128(), _mm_setzero_si128()}};
}

MODEL __m512i _mm512_setzero_si512(void)
{
    __m512i r;
    memset(&r, 0, sizeof r);
    return r;
}

MODEL __m256i _mm256_broadcastsi128_si256(__m128i a)
{
    return (__m256i){{a, a}};
}

MODEL __m512i _mm512_broadcast_i32x4(__m128i a)
{
    return (__m512i){{a, a, a, a}};
}

MODEL __m256i _mm256_zextsi128_si256(__m128i a)
{
    return (__m256i){{a, _mm_setzero_si128()}};
}

MODEL __m512i _mm512_zextsi128_si512(__m128i a)
{
    __m512i r = _mm512_setzero_si512();
    r.l[0] = a;
    return r;
}

MODEL __m128i _mm256_castsi256_si128(__m256i a)
{
    return a.l[0];
}

MODEL __m128i _mm256_extracti128_si256(__m256i a, int lane)
{
    return a.l[lane];
}

MODEL __m128i _mm512_castsi512_si128(__m512i a)
{
    return a.l[0];
}

MODEL __m256i _mm512_castsi512_si256(__m512i a)
{
    return (__m256i){{a.l[0], a.l[1]}};
}

MODEL __m256i _mm512_extracti64x4_epi64(__m512i a, int upper)
{
    return (__m256i){{a.l[2 * upper], a.l[2 * upper + 1]}};
}

MODEL __m256i _mm256_set_epi32(int h, int g, int f, int e, int d, int c, int b, int a)
{
    return (__m256i){{_mm_set_epi32(d, c, b, a), _mm_set_epi32(h, g, f, e)}};
}

#define _mm512_set_epi32(p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a)                           \
    ((__m512i){{_mm_set_epi32(d, c, b, a), _mm_set_epi32(h, g, f, e), _mm_set_epi32(l, k, j, i),   \
                _mm_set_epi32(p, o, n, m)}})

MODEL __m256i _mm256_loadu_si256(const __m256i *from)
{
    __m256i r;
    memcpy(&r, from, sizeof r);
    return r;
}

MODEL void _mm256_storeu_si256(__m256i *to, __m256i a)
{
    memcpy(to, &a, sizeof a);
}

MODEL __m512i _mm512_loadu_si512(const void *from)
{
    __m512i r;
    memcpy(&r, from, sizeof r);
    return r;
}

MODEL void _mm512_storeu_si512(void *to, __m512i a)
{
    memcpy(to, &a, sizeof a);
}

/* Masks come from lengths, which are public; memcheck would say so if one did not. */
MODEL __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void *from)
{
    __m512i r = _mm512_setzero_si512();
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            r.l[i / 16].b[i % 16] = ((const uint8_t *)from)[i];
    return r;
}

MODEL __m512i _mm512_maskz_mov_epi8(__mmask64 mask, __m512i a)
{
    return _mm512_maskz_loadu_epi8(mask, &a);
}

MODEL void _mm512_mask_storeu_epi8(void *to, __mmask64 mask, __m512i a)
{
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            ((uint8_t *)to)[i] = a.l[i / 16].b[i % 16];
}

/* The one table that the kernels use. */
MODEL __m512i _mm512_ternarylogic_epi64(__m512i a, __m512i b, __m512i c, int table)
{
    _Static_assert(sizeof(table) == 4, "int");
    if (table != 0x96)
        __builtin_trap();
    return _mm512_xor_si512(_mm512_xor_si512(a, b), c);
}

#endif

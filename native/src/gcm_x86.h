/* What both VAES kernels do one block at a time: field arithmetic, key expansion.
 *
 * GHASH works on byte-reversed blocks with H multiplied by x, so that no bit is ever reflected
 * (Gueron and Kounavis, Intel carry-less multiplication white paper, revision 2.02). */
#ifndef SEALSERVE_GCM_X86_H
#define SEALSERVE_GCM_X86_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define XMM static inline __attribute__((always_inline, target("aes,pclmul,ssse3,sse4.1")))

#define ROUNDS 14
#define BLOCK 16

XMM __m128i reverse_block(__m128i block)
{
    return _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* Modulo x^128 + x^7 + x^2 + x + 1, reflected: twice 64 bits are folded by 0xC2 << 56. */
XMM __m128i reduce128(__m128i low, __m128i middle, __m128i high)
{
    const __m128i poly = _mm_set_epi64x((long long)0xC200000000000000ULL, 1);
    middle = _mm_xor_si128(middle, _mm_shuffle_epi32(low, 0x4E));
    middle = _mm_xor_si128(middle, _mm_clmulepi64_si128(poly, low, 0x01));
    high = _mm_xor_si128(high, _mm_shuffle_epi32(middle, 0x4E));
    return _mm_xor_si128(high, _mm_clmulepi64_si128(poly, middle, 0x01));
}

XMM __m128i multiply(__m128i x, __m128i h)
{
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(x, h, 0x01),
                                   _mm_clmulepi64_si128(x, h, 0x10));
    return reduce128(_mm_clmulepi64_si128(x, h, 0x00), middle, _mm_clmulepi64_si128(x, h, 0x11));
}

/* H * x, both byte-reversed. */
XMM __m128i times_x(__m128i h)
{
    const __m128i poly = _mm_set_epi64x((long long)0xC200000000000000ULL, 1);
    __m128i carries = _mm_srli_epi64(h, 63);
    __m128i shifted = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(carries, 8));
    /* all ones when the top bit fell out */
    __m128i mask = _mm_sub_epi64(_mm_setzero_si128(), _mm_unpackhi_epi64(carries, carries));
    return _mm_xor_si128(shifted, _mm_and_si128(mask, poly));
}

XMM __m128i spread(__m128i key)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 8));
}

#define EVEN_KEY(a, b, rcon)                                                                       \
    _mm_xor_si128(spread(a), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(b, rcon), 0xFF))
#define ODD_KEY(b, a) _mm_xor_si128(spread(b), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(a, 0), 0xAA))

/* FIPS 197, section 5.2, for 256 bits. */
XMM void expand(const uint8_t key[32], __m128i k[ROUNDS + 1])
{
    k[0] = _mm_loadu_si128((const __m128i *)key);
    k[1] = _mm_loadu_si128((const __m128i *)(key + 16));
    k[2] = EVEN_KEY(k[0], k[1], 0x01);
    k[3] = ODD_KEY(k[1], k[2]);
    k[4] = EVEN_KEY(k[2], k[3], 0x02);
    k[5] = ODD_KEY(k[3], k[4]);
    k[6] = EVEN_KEY(k[4], k[5], 0x04);
    k[7] = ODD_KEY(k[5], k[6]);
    k[8] = EVEN_KEY(k[6], k[7], 0x08);
    k[9] = ODD_KEY(k[7], k[8]);
    k[10] = EVEN_KEY(k[8], k[9], 0x10);
    k[11] = ODD_KEY(k[9], k[10]);
    k[12] = EVEN_KEY(k[10], k[11], 0x20);
    k[13] = ODD_KEY(k[11], k[12]);
    k[14] = EVEN_KEY(k[12], k[13], 0x40);
}

/* Block 1, which masks the tag, as a number: the text's counters follow. */
XMM __m128i first_counter(const uint8_t nonce[12])
{
    uint32_t words[3];
    memcpy(words, nonce, sizeof words);
    return reverse_block(_mm_set_epi32(0x01000000, (int)words[2], (int)words[1], (int)words[0]));
}

/* The lengths' block, the last multiplication, and the mask. */
XMM void finish_tag(__m128i hash, __m128i h, size_t bytes, __m128i mask, uint8_t tag[BLOCK])
{
    __m128i lengths = _mm_set_epi64x(0, (long long)((uint64_t)bytes << 3));
    hash = reverse_block(multiply(_mm_xor_si128(hash, lengths), h));
    _mm_storeu_si128((__m128i *)tag, _mm_xor_si128(hash, mask));
}

#endif

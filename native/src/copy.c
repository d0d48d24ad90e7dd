/* A copy that does not pass through the cache: what nobody reads soon need not be fetched before it
 * is overwritten, nor push out what is in use. */

#include "crypto.h"

#include <string.h>

#ifdef __x86_64__ /* where SSE2 is always there */

#include <emmintrin.h>

#define LINE 64 /* what memory takes at once, Intel 64 and IA-32 SDM volume 1, section 10.4.6.2 */

static void stream_line(uint8_t *to, const uint8_t *from)
{
    __m128i a = _mm_loadu_si128((const __m128i *)from);
    __m128i b = _mm_loadu_si128((const __m128i *)(from + 16));
    __m128i c = _mm_loadu_si128((const __m128i *)(from + 32));
    __m128i d = _mm_loadu_si128((const __m128i *)(from + 48));
    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)(to + 16), b);
    _mm_stream_si128((__m128i *)(to + 32), c);
    _mm_stream_si128((__m128i *)(to + 48), d);
}

void copy_past_cache(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t at = (LINE - (uintptr_t)to % LINE) % LINE;
    if (at > bytes)
        at = bytes;
    memcpy(to, from, at);
    for (; bytes - at >= LINE; at += LINE)
        stream_line(to + at, from + at);
    memcpy(to + at, from + at, bytes - at);
    _mm_sfence(); /* such stores are not ordered before later ones: others must not see those first */
}

#else

void copy_past_cache(uint8_t *to, const uint8_t *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

#endif

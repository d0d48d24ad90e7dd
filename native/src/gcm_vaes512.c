/* AES-256-GCM on AVX-512 with VAES and VPCLMULQDQ (NIST SP 800-38D). Thirty-two blocks are in
 * flight: eight registers of counters, each of four blocks, pass through fourteen rounds of AES
 * while the carry-less products of GHASH are formed between the rounds, so that both units of the
 * processor have work. Thirty-two products share one reduction.
 *
 * No branch and no address depends on key, text, tag or H. */
#include "gcm.h"

#include "cpu.h"

#if defined(__x86_64__)
#include "gcm_x86.h"

#include <stdlib.h>
#include <string.h>

#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmul,ssse3")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#define VECTOR 64        /* bytes: four blocks */
#define VECTORS 8        /* in flight */
#define GROUP (VECTORS * VECTOR)
#define POWERS 32        /* H^32 ... H^1: one per block of a group */

typedef struct {
    __m512i round_keys[ROUNDS + 1]; /* each four times */
    uint8_t powers[(POWERS + 3) * BLOCK] __attribute__((aligned(64))); /* then zeros */
} schedule;

typedef struct {
    __m512i low, middle, high;
} product;

INLINE __m512i reverse_bytes(__m512i blocks)
{
    return _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(_mm_set_epi8(
                                           0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

INLINE void multiply_add(product *sum, __m512i x, __m512i h)
{
    sum->low = _mm512_xor_si512(sum->low, _mm512_clmulepi64_epi128(x, h, 0x00));
    sum->middle = _mm512_ternarylogic_epi64(sum->middle, _mm512_clmulepi64_epi128(x, h, 0x01),
                                            _mm512_clmulepi64_epi128(x, h, 0x10), 0x96);
    sum->high = _mm512_xor_si512(sum->high, _mm512_clmulepi64_epi128(x, h, 0x11));
}

INLINE __m128i fold_lanes(__m512i v)
{
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE __m128i reduce(const product *sum)
{
    return reduce128(fold_lanes(sum->low), fold_lanes(sum->middle), fold_lanes(sum->high));
}

INLINE __m128i encrypt_block(const schedule *key, __m128i block)
{
    block = _mm_xor_si128(block, _mm512_castsi512_si128(key->round_keys[0]));
    for (int r = 1; r < ROUNDS; r++)
        block = _mm_aesenc_si128(block, _mm512_castsi512_si128(key->round_keys[r]));
    return _mm_aesenclast_si128(block, _mm512_castsi512_si128(key->round_keys[ROUNDS]));
}

/* Key material in vector registers and below the stack pointer goes with the key. */
TARGET __attribute__((noinline)) static void clear_traces(void)
{
    uint8_t frame[4096];
    wipe(frame, sizeof frame);
    __asm__ volatile("vzeroall" ::: "memory");
#define CLEAR(n) __asm__ volatile("vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n ::: "memory")
    CLEAR(16); CLEAR(17); CLEAR(18); CLEAR(19); CLEAR(20); CLEAR(21); CLEAR(22); CLEAR(23);
    CLEAR(24); CLEAR(25); CLEAR(26); CLEAR(27); CLEAR(28); CLEAR(29); CLEAR(30); CLEAR(31);
#undef CLEAR
}

TARGET static void *make_schedule(const uint8_t bytes[GCM_KEY_BYTES], gcm_direction direction)
{
    (void)direction; /* one schedule serves both */
    schedule *key = aligned_alloc(64, (sizeof *key + 63) / 64 * 64);
    if (!key)
        return NULL;
    __m128i k[ROUNDS + 1];
    expand(bytes, k);
    for (int i = 0; i <= ROUNDS; i++)
        key->round_keys[i] = _mm512_broadcast_i32x4(k[i]);
    memset(key->powers, 0, sizeof key->powers);
    __m128i h = times_x(reverse_block(encrypt_block(key, _mm_setzero_si128())));
    __m128i power = h;
    for (int i = POWERS - 1; i >= 0; i--) {
        _mm_store_si128((__m128i *)(key->powers + i * BLOCK), power);
        power = multiply(power, h);
    }
    clear_traces();
    return key;
}

static void forget(void *key)
{
    wipe(key, sizeof(schedule));
    free(key);
    clear_traces();
}

INLINE __m512i powers_from(const schedule *key, size_t block)
{
    return _mm512_loadu_si512(key->powers + block * BLOCK);
}

/* Keeps the compiler from moving work across this point: the order of the source is the schedule. */
#define HOLD(v)                                                                                    \
    __asm__("" : "+v"(v[0]), "+v"(v[1]), "+v"(v[2]), "+v"(v[3]), "+v"(v[4]), "+v"(v[5]),           \
                 "+v"(v[6]), "+v"(v[7]))

/* The key stream of the next 32 counters, but for the last round; meanwhile `hashed` goes into sum. */
INLINE void rounds_and_products(const schedule *key, __m512i *counter, __m512i state[VECTORS],
                                const __m512i hashed[VECTORS], __m128i carried, product *sum)
{
    const __m512i four = _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        state[i] = _mm512_xor_si512(reverse_bytes(*counter), key->round_keys[0]);
        *counter = _mm512_add_epi32(*counter, four);
    }
    HOLD(state);
#pragma GCC unroll 13
    for (int r = 1; r < ROUNDS; r++) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm512_aesenc_epi128(state[i], key->round_keys[r]);
        if (r <= VECTORS) {
            __m512i x = reverse_bytes(hashed[r - 1]);
            if (r == 1)
                x = _mm512_xor_si512(x, _mm512_zextsi128_si512(carried));
            multiply_add(sum, x, powers_from(key, 4 * (size_t)(r - 1)));
        }
        HOLD(state);
    }
}

INLINE void rounds(const schedule *key, __m512i *counter, __m512i state[VECTORS])
{
    const __m512i four = _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        state[i] = _mm512_xor_si512(reverse_bytes(*counter), key->round_keys[0]);
        *counter = _mm512_add_epi32(*counter, four);
    }
#pragma GCC unroll 13
    for (int r = 1; r < ROUNDS; r++)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm512_aesenc_epi128(state[i], key->round_keys[r]);
}

INLINE __m512i last_round(const schedule *key, __m512i state, __m512i text)
{
    return _mm512_aesenclast_epi128(state, _mm512_xor_si512(key->round_keys[ROUNDS], text));
}

INLINE __m128i hash_group(const schedule *key, const __m512i cipher[VECTORS], __m128i hash)
{
    product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        __m512i x = reverse_bytes(cipher[i]);
        if (i == 0)
            x = _mm512_xor_si512(x, _mm512_zextsi128_si512(hash));
        multiply_add(&sum, x, powers_from(key, 4 * (size_t)i));
    }
    return reduce(&sum);
}

/* The text begins with counter 2. */
INLINE __m512i text_counters(__m128i first)
{
    return _mm512_add_epi32(_mm512_broadcast_i32x4(first),
                            _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1));
}

/* Fewer than 512 bytes. */
INLINE __m128i tail(const schedule *key, __m512i counter, const uint8_t *from, size_t bytes,
                    uint8_t *to, int sealing, __m128i hash)
{
    __m512i state[VECTORS];
    rounds(key, &counter, state);
    size_t power = POWERS - (bytes + BLOCK - 1) / BLOCK;
    product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    __m512i carried = _mm512_zextsi128_si512(hash);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        if (!bytes)
            break;
        size_t here = bytes < VECTOR ? bytes : VECTOR;
        __mmask64 mask = ~0ULL >> (VECTOR - here);
        __m512i in = _mm512_maskz_loadu_epi8(mask, from);
        __m512i out = _mm512_maskz_mov_epi8(mask, last_round(key, state[i], in));
        _mm512_mask_storeu_epi8(to, mask, out);
        __m512i x = _mm512_xor_si512(reverse_bytes(sealing ? out : in), carried);
        carried = _mm512_setzero_si512();
        multiply_add(&sum, x, powers_from(key, power));
        from += here;
        to += here;
        bytes -= here;
        power += 4;
    }
    return reduce(&sum);
}

INLINE __m128i first_power(const schedule *key)
{
    return _mm_load_si128((const __m128i *)(key->powers + (POWERS - 1) * BLOCK));
}

TARGET static int open(void *schedule_of, const uint8_t nonce[GCM_NONCE_BYTES],
                       const uint8_t *cipher, size_t bytes, uint8_t *plain,
                       const uint8_t tag[BLOCK])
{
    const schedule *key = schedule_of;
    __m128i first = first_counter(nonce);
    __m512i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = _mm_setzero_si128();
    size_t rest = bytes;
    for (; rest >= GROUP; rest -= GROUP, cipher += GROUP, plain += GROUP) {
        __m512i state[VECTORS], text[VECTORS];
        product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            text[i] = _mm512_loadu_si512(cipher + VECTOR * i);
        rounds_and_products(key, &counter, state, text, hash, &sum);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            _mm512_storeu_si512(plain + VECTOR * i, last_round(key, state[i], text[i]));
        hash = reduce(&sum);
    }
    if (rest)
        hash = tail(key, counter, cipher, rest, plain, 0, hash);
    uint8_t seen[BLOCK];
    finish_tag(hash, first_power(key), bytes, mask, seen);
    return constant_time_equal(seen, tag, BLOCK);
}

TARGET static int seal(void *schedule_of, const uint8_t nonce[GCM_NONCE_BYTES],
                       const uint8_t *plain, size_t bytes, uint8_t *cipher, uint8_t tag[BLOCK])
{
    const schedule *key = schedule_of;
    __m128i first = first_counter(nonce);
    __m512i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = _mm_setzero_si128();
    size_t rest = bytes;
    if (rest >= GROUP) { /* each group is hashed while the next one is encrypted */
        __m512i state[VECTORS], text[VECTORS];
        rounds(key, &counter, state);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++) {
            text[i] = last_round(key, state[i], _mm512_loadu_si512(plain + VECTOR * i));
            _mm512_storeu_si512(cipher + VECTOR * i, text[i]);
        }
        rest -= GROUP, cipher += GROUP, plain += GROUP;
        for (; rest >= GROUP; rest -= GROUP, cipher += GROUP, plain += GROUP) {
            product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
            rounds_and_products(key, &counter, state, text, hash, &sum);
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; i++) {
                text[i] = last_round(key, state[i], _mm512_loadu_si512(plain + VECTOR * i));
                _mm512_storeu_si512(cipher + VECTOR * i, text[i]);
            }
            hash = reduce(&sum);
        }
        hash = hash_group(key, text, hash);
    }
    if (rest)
        hash = tail(key, counter, plain, rest, cipher, 1, hash);
    finish_tag(hash, first_power(key), bytes, mask, tag);
    return 1;
}

const gcm_kernel gcm_vaes512 = {"vaes512", cpu_has_vaes512, make_schedule, forget, seal, open};

#else

const gcm_kernel gcm_vaes512 = {"vaes512", cpu_never, NULL, NULL, NULL, NULL};
#endif

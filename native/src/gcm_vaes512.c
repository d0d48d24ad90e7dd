/* AES-256-GCM on AVX-512 with VAES and VPCLMULQDQ (NIST SP 800-38D). Thirty-two blocks are in
 * flight: eight registers of counters, each of four blocks, pass through fourteen rounds of AES
 * while the carry-less products of GHASH are formed between the rounds, so that both units of the
 * processor have work. Thirty-two products share one reduction; until the last of them each lane
 * hashes every fourth block for itself.
 *
 * Chunks in a row are one loop without a call in it, so that a chunk's tag is still computed while
 * the next one's first rounds are under way.
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
#define POWERS 32 /* H^32 ... H^1: one per block of a group */

typedef struct {
    __m512i round_keys[ROUNDS + 1]; /* each four times */
    uint8_t powers[(POWERS + 3) * BLOCK] __attribute__((aligned(64))); /* then zeros */
    __m512i strides[VECTORS]; /* H^32, H^28 ... H^4, each four times */
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

/* As reduce128, in each lane. */
INLINE __m512i reduce_lanes(const product *sum)
{
    const __m512i poly = _mm512_broadcast_i32x4(
        _mm_set_epi64x((long long)0xC200000000000000ULL, 1));
    __m512i middle = _mm512_ternarylogic_epi64(sum->middle, _mm512_shuffle_epi32(sum->low, 0x4E),
                                               _mm512_clmulepi64_epi128(poly, sum->low, 0x01), 0x96);
    return _mm512_ternarylogic_epi64(sum->high, _mm512_shuffle_epi32(middle, 0x4E),
                                     _mm512_clmulepi64_epi128(poly, middle, 0x01), 0x96);
}

INLINE __m512i multiply_lanes(__m512i x, __m512i h)
{
    product only = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    multiply_add(&only, x, h);
    return reduce_lanes(&only);
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

/* Each time as many more as there are: one after the other they would cost as much as a kilobyte
 * of text. */
INLINE void make_powers(schedule *key, __m128i h)
{
    __m128i h2 = multiply(h, h), h3 = multiply(h2, h), h4 = multiply(h2, h2);
    memset(key->powers, 0, sizeof key->powers);
    __m128i *last = (__m128i *)(key->powers + (POWERS - 4) * BLOCK);
    _mm_store_si128(last, h4);
    _mm_store_si128(last + 1, h3);
    _mm_store_si128(last + 2, h2);
    _mm_store_si128(last + 3, h);
    __m512i *powers = (__m512i *)key->powers, *strides = key->strides;
    strides[VECTORS - 1] = _mm512_broadcast_i32x4(h4);
    for (int n = 1; n < VECTORS; n *= 2)
        for (int i = VECTORS - n; i < VECTORS; i++) {
            powers[i - n] = multiply_lanes(powers[i], strides[VECTORS - n]);
            strides[i - n] = multiply_lanes(strides[i], strides[VECTORS - n]);
        }
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
    make_powers(key, times_x(reverse_block(encrypt_block(key, _mm_setzero_si128()))));
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
#define PRODUCTS_AFTER 2 /* rounds: what is hashed is ready by then, and the hash so far reduced */

/* The text begins with counter 2. */
INLINE __m512i text_counters(__m128i first)
{
    return _mm512_add_epi32(_mm512_broadcast_i32x4(first),
                            _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1));
}

/* The next 32 counters, with the first round key. */
INLINE void take_counters(const schedule *key, __m512i *counter, __m512i state[VECTORS])
{
    const __m512i four = _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        state[i] = _mm512_xor_si512(reverse_bytes(*counter), key->round_keys[0]);
        *counter = _mm512_add_epi32(*counter, four);
    }
}

/* The key stream of the next 32 counters, but for the last round; meanwhile `hash` is continued by
 * `hashed`, whose blocks meet these powers. */
INLINE __m512i rounds_and_products(const schedule *key, __m512i *counter, __m512i state[VECTORS],
                                   const __m512i hashed[VECTORS], __m512i hash,
                                   const __m512i powers[VECTORS])
{
    product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    take_counters(key, counter, state);
    HOLD(state);
#pragma GCC unroll 13
    for (int r = 1; r < ROUNDS; r++) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm512_aesenc_epi128(state[i], key->round_keys[r]);
        int i = r - 1 - PRODUCTS_AFTER;
        if (i >= 0 && i < VECTORS) {
            __m512i x = reverse_bytes(hashed[i]);
            multiply_add(&sum, i ? x : _mm512_xor_si512(x, hash), powers[i]);
        }
        HOLD(state);
    }
    return reduce_lanes(&sum);
}

INLINE void rounds(const schedule *key, __m512i *counter, __m512i state[VECTORS])
{
    take_counters(key, counter, state);
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

/* The last group's powers are those of its blocks, so that the lanes add up to the hash. */
INLINE const __m512i *last_powers(const schedule *key)
{
    return (const __m512i *)key->powers;
}

/* Fewer than 512 bytes. */
INLINE __m128i tail(const schedule *key, __m512i *counter, const uint8_t *from, size_t bytes,
                    uint8_t *to, int sealing, __m128i hash)
{
    __m512i state[VECTORS];
    rounds(key, counter, state);
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

/* All whole groups; what comes behind them are fewer than 512 bytes. */
INLINE __m128i open_groups(const schedule *key, __m512i *counter, const uint8_t *cipher,
                           size_t bytes, uint8_t *plain)
{
    __m512i lanes = _mm512_setzero_si512();
    for (; bytes >= GROUP; bytes -= GROUP, cipher += GROUP, plain += GROUP) {
        const __m512i *powers = bytes < 2 * GROUP ? last_powers(key) : key->strides;
        __m512i state[VECTORS], text[VECTORS];
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            text[i] = _mm512_loadu_si512(cipher + VECTOR * i);
        lanes = rounds_and_products(key, counter, state, text, lanes, powers);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            _mm512_storeu_si512(plain + VECTOR * i, last_round(key, state[i], text[i]));
    }
    return fold_lanes(lanes);
}

TARGET static int open(void *schedule_of, const uint8_t nonce[GCM_NONCE_BYTES],
                       const uint8_t *cipher, size_t bytes, uint8_t *plain,
                       const uint8_t tag[BLOCK])
{
    const schedule *key = schedule_of;
    const size_t rest = bytes % GROUP, whole = bytes - rest;
    __m128i first = first_counter(nonce);
    __m512i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = open_groups(key, &counter, cipher, whole, plain);
    if (rest)
        hash = tail(key, &counter, cipher + whole, rest, plain + whole, 0, hash);
    uint8_t seen[BLOCK];
    finish_tag(hash, first_power(key), bytes, mask, seen);
    return constant_time_equal(seen, tag, BLOCK);
}

INLINE int in_groups(const gcm_chunks *chunks)
{
    return chunks->bytes && chunks->bytes % GROUP == 0;
}

INLINE void gather_differences(uint8_t all[BLOCK], const uint8_t seen[BLOCK],
                               const uint8_t tag[BLOCK])
{
    __m128i differs = _mm_xor_si128(_mm_loadu_si128((const __m128i *)seen),
                                    _mm_loadu_si128((const __m128i *)tag));
    differs = _mm_or_si128(differs, _mm_loadu_si128((const __m128i *)all));
    _mm_storeu_si128((__m128i *)all, differs);
}

/* All or none: one comparison for all tags, behind the last chunk, is no branch between two. */
TARGET static size_t open_chunks(void *schedule_of, const gcm_chunks *chunks, size_t count,
                                 const uint8_t *sealed, uint8_t *plain)
{
    static const uint8_t none[BLOCK];
    const schedule *key = schedule_of;
    const size_t bytes = chunks->bytes;
    uint8_t differences[BLOCK] = {0};
    if (!in_groups(chunks))
        return 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t nonce[GCM_NONCE_BYTES], seen[BLOCK];
        gcm_chunk_nonce(chunks, i, nonce);
        __m128i first = first_counter(nonce);
        __m512i counter = text_counters(first);
        __m128i mask = encrypt_block(key, reverse_block(first));
        __m128i hash = open_groups(key, &counter, sealed, bytes, plain);
        finish_tag(hash, first_power(key), bytes, mask, seen);
        gather_differences(differences, seen, sealed + bytes);
        sealed += bytes + BLOCK;
        plain += bytes;
    }
    return constant_time_equal(differences, none, BLOCK) ? count : 0;
}

/* A group of ciphertext, hashed while the next one is made. */
typedef struct {
    __m512i cipher[VECTORS];
    __m512i lanes; /* of the hash before it */
} waiting;

INLINE waiting nothing_waits(void)
{
    return (waiting){0};
}

INLINE void seal_group(const schedule *key, __m512i *counter, const uint8_t *plain,
                       uint8_t *cipher, waiting *last, const __m512i powers[VECTORS])
{
    __m512i state[VECTORS];
    last->lanes = rounds_and_products(key, counter, state, last->cipher, last->lanes, powers);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        last->cipher[i] = last_round(key, state[i], _mm512_loadu_si512(plain + VECTOR * i));
        _mm512_storeu_si512(cipher + VECTOR * i, last->cipher[i]);
    }
}

INLINE __m128i hash_last_group(const schedule *key, const waiting *last)
{
    product sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        __m512i x = reverse_bytes(last->cipher[i]);
        multiply_add(&sum, i ? x : _mm512_xor_si512(x, last->lanes), last_powers(key)[i]);
    }
    return reduce(&sum);
}

TARGET static int seal(void *schedule_of, const uint8_t nonce[GCM_NONCE_BYTES],
                       const uint8_t *plain, size_t bytes, uint8_t *cipher, uint8_t tag[BLOCK])
{
    const schedule *key = schedule_of;
    __m128i first = first_counter(nonce);
    __m512i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = _mm_setzero_si128();
    waiting last = nothing_waits();
    size_t rest = bytes;
    for (; rest >= GROUP; rest -= GROUP, cipher += GROUP, plain += GROUP)
        seal_group(key, &counter, plain, cipher, &last, key->strides);
    if (rest < bytes)
        hash = hash_last_group(key, &last);
    if (rest)
        hash = tail(key, &counter, plain, rest, cipher, 1, hash);
    finish_tag(hash, first_power(key), bytes, mask, tag);
    return 1;
}

/* A chunk's last group is hashed, and its tag written, among the rounds of the next one's first. */
TARGET static size_t seal_chunks(void *schedule_of, const gcm_chunks *chunks, size_t count,
                                 const uint8_t *plain, uint8_t *sealed)
{
    const schedule *key = schedule_of;
    waiting last = nothing_waits();
    __m128i mask = _mm_setzero_si128();
    if (!count || !in_groups(chunks))
        return 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t nonce[GCM_NONCE_BYTES];
        gcm_chunk_nonce(chunks, i, nonce);
        __m128i first = first_counter(nonce);
        __m512i counter = text_counters(first);
        seal_group(key, &counter, plain, sealed, &last, last_powers(key));
        if (i)
            finish_tag(fold_lanes(last.lanes), first_power(key), chunks->bytes, mask,
                       sealed - BLOCK);
        mask = encrypt_block(key, reverse_block(first));
        last.lanes = _mm512_setzero_si512();
        for (size_t at = GROUP; at < chunks->bytes; at += GROUP)
            seal_group(key, &counter, plain + at, sealed + at, &last, key->strides);
        plain += chunks->bytes;
        sealed += chunks->bytes + BLOCK;
    }
    finish_tag(hash_last_group(key, &last), first_power(key), chunks->bytes, mask, sealed - BLOCK);
    return count;
}

const gcm_kernel gcm_vaes512 = {
    "vaes512", cpu_has_vaes512, make_schedule, forget, seal, open, seal_chunks, open_chunks,
};

#else

const gcm_kernel gcm_vaes512 = {"vaes512", cpu_never, NULL, NULL, NULL, NULL, NULL, NULL};
#endif

/* AES-256-GCM on AVX2 with VAES and VPCLMULQDQ (NIST SP 800-38D), for processors without AVX-512:
 * AMD's Zen 3 above all, on which confidential containers run. Sixteen blocks are in flight, two in
 * each of eight registers: two units want an instruction each in every cycle, and a round takes four.
 * The products of GHASH are formed between the rounds, by Karatsuba's way three for a block instead
 * of four, for each costs as much as four rounds. Sixteen blocks share one reduction.
 *
 * No branch and no address depends on key, text, tag or H. */
#include "gcm.h"

#include "cpu.h"

#if defined(__x86_64__)
#include "gcm_x86.h"

#include <stdlib.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,vaes,vpclmulqdq,aes,pclmul,ssse3")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#define VECTOR 32  /* bytes: two blocks */
#define VECTORS 8  /* in flight */
#define GROUP (VECTORS * VECTOR)
#define POWERS 16  /* H^16 ... H^1: one per block of a group */

typedef struct {
    __m256i round_keys[ROUNDS + 1]; /* each twice */
    uint8_t powers[(POWERS + 1) * BLOCK] __attribute__((aligned(32))); /* then zeros */
    uint8_t halves[(POWERS + 1) * BLOCK] __attribute__((aligned(32))); /* of each power, added */
} schedule;

typedef struct {
    __m256i low, middle, high;
} product;

INLINE __m256i reverse_bytes(__m256i blocks)
{
    return _mm256_shuffle_epi8(blocks, _mm256_broadcastsi128_si256(_mm_set_epi8(
                                           0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

INLINE __m256i load(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

INLINE void store(uint8_t *to, __m256i vector)
{
    _mm256_storeu_si256((__m256i *)to, vector);
}

/* Both halves of each block added, in both halves. */
INLINE __m256i add_halves(__m256i blocks)
{
    return _mm256_xor_si256(blocks, _mm256_shuffle_epi32(blocks, 0x4E));
}

/* Two blocks meet the powers number `power` and the next (Karatsuba: `reduce` takes the outer products
 * out of the middle one). */
INLINE void multiply_add(product *sum, __m256i x, const schedule *key, int power)
{
    __m256i h = load(key->powers + power * BLOCK), halves = load(key->halves + power * BLOCK);
    sum->low = _mm256_xor_si256(sum->low, _mm256_clmulepi64_epi128(x, h, 0x00));
    sum->middle = _mm256_xor_si256(sum->middle,
                                   _mm256_clmulepi64_epi128(add_halves(x), halves, 0x00));
    sum->high = _mm256_xor_si256(sum->high, _mm256_clmulepi64_epi128(x, h, 0x11));
}

INLINE __m128i fold_lanes(__m256i v)
{
    return _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

INLINE __m128i reduce(const product *sum)
{
    __m128i low = fold_lanes(sum->low), high = fold_lanes(sum->high);
    __m128i middle = _mm_xor_si128(fold_lanes(sum->middle), _mm_xor_si128(low, high));
    return reduce128(low, middle, high);
}

INLINE __m128i encrypt_block(const schedule *key, __m128i block)
{
    block = _mm_xor_si128(block, _mm256_castsi256_si128(key->round_keys[0]));
    for (int r = 1; r < ROUNDS; r++)
        block = _mm_aesenc_si128(block, _mm256_castsi256_si128(key->round_keys[r]));
    return _mm_aesenclast_si128(block, _mm256_castsi256_si128(key->round_keys[ROUNDS]));
}

/* Key material in vector registers and below the stack pointer goes with the key. */
TARGET __attribute__((noinline)) static void clear_traces(void)
{
    uint8_t frame[4096];
    wipe(frame, sizeof frame);
    __asm__ volatile("vzeroall" ::: "memory");
}

TARGET static void *make_schedule(const uint8_t bytes[GCM_KEY_BYTES], gcm_direction direction)
{
    (void)direction; /* one schedule serves both */
    schedule *key = aligned_alloc(32, (sizeof *key + 31) / 32 * 32);
    if (!key)
        return NULL;
    __m128i k[ROUNDS + 1];
    expand(bytes, k);
    for (int i = 0; i <= ROUNDS; i++)
        key->round_keys[i] = _mm256_broadcastsi128_si256(k[i]);
    memset(key->powers, 0, sizeof key->powers);
    memset(key->halves, 0, sizeof key->halves);
    __m128i h = times_x(reverse_block(encrypt_block(key, _mm_setzero_si128())));
    __m128i power = h;
    for (int i = POWERS - 1; i >= 0; i--) {
        _mm_store_si128((__m128i *)(key->powers + i * BLOCK), power);
        _mm_store_si128((__m128i *)(key->halves + i * BLOCK),
                        _mm_xor_si128(power, _mm_shuffle_epi32(power, 0x4E)));
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

INLINE __m128i first_power(const schedule *key)
{
    return _mm_load_si128((const __m128i *)(key->powers + (POWERS - 1) * BLOCK));
}

/* Keep the compiler from moving work across this point: the order of the source is the schedule. It
 * would form all products first, and store them for want of registers. */
#define HOLD(v)                                                                                    \
    __asm__ volatile("" : "+x"(v[0]), "+x"(v[1]), "+x"(v[2]), "+x"(v[3]), "+x"(v[4]), "+x"(v[5]),  \
                          "+x"(v[6]), "+x"(v[7]))
#define HOLD_SUM(s)                                                                                \
    __asm__ volatile("" : "+x"(s.low), "+x"(s.middle), "+x"(s.high) : : "memory")
#define PRODUCTS_AFTER 3 /* rounds: the hash so far is reduced meanwhile */

INLINE void first_round(const schedule *key, __m256i *counter, __m256i state[VECTORS])
{
    const __m256i two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        state[i] = _mm256_xor_si256(reverse_bytes(*counter), key->round_keys[0]);
        *counter = _mm256_add_epi32(*counter, two);
    }
}

/* The key stream of the next sixteen counters, but for the last round. */
INLINE void rounds(const schedule *key, __m256i *counter, __m256i state[VECTORS])
{
    first_round(key, counter, state);
#pragma GCC unroll 13
    for (int r = 1; r < ROUNDS; r++)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm256_aesenc_epi128(state[i], key->round_keys[r]);
}

/* The same; meanwhile `hash` is continued by `hashed`. */
INLINE __m128i rounds_and_products(const schedule *key, __m256i *counter, __m256i state[VECTORS],
                                   const __m256i hashed[VECTORS], __m128i hash)
{
    product sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    first_round(key, counter, state);
    HOLD(state);
#pragma GCC unroll 13
    for (int r = 1; r < ROUNDS; r++) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm256_aesenc_epi128(state[i], key->round_keys[r]);
        int i = r - 1 - PRODUCTS_AFTER;
        if (i >= 0 && i < VECTORS) {
            __m256i x = reverse_bytes(hashed[i]);
            if (i == 0)
                x = _mm256_xor_si256(x, _mm256_zextsi128_si256(hash));
            multiply_add(&sum, x, key, 2 * i);
        }
        HOLD(state);
        HOLD_SUM(sum);
    }
    return reduce(&sum);
}

INLINE __m256i last_round(const schedule *key, __m256i state, __m256i text)
{
    return _mm256_aesenclast_epi128(state, _mm256_xor_si256(key->round_keys[ROUNDS], text));
}

/* `hash` continued by these vectors; the first block meets the power number `power`. */
INLINE __m128i hash_vectors(const schedule *key, const __m256i *cipher, int vectors, int power,
                            __m128i hash)
{
    product sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    __m256i carried = _mm256_zextsi128_si256(hash);
    for (int i = 0; i < vectors; i++) {
        __m256i x = _mm256_xor_si256(reverse_bytes(cipher[i]), carried);
        carried = _mm256_setzero_si256();
        multiply_add(&sum, x, key, power + 2 * i);
    }
    return reduce(&sum);
}

/* Fewer than 256 bytes, by way of a buffer that is wiped: AVX2 has no masks for bytes. */
INLINE __m128i tail(const schedule *key, __m256i counter, const uint8_t *from, size_t bytes,
                    uint8_t *to, int sealing, __m128i hash)
{
    uint8_t text[GROUP] = {0};
    memcpy(text, from, bytes);
    __m256i state[VECTORS], in[VECTORS], out[VECTORS];
    rounds(key, &counter, state);
    for (int i = 0; i < VECTORS; i++) {
        in[i] = load(text + VECTOR * i);
        out[i] = last_round(key, state[i], in[i]);
        store(text + VECTOR * i, out[i]);
    }
    memcpy(to, text, bytes);
    memset(text + bytes, 0, GROUP - bytes);
    for (int i = 0; sealing && i < VECTORS; i++)
        in[i] = load(text + VECTOR * i);
    wipe(text, sizeof text);
    int blocks = (int)(bytes + BLOCK - 1) / BLOCK;
    return hash_vectors(key, in, (blocks + 1) / 2, POWERS - blocks, hash);
}

/* The text begins with counter 2. */
INLINE __m256i text_counters(__m128i first)
{
    return _mm256_add_epi32(_mm256_broadcastsi128_si256(first),
                            _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1));
}

TARGET static int open(void *schedule_of, const uint8_t nonce[GCM_NONCE_BYTES],
                       const uint8_t *cipher, size_t bytes, uint8_t *plain,
                       const uint8_t tag[BLOCK])
{
    const schedule *key = schedule_of;
    __m128i first = first_counter(nonce);
    __m256i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = _mm_setzero_si128();
    size_t rest = bytes;
    for (; rest >= GROUP; rest -= GROUP, cipher += GROUP, plain += GROUP) {
        __m256i state[VECTORS], text[VECTORS];
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            text[i] = load(cipher + VECTOR * i);
        hash = rounds_and_products(key, &counter, state, text, hash);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            store(plain + VECTOR * i, last_round(key, state[i], text[i]));
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
    __m256i counter = text_counters(first);
    __m128i mask = encrypt_block(key, reverse_block(first));
    __m128i hash = _mm_setzero_si128();
    size_t rest = bytes;
    if (rest >= GROUP) { /* each group is hashed while the next one is encrypted */
        __m256i state[VECTORS], text[VECTORS];
        rounds(key, &counter, state);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++) {
            text[i] = last_round(key, state[i], load(plain + VECTOR * i));
            store(cipher + VECTOR * i, text[i]);
        }
        rest -= GROUP, cipher += GROUP, plain += GROUP;
        for (; rest >= GROUP; rest -= GROUP, cipher += GROUP, plain += GROUP) {
            hash = rounds_and_products(key, &counter, state, text, hash);
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; i++) {
                text[i] = last_round(key, state[i], load(plain + VECTOR * i));
                store(cipher + VECTOR * i, text[i]);
            }
        }
        hash = hash_vectors(key, text, VECTORS, 0, hash);
    }
    if (rest)
        hash = tail(key, counter, plain, rest, cipher, 1, hash);
    finish_tag(hash, first_power(key), bytes, mask, tag);
    return 1;
}

const gcm_kernel gcm_vaes256 = {
    "vaes256", cpu_has_vaes256, make_schedule, forget, seal, open, NULL, NULL,
};

#else

const gcm_kernel gcm_vaes256 = {"vaes256", cpu_never, NULL, NULL, NULL, NULL, NULL, NULL};
#endif


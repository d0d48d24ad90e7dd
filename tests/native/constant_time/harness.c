/* Runs one AES-256-GCM kernel with every secret marked undefined, and prints what it answered; or
 * one of the other routines that see secrets.
 *
 *     harness KERNEL BYTES [leak]
 *     harness row BYTES
 *     harness equal BYTES [leak]
 *     harness hmac BYTES
 *
 * memcheck reports each branch and each address that depends on an undefined bit. What is public is
 * marked so afterwards: the ciphertext, the tag, and whether a tag fits. `leak` adds a branch on the
 * key, or compares as memcmp may, so that a test can see it found. */
#include "gcm.h"
#include "libcrypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

static void fill(uint8_t *to, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(seed + 7 * i + (i >> 8));
}

static void print(const char *name, const uint8_t *data, size_t bytes)
{
    printf("%s ", name);
    for (size_t i = 0; i < bytes; i++)
        printf("%02x", data[i]);
    printf("\n");
}

static int answer(const gcm_kernel *kernel, size_t bytes, int leak)
{
    uint8_t key[GCM_KEY_BYTES], nonce[GCM_NONCE_BYTES], tag[GCM_TAG_BYTES];
    uint8_t *plain = malloc(bytes + 1), *sealed = malloc(bytes + 1), *opened = malloc(bytes + 1);
    fill(key, sizeof key, 1);
    fill(nonce, sizeof nonce, 2);
    fill(plain, bytes, 3);
    VALGRIND_MAKE_MEM_UNDEFINED(key, sizeof key);
    VALGRIND_MAKE_MEM_UNDEFINED(plain, bytes);
    if (leak && key[5] > 9)
        printf("leaked\n");

    void *schedule = kernel->schedule(key, GCM_SEAL);
    kernel->seal(schedule, nonce, plain, bytes, sealed, tag);
    kernel->forget(schedule);

    schedule = kernel->schedule(key, GCM_OPEN);
    int fits = kernel->open(schedule, nonce, sealed, bytes, opened, tag);
    tag[3] ^= 1;
    int fits_no_more = kernel->open(schedule, nonce, sealed, bytes, opened, tag);
    tag[3] ^= 1;
    kernel->forget(schedule);

    VALGRIND_MAKE_MEM_DEFINED(&fits, sizeof fits);
    VALGRIND_MAKE_MEM_DEFINED(&fits_no_more, sizeof fits_no_more);
    VALGRIND_MAKE_MEM_DEFINED(sealed, bytes);
    VALGRIND_MAKE_MEM_DEFINED(opened, bytes);
    VALGRIND_MAKE_MEM_DEFINED(tag, sizeof tag);
    print("sealed", sealed, bytes);
    print("tag", tag, sizeof tag);
    print("opened", opened, bytes);
    free(plain);
    free(sealed);
    free(opened);
    return fits && !fits_no_more ? 0 : 3;
}

/* Chunks in a row, by the kernel that takes them so. */
static int answer_row(const gcm_kernel *kernel, size_t bytes)
{
    enum { CHUNKS = 3 };
    const size_t stride = bytes + GCM_TAG_BYTES;
    uint8_t key[GCM_KEY_BYTES], base[GCM_NONCE_BYTES];
    uint8_t *plain = malloc(CHUNKS * bytes), *sealed = malloc(CHUNKS * stride);
    uint8_t *opened = malloc(CHUNKS * bytes);
    const gcm_chunks row = {base, 0xFFFE, bytes};
    fill(key, sizeof key, 1);
    fill(base, sizeof base, 2);
    fill(plain, CHUNKS * bytes, 3);
    VALGRIND_MAKE_MEM_UNDEFINED(key, sizeof key);
    VALGRIND_MAKE_MEM_UNDEFINED(plain, CHUNKS * bytes);

    void *schedule = kernel->schedule(key, GCM_SEAL);
    size_t done = kernel->seal_chunks(schedule, &row, CHUNKS, plain, sealed);
    VALGRIND_MAKE_MEM_DEFINED(sealed, CHUNKS * stride);
    size_t fit = kernel->open_chunks(schedule, &row, CHUNKS, sealed, opened);
    sealed[stride + bytes + 3] ^= 1; /* in the second tag */
    size_t fit_no_more = kernel->open_chunks(schedule, &row, CHUNKS, sealed, plain);
    sealed[stride + bytes + 3] ^= 1;
    kernel->forget(schedule);

    VALGRIND_MAKE_MEM_DEFINED(&fit, sizeof fit);
    VALGRIND_MAKE_MEM_DEFINED(&fit_no_more, sizeof fit_no_more);
    VALGRIND_MAKE_MEM_DEFINED(opened, CHUNKS * bytes);
    print("sealed", sealed, CHUNKS * stride);
    print("opened", opened, CHUNKS * bytes);
    free(plain);
    free(sealed);
    free(opened);
    return done == CHUNKS && fit == CHUNKS && !fit_no_more ? 0 : 3;
}

/* Not in our code: it ends at the first difference. */
static int hasty_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static int compare(size_t bytes, int leak)
{
    int (*equal)(const uint8_t *, const uint8_t *, size_t) = leak ? hasty_equal : constant_time_equal;
    uint8_t *a = malloc(bytes + 1), *b = malloc(bytes + 1);
    fill(a, bytes, 4);
    fill(b, bytes, 4);
    VALGRIND_MAKE_MEM_UNDEFINED(a, bytes);
    VALGRIND_MAKE_MEM_UNDEFINED(b, bytes);
    int same = equal(a, b, bytes);
    if (bytes)
        b[bytes / 2] ^= 0x40;
    int differ = !equal(a, b, bytes);
    VALGRIND_MAKE_MEM_DEFINED(&same, sizeof same);
    VALGRIND_MAKE_MEM_DEFINED(&differ, sizeof differ);
    free(a);
    free(b);
    return same && differ == (bytes > 0) ? 0 : 3;
}

/* As keys are derived: the key is secret, and so is a part of what is hashed. */
static int authenticate(size_t bytes)
{
    uint8_t key[GCM_KEY_BYTES], mac[SHA512_BYTES], *data = malloc(bytes + 1);
    fill(key, sizeof key, 1);
    fill(data, bytes, 3);
    VALGRIND_MAKE_MEM_UNDEFINED(key, sizeof key);
    VALGRIND_MAKE_MEM_UNDEFINED(data, bytes);
    int done = hmac_sha512(key, sizeof key, data, bytes, mac);
    VALGRIND_MAKE_MEM_DEFINED(mac, sizeof mac);
    print("mac", mac, sizeof mac);
    free(data);
    return done ? 0 : 3;
}

int main(int argc, char **argv)
{
    const gcm_kernel *const kernels[] = {&gcm_vaes512, &gcm_vaes256, &gcm_libcrypto};
    if (argc < 3)
        return 2;
    int portable = !strcmp(argv[1], "libcrypto") || !strcmp(argv[1], "hmac");
    if (portable && libcrypto_open()) /* which takes valgrind seconds */
        return 2;
    size_t bytes = strtoul(argv[2], NULL, 10);
    if (!strcmp(argv[1], "equal"))
        return compare(bytes, argc > 3);
    if (!strcmp(argv[1], "row"))
        return answer_row(&gcm_vaes512, bytes);
    if (!strcmp(argv[1], "hmac"))
        return authenticate(bytes);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!strcmp(kernels[i]->name, argv[1]))
            return answer(kernels[i], bytes, argc > 3);
    return 2;
}

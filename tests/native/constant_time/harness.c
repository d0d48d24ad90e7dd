/* Runs one AES-256-GCM kernel with every secret marked undefined, and prints what it answered.
 *
 *     harness KERNEL BYTES [leak]
 *
 * memcheck reports each branch and each address that depends on an undefined bit. What is public is
 * marked so afterwards: the ciphertext, the tag, and whether a tag fits. `leak` adds a branch on the
 * key, so that a test can see it found. */
#include "gcm.h"

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

int main(int argc, char **argv)
{
    const gcm_kernel *const kernels[] = {&gcm_vaes512, &gcm_vaes256};
    if (argc < 3)
        return 2;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!strcmp(kernels[i]->name, argv[1]))
            return answer(kernels[i], strtoul(argv[2], NULL, 10), argc > 3);
    return 2;
}

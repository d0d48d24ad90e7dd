/* What a kernel of the AES-256-GCM family is: no associated data, nonces of 96 bits. */
#ifndef SEALSERVE_GCM_H
#define SEALSERVE_GCM_H

#include "crypto.h"

#include <string.h>

/* Texts in a row, all of the same length, each with its tag behind it when sealed; each one's number
 * goes into its nonce (C2SP chunked-encryption, AEAD usage). */
typedef struct {
    const uint8_t *base; /* nonce */
    uint64_t first;      /* number */
    size_t bytes;        /* of each text */
} gcm_chunks;

/* The base nonce XOR the number of the `i`-th, big-endian. Its end is put together first: kernels
 * read the nonce as words, which would have to wait for bytes written one by one. */
static inline void gcm_chunk_nonce(const gcm_chunks *chunks, size_t i,
                                   uint8_t nonce[GCM_NONCE_BYTES])
{
    const uint64_t number = chunks->first + i;
    uint64_t end, of_base;
    uint8_t bytes[8];
    for (int b = 0; b < 8; b++)
        bytes[b] = (uint8_t)(number >> (56 - 8 * b));
    memcpy(&end, bytes, 8);
    memcpy(&of_base, chunks->base + 4, 8);
    end ^= of_base;
    memcpy(nonce, chunks->base, 4);
    memcpy(nonce + 4, &end, 8);
}

typedef struct {
    const char *name;
    int (*usable)(void); /* on this processor */
    void *(*schedule)(const uint8_t key[GCM_KEY_BYTES], gcm_direction direction);
    void (*forget)(void *schedule); /* wipes and frees */
    int (*seal)(void *schedule, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *plain,
                size_t bytes, uint8_t *cipher, uint8_t tag[GCM_TAG_BYTES]);
    /* 0 when the tag differs; `plain` then holds what the caller has to wipe. */
    int (*open)(void *schedule, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *cipher,
                size_t bytes, uint8_t *plain, const uint8_t tag[GCM_TAG_BYTES]);
    /* `count` chunks faster than one by one, or NULL. How many were done, of the first ones: one
     * that was not is for `seal` or `open`. */
    size_t (*seal_chunks)(void *schedule, const gcm_chunks *chunks, size_t count,
                          const uint8_t *plain, uint8_t *sealed);
    size_t (*open_chunks)(void *schedule, const gcm_chunks *chunks, size_t count,
                          const uint8_t *sealed, uint8_t *plain);
} gcm_kernel;

extern const gcm_kernel gcm_vaes512, gcm_vaes256, gcm_libcrypto;

#endif

/* What a kernel of the SHA-256 family is. All it reads is public. */
#ifndef SEALSERVE_SHA256_H
#define SEALSERVE_SHA256_H

#include "crypto.h"

extern const uint32_t SHA256_K[64];    /* FIPS 180-4, section 4.2.2 */
extern const uint32_t SHA256_START[8]; /* FIPS 180-4, section 5.3.3 */

typedef struct {
    const char *name;
    int (*usable)(void); /* on this processor */
    /* digests[i] = SHA-256(salt || block i). Takes as many blocks as it is good at, from the first
     * on, and returns how many. soon: as sha256_blocks has it; a kernel may do nothing with it. */
    size_t (*hash)(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks,
                   size_t block_bytes, size_t count, uint8_t *digests, const uint8_t *soon);
} sha256_kernel;

extern const sha256_kernel sha256_x16, sha256_ni, sha256_libcrypto;

static inline uint32_t sha256_get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static inline void sha256_put32(uint8_t *to, uint32_t word)
{
    to[0] = (uint8_t)(word >> 24);
    to[1] = (uint8_t)(word >> 16);
    to[2] = (uint8_t)(word >> 8);
    to[3] = (uint8_t)word;
}

#endif

/* What a kernel of the AES-256-GCM family is: no associated data, nonces of 96 bits. */
#ifndef SEALSERVE_GCM_H
#define SEALSERVE_GCM_H

#include "crypto.h"

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
} gcm_kernel;

extern const gcm_kernel gcm_vaes512, gcm_vaes256, gcm_libcrypto;

#endif

/* The portable path: OpenSSL's libcrypto, opened at run time, so no headers at build and no link. */
#include "libcrypto.h"

#include "gcm.h"
#include "sha256.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* openssl/evp.h; the values have not changed since 1.1.0. */
#define EVP_CTRL_AEAD_SET_IVLEN 0x9
#define EVP_CTRL_AEAD_GET_TAG 0x10
#define EVP_CTRL_AEAD_SET_TAG 0x11

/* EVP counts in int: longer inputs go in slices. */
#define SLICE_BYTES ((size_t)1 << 30)

typedef struct evp_cipher_ctx_st evp_key;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct engine_st ENGINE;
typedef struct evp_md_st EVP_MD;
typedef struct evp_md_ctx_st EVP_MD_CTX;

/* openssl/evp.h and openssl/hmac.h, the same in 1.1.1 and 3.x. */
static struct {
    EVP_CIPHER *(*aes_256_gcm)(void);
    evp_key *(*cipher_new)(void);
    void (*cipher_free)(evp_key *);
    int (*cipher_init)(evp_key *, const EVP_CIPHER *, ENGINE *, const uint8_t *, const uint8_t *,
                       int);
    int (*cipher_update)(evp_key *, uint8_t *, int *, const uint8_t *, int);
    int (*cipher_final)(evp_key *, uint8_t *, int *);
    int (*cipher_ctrl)(evp_key *, int, int, void *);
    EVP_MD *(*sha256)(void);
    EVP_MD *(*sha512)(void);
    EVP_MD_CTX *(*md_new)(void);
    void (*md_free)(EVP_MD_CTX *);
    int (*md_init)(EVP_MD_CTX *, const EVP_MD *, ENGINE *);
    int (*md_update)(EVP_MD_CTX *, const void *, size_t);
    int (*md_final)(EVP_MD_CTX *, uint8_t *, unsigned *);
    uint8_t *(*hmac)(const EVP_MD *, const void *, int, const uint8_t *, size_t, uint8_t *,
                     unsigned *);
} evp;

static const struct {
    void *slot;
    const char *name;
} NAMES[] = {
    {&evp.aes_256_gcm, "EVP_aes_256_gcm"},
    {&evp.cipher_new, "EVP_CIPHER_CTX_new"},
    {&evp.cipher_free, "EVP_CIPHER_CTX_free"},
    {&evp.cipher_init, "EVP_CipherInit_ex"},
    {&evp.cipher_update, "EVP_CipherUpdate"},
    {&evp.cipher_final, "EVP_CipherFinal_ex"},
    {&evp.cipher_ctrl, "EVP_CIPHER_CTX_ctrl"},
    {&evp.sha256, "EVP_sha256"},
    {&evp.sha512, "EVP_sha512"},
    {&evp.md_new, "EVP_MD_CTX_new"},
    {&evp.md_free, "EVP_MD_CTX_free"},
    {&evp.md_init, "EVP_DigestInit_ex"},
    {&evp.md_update, "EVP_DigestUpdate"},
    {&evp.md_final, "EVP_DigestFinal_ex"},
    {&evp.hmac, "HMAC"},
};

const char *libcrypto_open(void)
{
    static void *library;
    if (library)
        return NULL;
    void *found = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!found)
        found = dlopen("libcrypto.so.1.1", RTLD_NOW | RTLD_LOCAL);
    if (!found)
        return "neither libcrypto.so.3 nor libcrypto.so.1.1 can be opened";
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        void *symbol = dlsym(found, NAMES[i].name);
        if (!symbol) {
            static char why[64];
            snprintf(why, sizeof why, "libcrypto has no %s", NAMES[i].name);
            dlclose(found);
            return why;
        }
        memcpy(NAMES[i].slot, &symbol, sizeof symbol); /* ISO C has no cast from data to code */
    }
    library = found;
    return NULL;
}

static int always(void)
{
    return 1;
}

static void *schedule(const uint8_t key[GCM_KEY_BYTES], gcm_direction direction)
{
    evp_key *context = evp.cipher_new();
    if (!context)
        return NULL;
    if (evp.cipher_init(context, evp.aes_256_gcm(), NULL, NULL, NULL, direction) == 1
        && evp.cipher_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, GCM_NONCE_BYTES, NULL) == 1
        && evp.cipher_init(context, NULL, NULL, key, NULL, direction) == 1)
        return context;
    evp.cipher_free(context);
    return NULL;
}

static void forget(void *key)
{
    evp.cipher_free(key); /* clears the key schedule */
}

static int update(evp_key *key, const uint8_t *from, size_t bytes, uint8_t *to)
{
    while (bytes) {
        int slice = (int)(bytes < SLICE_BYTES ? bytes : SLICE_BYTES);
        int written = 0;
        if (evp.cipher_update(key, to, &written, from, slice) != 1 || written != slice)
            return 0;
        from += slice;
        to += slice;
        bytes -= (size_t)slice;
    }
    return 1;
}

static int finish(evp_key *key)
{
    uint8_t none[GCM_TAG_BYTES]; /* GCM has no padding to write */
    int written = 0;
    return evp.cipher_final(key, none, &written) == 1 && written == 0;
}

static int seal(void *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *plain,
                size_t bytes, uint8_t *cipher, uint8_t tag[GCM_TAG_BYTES])
{
    return evp.cipher_init(key, NULL, NULL, NULL, nonce, GCM_SEAL) == 1
           && update(key, plain, bytes, cipher) && finish(key)
           && evp.cipher_ctrl(key, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_BYTES, tag) == 1;
}

static int open(void *key, const uint8_t nonce[GCM_NONCE_BYTES], const uint8_t *cipher,
                size_t bytes, uint8_t *plain, const uint8_t tag[GCM_TAG_BYTES])
{
    uint8_t wanted[GCM_TAG_BYTES]; /* the parameter is not const */
    memcpy(wanted, tag, GCM_TAG_BYTES);
    return evp.cipher_init(key, NULL, NULL, NULL, nonce, GCM_OPEN) == 1
           && update(key, cipher, bytes, plain)
           && evp.cipher_ctrl(key, EVP_CTRL_AEAD_SET_TAG, GCM_TAG_BYTES, wanted) == 1
           && finish(key);
}

const gcm_kernel gcm_libcrypto = {"libcrypto", always, schedule, forget, seal, open, NULL, NULL};

static size_t hash(const uint8_t salt[SHA256_SALT_BYTES], const uint8_t *blocks,
                   size_t block_bytes, size_t count, uint8_t *digests, const uint8_t *soon)
{
    (void)soon;
    EVP_MD_CTX *context = evp.md_new();
    if (!context)
        return 0;
    const EVP_MD *type = evp.sha256();
    size_t done = 0;
    while (done < count && evp.md_init(context, type, NULL) == 1
           && evp.md_update(context, salt, SHA256_SALT_BYTES) == 1
           && evp.md_update(context, blocks + done * block_bytes, block_bytes) == 1
           && evp.md_final(context, digests + done * SHA256_BYTES, NULL) == 1) {
        type = NULL; /* again the same: spares a look-up per block */
        done++;
    }
    evp.md_free(context);
    return done;
}

const sha256_kernel sha256_libcrypto = {"libcrypto", always, hash};

int hmac_sha512(const uint8_t *key, size_t key_bytes, const uint8_t *data, size_t data_bytes,
                uint8_t mac[SHA512_BYTES])
{
    if (key_bytes > INT_MAX)
        return 0;
    unsigned written = 0;
    return evp.hmac(evp.sha512(), key, (int)key_bytes, data, data_bytes, mac, &written) != NULL
           && written == SHA512_BYTES;
}

/* What the C layer answers on this processor, for a test that knows the answers.
 *
 * Lines of `NAME hex`: the kernels that can run here, then texts of each length on the command line
 * sealed and opened, a forged one refused, so many blocks hashed, and one HMAC. */
#include "crypto.h"

#include <stdio.h>
#include <stdlib.h>

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

static int answer(size_t bytes)
{
    uint8_t key[GCM_KEY_BYTES], nonce[GCM_NONCE_BYTES];
    uint8_t *plain = malloc(bytes + 1), *sealed = malloc(bytes + GCM_TAG_BYTES);
    fill(key, sizeof key, 1);
    fill(nonce, sizeof nonce, 2);
    fill(plain, bytes, 3);
    gcm_key *sealing = gcm_new(key, GCM_SEAL), *opening = gcm_new(key, GCM_OPEN);
    int fits = gcm_seal(sealing, nonce, plain, bytes, sealed);
    print("sealed", sealed, bytes + GCM_TAG_BYTES);
    fits = fits && gcm_open(opening, nonce, sealed, bytes + GCM_TAG_BYTES, plain);
    print("opened", plain, bytes);
    sealed[bytes] ^= 1;
    int forged = gcm_open(opening, nonce, sealed, bytes + GCM_TAG_BYTES, plain);
    print("after a forgery", plain, bytes);
    gcm_free(sealing);
    gcm_free(opening);
    free(plain);
    free(sealed);
    return fits && !forged;
}

int main(int count, char **arguments)
{
    static uint8_t blocks[40 * 128], salt[SHA256_SALT_BYTES], digests[40 * SHA256_BYTES];
    uint8_t mac[SHA512_BYTES];
    const char *why = crypto_open(NULL, NULL);
    if (why) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (size_t i = 0; gcm_kernel_name(i); i++)
        printf("gcm %s\n", gcm_kernel_name(i));
    for (size_t i = 0; sha256_kernel_name(i); i++)
        printf("sha256 %s\n", sha256_kernel_name(i));
    for (int i = 1; i < count; i++)
        if (!answer(strtoul(arguments[i], NULL, 10)))
            return 2;
    fill(blocks, sizeof blocks, 4);
    fill(salt, sizeof salt, 5);
    if (!sha256_blocks(salt, blocks, 128, 40, digests, NULL)
        || !hmac_sha512(salt, sizeof salt, blocks, sizeof blocks, mac))
        return 3;
    print("digests", digests, sizeof digests);
    print("mac", mac, sizeof mac);
    return 0;
}

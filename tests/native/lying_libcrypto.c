/* Forwards to the real libcrypto and lies in one place: which one, LIE says. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void *real(const char *name)
{
    static void *library;
    if (!library)
        library = dlopen(getenv("REAL_LIBCRYPTO"), RTLD_NOW | RTLD_LOCAL);
    return dlsym(library, name);
}

static int lie(const char *about)
{
    return strcmp(getenv("LIE"), about) == 0;
}

#define FORWARD(type, name, parameters, arguments)                 \
    type name parameters                                           \
    {                                                              \
        return ((type (*) parameters)real(#name)) arguments;       \
    }

FORWARD(void *, EVP_aes_256_gcm, (void), ())
FORWARD(void *, EVP_CIPHER_CTX_new, (void), ())
FORWARD(void, EVP_CIPHER_CTX_free, (void *c), (c))
FORWARD(int, EVP_CipherInit_ex, (void *c, void *t, void *e, void *k, void *i, int d),
        (c, t, e, k, i, d))
FORWARD(int, EVP_CipherUpdate, (void *c, void *o, int *n, void *i, int s), (c, o, n, i, s))
FORWARD(void *, EVP_sha256, (void), ())
FORWARD(void *, EVP_sha512, (void), ())
FORWARD(void *, EVP_MD_CTX_new, (void), ())
FORWARD(void, EVP_MD_CTX_free, (void *c), (c))
FORWARD(int, EVP_DigestInit_ex, (void *c, void *t, void *e), (c, t, e))
FORWARD(int, EVP_DigestUpdate, (void *c, void *d, size_t n), (c, d, n))

int EVP_CipherFinal_ex(void *c, void *o, int *n)
{
    int ok = ((int (*)(void *, void *, int *))real("EVP_CipherFinal_ex"))(c, o, n);
    if (lie("refuse"))
        return 0;
    return lie("accept") ? 1 : ok;
}

int EVP_CIPHER_CTX_ctrl(void *c, int what, int n, void *data)
{
    int ok = ((int (*)(void *, int, int, void *))real("EVP_CIPHER_CTX_ctrl"))(c, what, n, data);
    if (what == 0x10 && lie("tag"))
        *(char *)data ^= 1;
    return ok;
}

int EVP_DigestFinal_ex(void *c, unsigned char *o, unsigned *n)
{
    int ok = ((int (*)(void *, void *, unsigned *))real("EVP_DigestFinal_ex"))(c, o, n);
    if (lie("sha256"))
        *o ^= 1;
    return ok;
}

#ifndef WITHOUT_HMAC
unsigned char *HMAC(void *t, void *k, int kn, void *d, size_t dn, unsigned char *o, unsigned *n)
{
    ((void *(*)(void *, void *, int, void *, size_t, void *, unsigned *))real("HMAC"))(t, k, kn, d,
                                                                                      dn, o, n);
    if (lie("hmac"))
        *o ^= 1;
    return o;
}
#endif

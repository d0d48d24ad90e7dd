#ifndef SEALSERVE_LIBCRYPTO_H
#define SEALSERVE_LIBCRYPTO_H

/* Opens libcrypto once per process. Returns NULL, or why it could not be done. Not thread-safe. */
const char *libcrypto_open(void);

#endif

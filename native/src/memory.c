#define _GNU_SOURCE /* explicit_bzero */

#include "crypto.h"

#include <string.h>

int constant_time_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    unsigned difference = 0;
    for (size_t i = 0; i < bytes; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

void wipe(void *memory, size_t bytes)
{
    if (bytes)
        explicit_bzero(memory, bytes);
}

/* What the loader's threads share, as C11 atomics: Cython has no words for them. */
#ifndef SEALSERVE_THREADS_H
#define SEALSERVE_THREADS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    atomic_uint_fast64_t next; /* unit nobody has taken yet */
    atomic_uint_fast64_t done; /* bytes delivered */
    atomic_int stop;           /* somebody failed, or the caller gave up */
} progress_t;

static inline uint64_t take_unit(progress_t *shared)
{
    return atomic_fetch_add(&shared->next, 1);
}

static inline void add_done(progress_t *shared, uint64_t bytes)
{
    atomic_fetch_add(&shared->done, bytes);
}

static inline uint64_t bytes_done(progress_t *shared)
{
    return atomic_load(&shared->done);
}

static inline void request_stop(progress_t *shared)
{
    atomic_store(&shared->stop, 1);
}

static inline int stop_requested(progress_t *shared)
{
    return atomic_load(&shared->stop);
}

#endif

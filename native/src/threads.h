/* Threads that read a sealed payload, and what they share, as C11 atomics: Cython has no words for
 * those. */
#ifndef SEALSERVE_THREADS_H
#define SEALSERVE_THREADS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>

typedef struct {
    atomic_uint_fast64_t next; /* unit nobody has taken yet */
    atomic_uint_fast64_t done; /* bytes delivered */
    atomic_int stop;           /* somebody failed, or the caller gave up */
} progress_t;

typedef atomic_uchar flag_t;

/* With every signal blocked, so that they reach the threads that wait for them. 0, or an errno. */
static inline int start_thread(pthread_t *thread, void *(*work)(void *), void *argument)
{
    sigset_t every, before;
    int code;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    code = pthread_create(thread, NULL, work, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

/* Whatever else of this machine wants to run goes before this thread, for good. Where that may not
 * be asked for, they share. */
static inline void let_others_go_first(void)
{
    (void)setpriority(PRIO_PROCESS, 0, 19); /* of Linux: the calling thread's alone */
}

static inline void raise_flag(flag_t *flag)
{
    atomic_store(flag, 1);
}

static inline int is_raised(flag_t *flag)
{
    return atomic_load(flag);
}

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

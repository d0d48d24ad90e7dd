/* A system that does what it may: preloaded, it answers as a test has told it by unluck(KIND).
 *
 *     read-short, write-short                  a transfer moves 1 to 1000 bytes
 *     read-interrupted, write-interrupted      every other call is interrupted before it moves any
 *     read-fails=BYTES, write-fails=BYTES      EIO once so many bytes were moved
 *     write-nothing                            writing moves nothing, which is no error
 *     thread-fails=NUMBER                      the thread of that number, from 0, does not start
 *     advice-fails                             madvise is refused
 *     map-fails                                no file can be mapped
 *     populate-fails                           nor mapped pages be entered ahead (before Linux 5.14)
 *
 * To read is pread and to write is pwrite: what the native core and its twin call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

typedef ssize_t mover(int, void *, size_t, off_t);
typedef void *mapper(void *, size_t, int, int, int, off_t);
typedef int starter(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static char now[64];
static atomic_long calls, moved, threads;

void unluck(const char *kind)
{
    snprintf(now, sizeof now, "%s", kind);
    calls = moved = threads = 0;
}

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static int is(const char *kind)
{
    return strcmp(now, kind) == 0;
}

/* What stands behind `kind`, which ends in `=`; -1 if it is another one. */
static long number_of(const char *kind)
{
    size_t length = strlen(kind);
    return strncmp(now, kind, length) == 0 ? atol(now + length) : -1;
}

static ssize_t fails(int code)
{
    errno = code;
    return -1;
}

static ssize_t transfer(const char *name, int fd, void *data, size_t bytes, off_t at,
                        const char *briefly, const char *interrupted, const char *failing)
{
    long call = atomic_fetch_add(&calls, 1), limit = number_of(failing);
    if (is(interrupted) && call % 2 == 0)
        return fails(EINTR);
    if (limit >= 0 && moved >= limit)
        return fails(EIO);
    if (limit >= 0 && bytes > (size_t)(limit - moved))
        bytes = (size_t)(limit - moved);
    if (is(briefly) && bytes > (size_t)(call * 7 % 1000 + 1))
        bytes = (size_t)(call * 7 % 1000 + 1);
    ssize_t done = ((mover *)real(name))(fd, data, bytes, at);
    if (done > 0)
        atomic_fetch_add(&moved, done);
    return done;
}

ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
    return transfer("pread", fd, data, bytes, at, "read-short", "read-interrupted", "read-fails=");
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    if (is("write-nothing"))
        return 0;
    return transfer("pwrite", fd, (void *)data, bytes, at, "write-short", "write-interrupted",
                    "write-fails=");
}

/* The same with 64-bit offsets: one function on 64-bit systems, under two names. */
_Static_assert(sizeof(off_t) == 8, "off_t");
ssize_t pread64(int fd, void *data, size_t bytes, off_t at)
{
    return pread(fd, data, bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at)
{
    return pwrite(fd, data, bytes, at);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *with)
{
    if (atomic_fetch_add(&threads, 1) == number_of("thread-fails="))
        return EAGAIN;
    return ((starter *)real("pthread_create"))(thread, how, run, with);
}

void *mmap(void *wish, size_t bytes, int access, int how, int fd, off_t at)
{
    if (is("map-fails") && fd >= 0) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return ((mapper *)real("mmap"))(wish, bytes, access, how, fd, at);
}

void *mmap64(void *wish, size_t bytes, int access, int how, int fd, off_t at)
{
    return mmap(wish, bytes, access, how, fd, at);
}

int madvise(void *memory, size_t bytes, int advice)
{
    if (is("advice-fails") || (is("populate-fails") && advice == MADV_POPULATE_READ))
        return (int)fails(EINVAL);
    return ((int (*)(void *, size_t, int))real("madvise"))(memory, bytes, advice);
}

"""Opens a sealed payload from a file into its destinations, on several threads.

Each thread takes units of 256 chunks (exactly 1025 pages) from one counter and walks through them
in pieces that stay in its cache: read once into memory of its own, every page compared with the
trusted tree, then the chunks that are whole opened, and only then delivered. The GIL is released
for the whole load; the calling thread keeps it for callbacks and signals, and is the only one to
run Python code.
"""

import operator
import os

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.errno cimport EINTR, EIO, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memmove
from posix.unistd cimport ftruncate, pread, pwrite

from sealserve.native.cobblestone cimport Message, open_chunks
from sealserve.native.crypto cimport (
    GCM_KEY_BYTES,
    GCM_NONCE_BYTES,
    GCM_OPEN,
    GCM_TAG_BYTES,
    SHA256_BYTES,
    equal,
    free_key,
    gcm_key,
    wipe_memory,
)
from sealserve.native.secret cimport SecretBuffer
from sealserve.native.verity cimport TrustedTree, first_bad
from sealserve.native.views cimport View, writable

from sealserve.native.cobblestone import plain_size
from sealserve.native.destination import Cancelled, Destination, check_layout
from sealserve.native.errors import FormatError, IntegrityError


cdef extern from "threads.h" nogil:
    ctypedef struct progress_t:
        pass
    uint64_t take_unit(progress_t*)
    void add_done(progress_t*, uint64_t)
    uint64_t bytes_done(progress_t*)
    void request_stop(progress_t*)
    bint stop_requested(progress_t*)


cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_REALTIME


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t*)
    int SIG_SETMASK


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t*, void*, void* (*)(void*) noexcept nogil, void*)
    int pthread_join(pthread_t, void**)
    int pthread_timedjoin_np(pthread_t, void**, const timespec*)
    int pthread_sigmask(int, const sigset_t*, sigset_t*)


cdef enum:
    PAGE = 4096
    MESSAGE_HEADER = 56
    SEALED_CHUNK = 16384 + GCM_TAG_BYTES
    UNIT_CHUNKS = 256
    UNIT = UNIT_CHUNKS * SEALED_CHUNK  # exactly 1025 pages
    # A piece, what it opens to, and the chunk that reaches over its end fit the 512 KiB of level 2
    # cache of small server cores; a hash batch is 64 pages or fewer.
    PIECE = 48 * PAGE
    CARRY = 5 * PAGE  # room for a chunk that is not whole yet, so that pieces stay aligned
    RING = CARRY + PIECE
    PIECE_PLAIN = PIECE + 16384  # a piece and nearly a whole chunk in front of it, without tags
    TICK_NANOSECONDS = 50_000_000

cdef enum Failure:
    NONE
    SHORT
    READ
    BLOCK
    HASH
    HEADER
    CHUNK
    PADDING
    WRITE


cdef struct Target:
    uint64_t start
    uint64_t size
    uint64_t reach  # the furthest end of this one and all before it
    uint64_t offset
    int fd
    uint8_t* memory


cdef struct Job:
    progress_t shared
    int fd
    uint64_t header_bytes
    uint64_t header_units
    uint64_t payload_end
    uint64_t data_bytes
    uint64_t units
    const uint8_t* leaves
    const uint8_t* header
    uint8_t nonce[GCM_NONCE_BYTES]
    Target* targets
    Py_ssize_t target_count


cdef struct Worker:
    Job* job
    pthread_t thread
    bint started
    gcm_key* key
    uint8_t* ring  # a piece at CARRY, and in front of it the beginning of its first chunk
    uint8_t* plain
    Failure failure
    uint64_t where
    int code


MAX_THREADS = 64  # each holds half a MiB of buffers


def load(
    fd,
    *,
    payload_offset,
    payload_bytes,
    data_bytes,
    TrustedTree tree not None,
    Message message not None,
    destinations,
    threads=2,
    progress=None,
    cancelled=None,
):
    """Read [0, data_bytes) of a file once, check all of it, and deliver the plaintext.

    payload_offset: where the message begins, its 56 bytes of header included, so that the first
    chunk begins a page. payload_bytes: the whole message. data_bytes: up to the end of the last
    page of the message, and what `tree` covers. message: made of the header at payload_offset.
    destinations: may leave gaps, which are verified and discarded, and may overlap.
    progress(done_bytes, data_bytes) and cancelled() are called in this thread, before the first
    byte, about every 50 ms, and after the last one.

    Raises, before anything is read, ValueError for arguments that do not fit and FormatError for a
    payload_bytes that no message has. Later FormatError for padding that is not zero;
    IntegrityError for a file that is shorter than data_bytes or differs from tree or message;
    OSError if a file cannot be read or written; Cancelled. Then, and when a callback raises or a
    signal does, no thread is left running, the buffers' ranges are zeroed and the files truncated
    to nothing: partly delivered plaintext never stays.
    """
    cdef _Load work = _Load.__new__(_Load)
    plain_bytes = plain_size(payload_bytes)
    check_layout(payload_offset, payload_bytes, data_bytes)
    if data_bytes != tree.data_bytes:
        raise ValueError(f"data_bytes is {data_bytes}; the tree covers {tree.data_bytes}")
    work.set_layout(operator.index(fd), payload_offset + MESSAGE_HEADER, payload_bytes, data_bytes)
    work.set_secrets(tree, message)
    work.set_targets(destinations, plain_bytes)
    work.set_workers(operator.index(threads), message)
    try:
        work.run(progress, cancelled)
    except BaseException as error:
        work.forget(error)
        raise


cdef class _Load:
    """Owns what the threads use, for longer than they live."""

    cdef Job job
    cdef Worker* workers
    cdef Py_ssize_t worker_count
    cdef list kept  # views, secret memory and the tree that the pointers in here point into

    def __cinit__(self):
        self.kept = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        wipe_memory(self.job.nonce, GCM_NONCE_BYTES)
        for i in range(self.worker_count):
            free_key(self.workers[i].key)
            PyMem_RawFree(self.workers[i].ring)
        PyMem_RawFree(self.workers)
        PyMem_RawFree(self.job.targets)

    cdef set_layout(
        self, int fd, uint64_t header_bytes, uint64_t payload_bytes, uint64_t data_bytes
    ):
        cdef Job* job = &self.job
        job.fd = fd
        job.header_bytes = header_bytes
        job.header_units = _units(header_bytes)
        job.payload_end = header_bytes - <uint64_t> MESSAGE_HEADER + payload_bytes
        job.data_bytes = data_bytes
        job.units = job.header_units + _units(data_bytes - header_bytes)

    cdef set_secrets(self, TrustedTree tree, Message message):
        self.job.leaves = tree.leaves
        self.job.header = <const uint8_t*> message.header
        memcpy(self.job.nonce, message.secrets() + GCM_KEY_BYTES, GCM_NONCE_BYTES)
        self.kept += [tree, message.header]

    cdef set_targets(self, object destinations, object plain_bytes):
        cdef list wanted = list(destinations)
        cdef uint64_t reach = 0
        cdef Target* target
        cdef View view
        for destination in wanted:
            destination.check(plain_bytes)
        wanted.sort(key=_start)  # so that a piece finds its own among thousands
        self.job.targets = <Target*> _allocate(len(wanted) * sizeof(Target))
        for destination in wanted:
            target = &self.job.targets[self.job.target_count]
            target.start = destination.start
            target.size = destination.size
            target.offset = destination.offset
            reach = max(reach, target.start + target.size)
            target.reach = reach
            target.fd = -1
            if destination.fd is None:
                view = writable(destination.buffer)
                if destination.offset + destination.size > view.size:
                    raise ValueError(
                        f"a buffer of {view.size} bytes cannot take {destination.size} at"
                        f" {destination.offset}"
                    )
                self.kept.append(view)
                target.memory = view.data + target.offset
            else:
                target.fd = destination.fd
            self.job.target_count += 1

    cdef set_workers(self, object threads, Message message):
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads is {threads}; 1 to {MAX_THREADS} are possible")
        cdef Py_ssize_t count = min(threads, self.job.units)
        cdef SecretBuffer plain
        cdef Worker* worker
        self.workers = <Worker*> _allocate(count * sizeof(Worker))
        for _ in range(count):
            worker = &self.workers[self.worker_count]
            self.worker_count += 1
            worker.job = &self.job
            worker.ring = <uint8_t*> _allocate(RING)
            worker.key = message.schedule(GCM_OPEN)
            plain = SecretBuffer(PIECE_PLAIN)
            worker.plain = plain.data
            self.kept.append(plain)

    cdef run(self, object progress, object cancelled):
        cdef Py_ssize_t i
        self.tick(progress, cancelled)
        try:
            self.start()
            for i in range(self.worker_count):
                while not self.joined(&self.workers[i]):
                    self.tick(progress, cancelled)
        finally:
            self.stop()
        for i in range(self.worker_count):
            _raise_failure(&self.workers[i])
        self.tick(progress, cancelled)

    cdef tick(self, object progress, object cancelled):
        PyErr_CheckSignals()
        if progress is not None:
            progress(bytes_done(&self.job.shared), self.job.data_bytes)
        if cancelled is not None and cancelled():
            raise Cancelled("the load was cancelled")

    cdef start(self):
        """With every signal blocked, so that they reach the threads that wait for them."""
        cdef sigset_t every, before
        cdef Py_ssize_t i
        cdef int code = 0
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)
        for i in range(self.worker_count):
            code = pthread_create(&self.workers[i].thread, NULL, _work, &self.workers[i])
            if code:
                break
            self.workers[i].started = True
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if code:
            raise OSError(code, f"cannot start a thread: {os.strerror(code)}")

    cdef bint joined(self, Worker* worker) except -1:
        """Waits for one tick at most."""
        cdef timespec until
        cdef int code
        clock_gettime(CLOCK_REALTIME, &until)
        until.tv_nsec += TICK_NANOSECONDS
        if until.tv_nsec >= 1_000_000_000:
            until.tv_sec += 1
            until.tv_nsec -= 1_000_000_000
        with nogil:
            code = pthread_timedjoin_np(worker.thread, NULL, &until)
        if code == ETIMEDOUT:
            return False
        worker.started = False
        return True

    cdef stop(self):
        """No thread of ours runs once this returns; each ends within its unit."""
        cdef Py_ssize_t i
        request_stop(&self.job.shared)
        for i in range(self.worker_count):
            if self.workers[i].started:
                with nogil:
                    pthread_join(self.workers[i].thread, NULL)
                self.workers[i].started = False

    cdef forget(self, error):
        cdef Target* target
        cdef Py_ssize_t i
        for i in range(self.job.target_count):
            target = &self.job.targets[i]
            if target.memory is not NULL:
                wipe_memory(target.memory, target.size)
            elif ftruncate(target.fd, 0) != 0:
                error.add_note(
                    f"fd {target.fd} could not be emptied ({os.strerror(errno)}):"
                    " plaintext may remain in that file"
                )


def _start(destination):
    return operator.index(destination.start)


cdef void* _work(void* argument) noexcept nogil:
    cdef Worker* worker = <Worker*> argument
    cdef Job* job = worker.job
    cdef uint64_t unit = take_unit(&job.shared)
    while unit < job.units and not stop_requested(&job.shared):
        if not _process(job, worker, unit):
            request_stop(&job.shared)
        unit = take_unit(&job.shared)
    return NULL


cdef bint _process(Job* job, Worker* worker, uint64_t unit) noexcept nogil:
    cdef bint header = unit < job.header_units
    cdef uint64_t area = 0 if header else job.header_bytes
    cdef uint64_t number = unit if header else unit - job.header_units
    cdef uint64_t start = area + number * UNIT
    cdef uint64_t end = min(start + UNIT, job.header_bytes if header else job.data_bytes)
    if header:
        if not _check_header(job, worker, start, end):
            return False
    elif not _open_unit(job, worker, number * UNIT_CHUNKS, start, end):
        return False
    add_done(&job.shared, end - start)
    return True


cdef bint _check_header(Job* job, Worker* worker, uint64_t start, uint64_t end) noexcept nogil:
    """The message that is opened is the one that stands in the file."""
    cdef uint64_t size = MESSAGE_HEADER
    cdef uint64_t piece = 0
    while start < end:
        piece = min(end - start, <uint64_t> PIECE)
        if not _read_checked(job, worker, start, piece):
            return False
        start += piece
    if end < job.header_bytes:
        return True
    if equal(worker.ring + CARRY + piece - size, job.header, size):
        return True
    return _fail(worker, HEADER, 0, 0)


cdef bint _open_unit(
    Job* job, Worker* worker, uint64_t chunk, uint64_t start, uint64_t end
) noexcept nogil:
    """Piece by piece: what was checked is opened while it is still in the cache."""
    cdef uint64_t sealed_end = min(end, job.payload_end)
    cdef uint64_t opened = start  # where the first chunk that is not open begins
    cdef uint64_t at = start
    cdef uint64_t piece, ready
    while at < end:
        piece = min(end - at, <uint64_t> PIECE)
        if not _read_checked(job, worker, at, piece):
            return False
        at += piece
        if at == end and not _zero(worker.ring + CARRY + piece - (end - sealed_end),
                                   end - sealed_end):
            return _fail(worker, PADDING, sealed_end, 0)
        ready = sealed_end if at >= sealed_end else at - (at - start) % SEALED_CHUNK
        if not _open(job, worker, &chunk, worker.ring + RING - (PIECE - piece) - (at - opened),
                     ready - opened):
            return False
        opened = ready
        if at < end:
            memmove(worker.ring + CARRY - (at - opened), worker.ring + RING - (at - opened),
                    at - opened)
    return True


cdef bint _read_checked(Job* job, Worker* worker, uint64_t start, uint64_t size) noexcept nogil:
    """Read a piece behind the carry, once, and compare its pages with the tree."""
    cdef uint8_t* to = worker.ring + CARRY
    cdef uint64_t block = start // PAGE
    cdef uint64_t have = 0
    cdef ssize_t got
    cdef Py_ssize_t bad
    while have < size:
        got = pread(job.fd, to + have, size - have, start + have)
        if got == 0:
            return _fail(worker, SHORT, start + have, 0)
        if got < 0 and errno != EINTR:
            return _fail(worker, READ, start + have, errno)
        if got > 0:
            have += got
    bad = first_bad(job.leaves + block * SHA256_BYTES, to, size // PAGE)
    if bad == -1:
        return True
    return _fail(worker, HASH if bad == -2 else BLOCK, block + bad, 0)


cdef bint _open(
    Job* job, Worker* worker, uint64_t* chunk, const uint8_t* sealed, uint64_t size
) noexcept nogil:
    """Open and deliver whole chunks, or the message's last ones; `chunk` counts them."""
    cdef uint64_t chunks = (size + SEALED_CHUNK - 1) // SEALED_CHUNK
    cdef uint64_t first = chunk[0]
    cdef int64_t bad = open_chunks(worker.key, job.nonce, first, sealed, size, worker.plain)
    if bad >= 0:
        return _fail(worker, CHUNK, bad, 0)
    chunk[0] = first + chunks
    return _deliver(job, worker, first * 16384, size - chunks * GCM_TAG_BYTES)


cdef bint _deliver(Job* job, Worker* worker, uint64_t start, uint64_t size) noexcept nogil:
    cdef Py_ssize_t i = _first_beyond(job, start)
    cdef Target* target
    cdef uint64_t begin, end
    cdef const uint8_t* data
    while i < job.target_count and job.targets[i].start < start + size:
        target = &job.targets[i]
        i += 1
        begin = max(start, target.start)
        end = min(start + size, target.start + target.size)
        if begin >= end:
            continue
        data = worker.plain + (begin - start)
        if target.memory is not NULL:
            memcpy(target.memory + (begin - target.start), data, end - begin)
        elif not _write(worker, target, begin, data, end - begin):
            return False
    return True


cdef Py_ssize_t _first_beyond(Job* job, uint64_t start) noexcept nogil:
    """The first target that it or one before it reaches beyond `start`: none earlier does."""
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = job.target_count
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if job.targets[middle].reach > start:
            high = middle
        else:
            low = middle + 1
    return low


cdef bint _write(
    Worker* worker, Target* target, uint64_t begin, const uint8_t* data, uint64_t size
) noexcept nogil:
    cdef uint64_t at = target.offset + (begin - target.start)
    cdef ssize_t put
    while size:
        put = pwrite(target.fd, data, size, at)
        if put == 0:
            return _fail(worker, WRITE, begin, EIO)
        if put < 0 and errno != EINTR:
            return _fail(worker, WRITE, begin, errno)
        if put > 0:
            data += put
            at += put
            size -= put
    return True


cdef bint _fail(Worker* worker, Failure failure, uint64_t where, int code) noexcept nogil:
    worker.failure = failure
    worker.where = where
    worker.code = code
    return False


cdef bint _zero(const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint64_t i
    for i in range(size):
        if data[i]:
            return False
    return True


cdef int _raise_failure(Worker* worker) except -1:
    where = worker.where
    if worker.failure == NONE:
        return 0
    if worker.failure == SHORT:
        raise IntegrityError(
            f"the file ends at or before byte {where}; it has to have {worker.job.data_bytes}"
        )
    if worker.failure == READ:
        raise OSError(worker.code, f"cannot read byte {where}: {os.strerror(worker.code)}")
    if worker.failure == BLOCK:
        raise IntegrityError(f"block {where} is not the one in the hash tree")
    if worker.failure == HASH:
        raise MemoryError("libcrypto could not hash")
    if worker.failure == HEADER:
        raise IntegrityError("the message's header in the file is not the one it is opened with")
    if worker.failure == CHUNK:
        raise IntegrityError(f"chunk {where} does not authenticate")
    if worker.failure == PADDING:
        raise FormatError(f"the bytes from {where} on, behind the last chunk, are not zero")
    raise OSError(worker.code, f"cannot write plaintext: {os.strerror(worker.code)}")


cdef uint64_t _units(uint64_t size) noexcept:
    return (size + UNIT - 1) // UNIT


cdef void* _allocate(size_t size) except NULL:
    cdef void* memory = PyMem_RawCalloc(1, size or 1)
    if memory is NULL:
        raise MemoryError(f"no room for {size} bytes")
    return memory

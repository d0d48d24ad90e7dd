"""Opens a sealed payload from a file into its destinations, on several threads.

Each thread takes units of 256 chunks (exactly 1025 pages) from one counter and walks through them
as payload.pyx says. The GIL is released for the whole load; the calling thread keeps it for
callbacks and signals, and is the only one to run Python code.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree
from libc.errno cimport ETIMEDOUT, errno
from libc.stdint cimport uint8_t, uint64_t
from posix.unistd cimport ftruncate

from sealserve.native.checked cimport CheckedCopy, Copy, let_go, pages_of
from sealserve.native.cobblestone cimport Message
from sealserve.native.payload cimport (
    UNIT,
    UNIT_CHUNKS,
    _Opening,
    Payload,
    Target,
    Walker,
    allocate,
    check_header,
    open_copy,
    open_span,
    raise_failure,
)
from sealserve.native.threads cimport (
    add_done,
    bytes_done,
    progress_t,
    pthread_join,
    pthread_t,
    request_stop,
    start_thread,
    stop_requested,
    take_unit,
)
from sealserve.native.verity cimport TrustedTree

from sealserve.native.destination import Cancelled, Destination, check_threads


cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_REALTIME


cdef extern from "<pthread.h>" nogil:
    int pthread_timedjoin_np(pthread_t, void**, const timespec*)


cdef enum:
    TICK_NANOSECONDS = 200_000_000


# What a thread is handed: its walker, and what all of them count in.
cdef struct Worker:
    Shared* shared
    Walker* walker
    pthread_t thread
    bint started


cdef struct Shared:
    progress_t progress
    const Payload* payload
    Copy* copy  # or NULL
    uint64_t header_units
    uint64_t units
    uint64_t threads


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
    CheckedCopy checked=None,
):
    """Read [0, data_bytes) of a file once, check all of it, and deliver the plaintext.

    payload_offset: where the message begins, its 56 bytes of header included, so that the first
    chunk begins a page. payload_bytes: the whole message. data_bytes: up to the end of the last
    page of the message, and what `tree` covers. message: made of the header at payload_offset.
    destinations: may leave gaps, which are verified and discarded, and may overlap.
    progress(done_bytes, data_bytes) and cancelled() are called in this thread, before the first
    byte, about five times a second, and after the last one.
    checked: of the same payload and tree. It grows no more, what stands in it is opened from there
    instead of being read again, and its memory given back; no other load can have it.

    Raises, before anything is read, ValueError for arguments that do not fit and FormatError for a
    payload_bytes that no message has. Later FormatError for padding that is not zero;
    IntegrityError for a file that is shorter than data_bytes or differs from tree or message;
    OSError if a file cannot be read or written; Cancelled. Then, and when a callback raises or a
    signal does, no thread is left running, the buffers' ranges are zeroed and the files truncated
    to nothing: partly delivered plaintext never stays.
    """
    cdef _Load work = _Load.__new__(_Load)
    plain_bytes = work.set_layout(fd, payload_offset, payload_bytes, data_bytes)
    work.set_tree(tree)
    work.set_message(message)
    work.set_targets(destinations, plain_bytes)
    work.set_workers(check_threads(threads), message)
    work.set_copy(checked)
    work.map_file()
    try:
        work.run(progress, cancelled)
    except BaseException as error:
        work.forget(error)
        raise
    finally:
        if checked is not None:
            checked.in_use = False


cdef class _Load(_Opening):
    """An opening on several threads."""

    cdef Shared shared
    cdef Worker* workers

    def __dealloc__(self):
        PyMem_RawFree(self.workers)

    cdef set_workers(self, object threads, Message message):
        cdef const Payload* payload = &self.payload
        cdef Shared* shared = &self.shared
        cdef Py_ssize_t i
        shared.payload = payload
        shared.header_units = _units(payload.header_bytes)
        shared.units = shared.header_units + _units(payload.data_bytes - payload.header_bytes)
        self.add_walkers(min(threads, shared.units), message)
        shared.threads = self.walker_count
        self.workers = <Worker*> allocate(self.walker_count * sizeof(Worker))
        for i in range(self.walker_count):
            self.workers[i].shared = shared
            self.workers[i].walker = &self.walkers[i]

    cdef set_copy(self, CheckedCopy checked):
        if checked is not None:
            self.shared.copy = checked.of(&self.payload)
            self.kept.append(checked)

    cdef run(self, object progress, object cancelled):
        cdef Py_ssize_t i
        self.tick(progress, cancelled)
        try:
            self.start()
            for i in range(self.walker_count):
                while not self.joined(&self.workers[i]):
                    self.tick(progress, cancelled)
        finally:
            self.stop()
        for i in range(self.walker_count):
            raise_failure(&self.walkers[i])
        self.tick(progress, cancelled)

    cdef tick(self, object progress, object cancelled):
        PyErr_CheckSignals()
        if progress is not None:
            progress(bytes_done(&self.shared.progress), self.payload.data_bytes)
        if cancelled is not None and cancelled():
            raise Cancelled("the load was cancelled")

    cdef start(self):
        cdef Py_ssize_t i
        cdef int code
        for i in range(self.walker_count):
            code = start_thread(&self.workers[i].thread, _work, &self.workers[i])
            if code:
                raise OSError(code, f"cannot start a thread: {os.strerror(code)}")
            self.workers[i].started = True

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
        request_stop(&self.shared.progress)
        for i in range(self.walker_count):
            if self.workers[i].started:
                with nogil:
                    pthread_join(self.workers[i].thread, NULL)
                self.workers[i].started = False

    cdef forget(self, error):
        cdef Target* target
        cdef Py_ssize_t i
        self.wipe_buffers()
        for i in range(self.payload.target_count):
            target = &self.payload.targets[i]
            if target.memory is NULL and ftruncate(target.fd, 0) != 0:
                error.add_note(
                    f"fd {target.fd} could not be emptied ({os.strerror(errno)}):"
                    " plaintext may remain in that file"
                )


cdef void* _work(void* argument) noexcept nogil:
    cdef Worker* worker = <Worker*> argument
    cdef Shared* shared = worker.shared
    cdef uint64_t unit = take_unit(&shared.progress)
    while unit < shared.units and not stop_requested(&shared.progress):
        if not _process(shared, worker.walker, unit):
            request_stop(&shared.progress)
        unit = take_unit(&shared.progress)
    return NULL


cdef bint _process(Shared* shared, Walker* walker, uint64_t unit) noexcept nogil:
    cdef const Payload* payload = shared.payload
    cdef bint header = unit < shared.header_units
    cdef uint64_t area = 0 if header else payload.header_bytes
    cdef uint64_t number = unit if header else _spread(shared, unit - shared.header_units)
    cdef uint64_t start = area + number * UNIT
    cdef uint64_t end = min(start + UNIT, payload.header_bytes if header else payload.data_bytes)
    if header:
        if not check_header(walker, start, end):
            return False
    elif not _open_unit(shared, walker, number, start, end):
        return False
    add_done(&shared.progress, end - start)
    return True


cdef uint64_t _spread(const Shared* shared, uint64_t turn) noexcept nogil:
    """The unit of this turn: neighbours in turn are far from each other in the payload, since two
    threads that write to the same file wait for each other. Each unit has one turn.
    """
    cdef uint64_t units = shared.units - shared.header_units
    cdef uint64_t part = turn % shared.threads
    cdef uint64_t longer = units % shared.threads  # so many parts have a unit more
    return part * (units // shared.threads) + min(part, longer) + turn // shared.threads


cdef bint _open_unit(
    Shared* shared, Walker* walker, uint64_t unit, uint64_t start, uint64_t end
) noexcept nogil:
    cdef uint64_t chunk = unit * UNIT_CHUNKS
    cdef const uint8_t* pages = pages_of(shared.copy, unit) if shared.copy is not NULL else NULL
    if pages is NULL:
        return open_span(walker, chunk, start, end, min(end, shared.payload.payload_end))
    if not open_copy(walker, chunk, start, end, pages):
        return False
    let_go(shared.copy, unit)
    return True


cdef uint64_t _units(uint64_t size) noexcept:
    return (size + UNIT - 1) // UNIT

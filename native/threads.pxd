from libc.stdint cimport uint64_t


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_join(pthread_t, void**)


cdef extern from "threads.h" nogil:
    ctypedef struct progress_t:
        pass
    uint64_t take_unit(progress_t*)
    void add_done(progress_t*, uint64_t)
    uint64_t bytes_done(progress_t*)
    void request_stop(progress_t*)
    bint stop_requested(progress_t*)
    ctypedef struct flag_t:
        pass
    void raise_flag(flag_t*)
    bint is_raised(flag_t*)
    int start_thread(pthread_t*, void* (*)(void*) noexcept nogil, void*)
    void let_others_go_first()

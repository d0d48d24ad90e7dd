from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef extern from "nghttp2.h":
    ctypedef struct nghttp2_session:
        pass

    ctypedef struct nghttp2_session_callbacks:
        pass

    ctypedef struct nghttp2_option:
        pass

    ctypedef struct nghttp2_frame_hd:
        int32_t stream_id
        uint8_t type
        uint8_t flags

    ctypedef struct nghttp2_headers:
        int cat

    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_headers headers

    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags

    ctypedef struct nghttp2_data_source:
        void *ptr

    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value

    ctypedef Py_ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *
    ) noexcept

    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

    ctypedef int (*nghttp2_on_frame_callback)(
        nghttp2_session *, const nghttp2_frame *, void *
    ) noexcept
    ctypedef int (*nghttp2_on_header_callback)(
        nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t,
        uint8_t, void *
    ) noexcept
    ctypedef int (*nghttp2_on_data_chunk_recv_callback)(
        nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *
    ) noexcept
    ctypedef int (*nghttp2_on_stream_close_callback)(
        nghttp2_session *, int32_t, uint32_t, void *
    ) noexcept

    int NGHTTP2_DATA
    int NGHTTP2_HEADERS
    uint8_t NGHTTP2_FLAG_END_STREAM
    int NGHTTP2_HCAT_REQUEST
    int NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    int NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
    int NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    uint32_t NGHTTP2_DATA_FLAG_EOF
    uint32_t NGHTTP2_DATA_FLAG_NO_END_STREAM
    uint32_t NGHTTP2_NO_ERROR
    int NGHTTP2_ERR_DEFERRED
    int NGHTTP2_ERR_CALLBACK_FAILURE

    ctypedef struct functions "struct nghttp2_functions":
        int (*callbacks_new)(nghttp2_session_callbacks **)
        void (*on_begin_headers)(nghttp2_session_callbacks *, nghttp2_on_frame_callback)
        void (*on_header)(nghttp2_session_callbacks *, nghttp2_on_header_callback)
        void (*on_frame_recv)(nghttp2_session_callbacks *, nghttp2_on_frame_callback)
        void (*on_frame_send)(nghttp2_session_callbacks *, nghttp2_on_frame_callback)
        void (*on_data_chunk_recv)(
            nghttp2_session_callbacks *, nghttp2_on_data_chunk_recv_callback
        )
        void (*on_stream_close)(nghttp2_session_callbacks *, nghttp2_on_stream_close_callback)
        int (*option_new)(nghttp2_option **)
        void (*option_no_auto_window_update)(nghttp2_option *, int)
        void (*option_no_closed_streams)(nghttp2_option *, int)
        void (*option_stream_reset_rate_limit)(nghttp2_option *, uint64_t, uint64_t)
        void (*option_max_continuations)(nghttp2_option *, size_t)
        int (*session_server_new2)(
            nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *
        )
        void (*session_del)(nghttp2_session *)
        Py_ssize_t (*session_mem_recv)(nghttp2_session *, const uint8_t *, size_t)
        Py_ssize_t (*session_mem_send)(nghttp2_session *, const uint8_t **)
        int (*session_want_read)(nghttp2_session *)
        int (*session_want_write)(nghttp2_session *)
        size_t (*session_get_outbound_queue_size)(nghttp2_session *)
        int (*session_consume_connection)(nghttp2_session *, size_t)
        int (*session_consume_stream)(nghttp2_session *, int32_t, size_t)
        int (*session_resume_data)(nghttp2_session *, int32_t)
        int32_t (*session_get_last_proc_stream_id)(nghttp2_session *)
        int (*session_set_local_window_size)(nghttp2_session *, uint8_t, int32_t, int32_t)
        int (*submit_settings)(
            nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t
        )
        int (*submit_response)(
            nghttp2_session *, int32_t, const nghttp2_nv *, size_t, const nghttp2_data_provider *
        )
        int (*submit_trailer)(nghttp2_session *, int32_t, const nghttp2_nv *, size_t)
        int (*submit_rst_stream)(nghttp2_session *, uint8_t, int32_t, uint32_t)
        int (*submit_shutdown_notice)(nghttp2_session *)
        int (*submit_goaway)(
            nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t
        )
        const char *(*strerror)(int)

    functions nghttp2
    const char *nghttp2_open()


cdef class Stream:
    cdef readonly int32_t id
    cdef readonly list headers
    cdef readonly bint opened
    cdef readonly bint ended
    cdef readonly bint closed
    cdef readonly bint headers_too_long
    cdef readonly Py_ssize_t too_long
    cdef public object call
    cdef size_t header_bytes
    # What comes: a complete message and behind it `rest`, unread; or one that is coming, of which
    # those up to `have` are there; it is a part of `message`.
    cdef tuple waiting
    cdef bytearray rest
    cdef bytes message
    cdef size_t message_begin
    cdef size_t message_end
    cdef bint compressed
    cdef size_t have
    cdef uint8_t prefix[5]
    cdef size_t prefix_have
    cdef size_t owed
    cdef bint deaf
    # What goes: the first of `out` from `sent` on, and in the end `trailers`.
    cdef object out
    cdef size_t sent
    cdef size_t out_bytes
    cdef list trailers
    cdef bint touched

    cdef int feed(self, const uint8_t *data, size_t size, size_t most) except -1
    cdef int advance(self, size_t most) except -1
    cdef size_t _scan(self, const uint8_t *data, size_t size, size_t most) except? 0
    cdef int _begin_message(self, size_t most) except -1
    cdef size_t fill(self, uint8_t *to, size_t room) noexcept


cdef class Session:
    cdef nghttp2_session *session
    cdef readonly dict streams
    cdef list happened
    cdef size_t max_message
    cdef size_t max_headers
    cdef size_t most_waiting
    cdef object failure

    cdef Stream stream(self, int32_t id)
    cdef void touch(self, Stream stream) noexcept
    cdef int _submit(self, Stream stream, list headers, bint with_data) except -1
    cdef void _consume(self, Stream stream) noexcept

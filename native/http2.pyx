"""HTTP/2 as a server of gRPC speaks it: bytes in, messages out, and no socket.

libnghttp2 [RFC 9113, RFC 7541] does frames, header compression, flow control and the limits of
both; what is added are gRPC's messages [grpc/grpc doc/PROTOCOL-HTTP2.md]: five bytes of prefix,
then as many as they say. A `Session` is one connection. It is given what came (`receive`), and asked
for what goes (`send`) and for the streams to which something happened (`touched`).

A caller may have one message on its way and a window more: leave to send on is given for what is
taken, and for the message that is coming as long as none waits. What comes behind one that waits is
not looked at: as objects, messages of a byte would take seventeen times the window.
"""

from collections import deque

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sealserve.native.views cimport View, readable

from sealserve.native.errors import InputError, UnavailableError

WINDOW_BYTES = 2**20  # of one stream; of a connection four of them
_COMPRESSED = 1
_HEADER_OVERHEAD = 32  # that a header counts beside its letters [RFC 9113 section 6.5.2]
# Frames of ours that may wait: of a stream its answer, leave to send on and its reset, and what has
# to be said of streams that never were. Whoever asks for more and reads nothing is not served.
_MOST_WAITING = 1000
_MOST_WAITING_OF_STREAM = 8
# The library's own values. A connection of which more is reset by its peer [CVE-2023-44487], or whose
# headers come in more frames [CVE-2024-28182], is ended.
_RESETS_AT_ONCE = 1000
_RESETS_PER_SECOND = 33
_MOST_CONTINUATIONS = 8
cdef enum:
    SEND_BYTES = 256 * 1024  # of one `send`, and one frame more
    FRAME_ROOM = 64 * 1024  # frames have 16 KiB and a header, since nobody asks for longer ones
    # Messages end at such an address: a tensor's contents are the last of a prediction, and numbers
    # that stand where a processor wants them need not be copied.
    ALIGNED = 64
cdef uint8_t outgoing[SEND_BYTES + FRAME_ROOM]
cdef nghttp2_session_callbacks *callbacks = NULL
cdef nghttp2_option *options = NULL


cdef class Stream:
    """One call's. headers: as they came, names in lower case, those with a colon first.

    opened: they are complete. ended: nothing comes any more. closed: nor goes. headers_too_long,
    too_long (the bytes it announced): what was refused, and not kept. call: whoever serves it.
    """

    def __cinit__(self, int32_t id):
        self.id = id
        self.headers = []
        self.out = deque()

    @property
    def partial(self) -> bool:
        """Whether a message began to come and is not complete."""
        return self.message is not None or self.prefix_have > 0

    @property
    def unsent(self) -> int:
        """Bytes that wait for their turn or for leave to go."""
        return self.out_bytes

    cdef int feed(self, const uint8_t *data, size_t size, size_t most) except -1:
        cdef size_t read = self._scan(data, size, most)
        if read == size or self.deaf:
            return 0
        if self.rest is None:
            self.rest = bytearray()
        self.rest += data[read:size]
        return 0

    cdef int advance(self, size_t most) except -1:
        """The message that waited was taken: look for one in `rest`."""
        cdef size_t read
        self.waiting = None
        if self.rest:
            read = self._scan(
                <const uint8_t *> PyByteArray_AS_STRING(self.rest), len(self.rest), most
            )
            del self.rest[:read]
        return 0

    cdef size_t _scan(self, const uint8_t *data, size_t size, size_t most) except? 0:
        """Bytes that are read: all, or up to the end of a message."""
        cdef size_t part
        cdef const uint8_t *began = data
        while size and not self.deaf and self.waiting is None:
            if self.message is None:
                part = min(size, 5 - self.prefix_have)
                memcpy(self.prefix + self.prefix_have, data, part)
                self.prefix_have += part
                if self.prefix_have == 5:
                    self._begin_message(most)
            else:
                part = min(size, self.message_end - self.have)
                memcpy(PyBytes_AS_STRING(self.message) + self.have, data, part)
                self.have += part
            data += part
            size -= part
            if self.message is not None and self.have == self.message_end:
                whole = memoryview(self.message)[self.message_begin:self.message_end]
                self.waiting = (self.compressed, whole)
                self.message = None
        return data - began

    cdef int _begin_message(self, size_t most) except -1:
        cdef uint8_t *p = self.prefix
        cdef size_t size = (<size_t> p[1] << 24) | (p[2] << 16) | (p[3] << 8) | p[4]
        self.prefix_have = 0
        self.compressed = p[0] == _COMPRESSED
        if size > most or p[0] > _COMPRESSED:
            self.too_long = size if size > most else -1
            self.deaf = True
            return 0
        self.message = PyBytes_FromStringAndSize(NULL, ALIGNED + size)
        self.message_begin = -(<size_t> PyBytes_AS_STRING(self.message) + size) % ALIGNED
        self.message_end = self.message_begin + size
        self.have = self.message_begin
        return 0

    cdef size_t fill(self, uint8_t *to, size_t room) noexcept:
        cdef size_t written = 0
        cdef size_t part
        cdef bytes chunk
        while written < room and self.out:
            chunk = self.out[0]
            part = min(room - written, <size_t> PyBytes_GET_SIZE(chunk) - self.sent)
            memcpy(to + written, PyBytes_AS_STRING(chunk) + self.sent, part)
            written += part
            self.sent += part
            if self.sent == <size_t> PyBytes_GET_SIZE(chunk):
                self.out.popleft()
                self.sent = 0
        self.out_bytes -= written
        return written


cdef class Session:
    """One connection, as its server. streams: those that are not closed, by number."""

    def __cinit__(self, *, size_t max_message, uint32_t max_headers, uint32_t max_streams):
        """max_message, max_headers: bytes. Raises UnavailableError without libnghttp2."""
        _prepare()
        self.streams = {}
        self.happened = []
        self.max_message = max_message
        self.max_headers = max_headers
        self.most_waiting = _MOST_WAITING + _MOST_WAITING_OF_STREAM * <size_t> max_streams
        if nghttp2.session_server_new2(&self.session, callbacks, <void *> self, options):
            raise MemoryError
        cdef nghttp2_settings_entry settings[3]
        settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        settings[0].value = max_streams
        settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[1].value = WINDOW_BYTES
        settings[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[2].value = max_headers
        _require(nghttp2.submit_settings(self.session, 0, settings, 3))
        _require(nghttp2.session_set_local_window_size(self.session, 0, 0, 4 * WINDOW_BYTES))

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2.session_del(self.session)

    def receive(self, data) -> None:
        """What came: any bytes, which are not kept.

        Raises InputError if this cannot be HTTP/2; the connection is over then.
        """
        cdef View came = readable(data)
        cdef Py_ssize_t read = nghttp2.session_mem_recv(self.session, came.data, came.size)
        if self.failure is not None:
            raise self.failure
        if read < 0:
            raise InputError(f"no HTTP/2: {nghttp2.strerror(<int> read).decode()}")
        if nghttp2.session_get_outbound_queue_size(self.session) > self.most_waiting:
            raise InputError("no HTTP/2: a peer that asks for much and reads nothing")

    def send(self) -> bytes:
        """What goes now, about 256 KiB at most; empty if nothing does."""
        cdef const uint8_t *frame
        cdef size_t size = 0
        cdef Py_ssize_t part
        while size < SEND_BYTES:
            part = nghttp2.session_mem_send(self.session, &frame)
            if part == 0:
                break
            if part < 0 or part > FRAME_ROOM:
                raise self.failure or MemoryError()
            memcpy(outgoing + size, frame, part)
            size += part
        return PyBytes_FromStringAndSize(<char *> outgoing, size)

    def touched(self) -> list:
        """The streams to which something happened since this was asked."""
        cdef Stream stream
        happened = self.happened
        self.happened = []
        for stream in happened:
            stream.touched = False
        return happened

    @property
    def alive(self) -> bool:
        """False once nothing more can come or go."""
        return bool(
            nghttp2.session_want_read(self.session) or nghttp2.session_want_write(self.session)
        )

    def take(self, Stream stream not None):
        """Its next message, a view of bytes, with whether it is compressed; None if none is there.

        Its end is aligned to 64 bytes.
        """
        message = stream.waiting
        if message is None:
            return None
        stream.advance(self.max_message)
        if stream.too_long:
            self.touch(stream)
        if stream.waiting is None:
            self._consume(stream)
        return message

    def ignore(self, Stream stream not None) -> None:
        """Take nothing of it any more, and drop what is there."""
        stream.deaf = True
        stream.waiting = stream.message = stream.rest = None
        self._consume(stream)

    def respond(self, Stream stream not None, list headers not None) -> None:
        """Begin an answer; `write` and `finish` follow. headers: pairs of bytes, `:status` first."""
        self._submit(stream, headers, True)

    def refuse(self, Stream stream not None, list headers not None) -> None:
        """An answer that has headers and nothing else."""
        self._submit(stream, headers, False)

    def write(self, Stream stream not None, bytes message not None) -> None:
        """One message of an answer."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
        if size >= 2**32:
            raise OverflowError("a message of gRPC has less than 4 GiB")
        cdef uint8_t prefix[5]
        prefix[0] = 0
        prefix[1] = <uint8_t> (size >> 24)
        prefix[2] = <uint8_t> (size >> 16)
        prefix[3] = <uint8_t> (size >> 8)
        prefix[4] = <uint8_t> size
        stream.out.append(PyBytes_FromStringAndSize(<char *> prefix, 5))
        if size:
            stream.out.append(message)
        stream.out_bytes += 5 + size
        nghttp2.session_resume_data(self.session, stream.id)  # an error if nothing waits: fine

    def finish(self, Stream stream not None, list trailers not None) -> None:
        """End an answer. trailers: pairs of bytes."""
        stream.trailers = trailers
        nghttp2.session_resume_data(self.session, stream.id)

    def reset(self, Stream stream not None, uint32_t code) -> None:
        """End a stream in the middle. code: of RFC 9113 section 7."""
        if not stream.closed:
            _require(nghttp2.submit_rst_stream(self.session, 0, stream.id, code))

    def close(self, Stream stream not None) -> None:
        """It is over with its connection."""
        self.streams.pop(stream.id, None)
        stream.closed = stream.deaf = True
        self.touch(stream)

    def announce_end(self) -> None:
        """Ask to begin no more streams; those that are on their way are served [section 6.8]."""
        _require(nghttp2.submit_shutdown_notice(self.session))

    def begin_no_more(self) -> None:
        """Serve no stream that is not open yet; its caller is told that it was not looked at."""
        cdef int32_t last = nghttp2.session_get_last_proc_stream_id(self.session)
        _require(
            nghttp2.submit_goaway(self.session, 0, last, NGHTTP2_NO_ERROR, NULL, 0)
        )

    cdef Stream stream(self, int32_t id):
        return self.streams.get(id)

    cdef void touch(self, Stream stream) noexcept:
        if not stream.touched:
            self.happened.append(stream)
            stream.touched = True

    cdef int _submit(self, Stream stream, list headers, bint with_data) except -1:
        if stream.closed:
            return 0
        cdef nghttp2_data_provider provider
        provider.source.ptr = NULL
        provider.read_callback = _read
        cdef nghttp2_nv *pairs = _pairs(headers)
        try:
            _require(
                nghttp2.submit_response(
                    self.session, stream.id, pairs, len(headers), &provider if with_data else NULL
                )
            )
        finally:
            free(pairs)
        return 0

    cdef void _consume(self, Stream stream) noexcept:
        if stream.owed and not stream.closed:
            nghttp2.session_consume_stream(self.session, stream.id, stream.owed)
        stream.owed = 0


def require_library() -> None:
    """UnavailableError unless HTTP/2's library is there."""
    _prepare()


cdef int _prepare() except -1:
    global callbacks, options
    if callbacks != NULL:
        return 0
    cdef const char *why = nghttp2_open()
    if why != NULL:
        raise UnavailableError(
            why.decode(), hint="a server needs it: apt-get install libnghttp2-14"
        )
    if nghttp2.option_new(&options) or nghttp2.callbacks_new(&callbacks):
        raise MemoryError
    nghttp2.option_no_auto_window_update(options, 1)
    nghttp2.option_no_closed_streams(options, 1)
    nghttp2.option_stream_reset_rate_limit(options, _RESETS_AT_ONCE, _RESETS_PER_SECOND)
    nghttp2.option_max_continuations(options, _MOST_CONTINUATIONS)
    nghttp2.on_begin_headers(callbacks, _on_begin_headers)
    nghttp2.on_header(callbacks, _on_header)
    nghttp2.on_frame_recv(callbacks, _on_frame_recv)
    nghttp2.on_frame_send(callbacks, _on_frame_send)
    nghttp2.on_data_chunk_recv(callbacks, _on_data)
    nghttp2.on_stream_close(callbacks, _on_stream_close)
    return 0


cdef int _require(int result) except -1:
    """Of calls that fail for want of memory only, or because we made a mistake."""
    if result < 0:
        raise RuntimeError(f"nghttp2: {nghttp2.strerror(result).decode()}")
    return 0


cdef nghttp2_nv *_pairs(list headers) except NULL:
    """Points into `headers`; to be freed."""
    cdef nghttp2_nv *pairs = <nghttp2_nv *> malloc((len(headers) + 1) * sizeof(nghttp2_nv))
    cdef bytes name, value
    cdef Py_ssize_t index = 0
    if pairs == NULL:
        raise MemoryError
    for name, value in headers:
        pairs[index].name = <uint8_t *> PyBytes_AS_STRING(name)
        pairs[index].namelen = PyBytes_GET_SIZE(name)
        pairs[index].value = <uint8_t *> PyBytes_AS_STRING(value)
        pairs[index].valuelen = PyBytes_GET_SIZE(value)
        pairs[index].flags = 0
        index += 1
    return pairs


cdef int _on_begin_headers(
    nghttp2_session *_session, const nghttp2_frame *frame, void *user
) noexcept:
    cdef Session session = <Session> user
    if frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
        try:
            session.streams[frame.hd.stream_id] = Stream(frame.hd.stream_id)
        except BaseException as error:
            return _failed(session, error)
    return 0


cdef int _on_header(
    nghttp2_session *_session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
    const uint8_t *value, size_t value_bytes, uint8_t _flags, void *user
) noexcept:
    cdef Session session = <Session> user
    cdef Stream stream = session.stream(frame.hd.stream_id)
    if stream is None or stream.opened:
        return 0  # trailers of a request say nothing in gRPC
    stream.header_bytes += name_bytes + value_bytes + _HEADER_OVERHEAD
    if stream.header_bytes > session.max_headers:
        stream.headers_too_long = True
        return 0
    try:
        stream.headers.append((name[:name_bytes], value[:value_bytes]))
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef int _on_frame_recv(nghttp2_session *_session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session session = <Session> user
    if frame.hd.type != NGHTTP2_HEADERS and frame.hd.type != NGHTTP2_DATA:
        return 0
    cdef Stream stream = session.stream(frame.hd.stream_id)
    if stream is None:
        return 0
    if frame.hd.type == NGHTTP2_HEADERS:
        stream.opened = True
        session.touch(stream)
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream.ended = True
        session.touch(stream)
    return 0


cdef int _on_data(
    nghttp2_session *_session, uint8_t _flags, int32_t id, const uint8_t *data, size_t size,
    void *user
) noexcept:
    cdef Session session = <Session> user
    nghttp2.session_consume_connection(session.session, size)
    cdef Stream stream = session.stream(id)
    if stream is None:
        return 0
    try:
        stream.feed(data, size, session.max_message)
        stream.owed += size
        if stream.waiting is not None or stream.too_long:
            session.touch(stream)
        if stream.waiting is None:
            session._consume(stream)
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef int _on_frame_send(nghttp2_session *_session, const nghttp2_frame *frame, void *user) noexcept:
    """A caller that still sends when its answer is complete is told to stop [section 8.1]."""
    cdef Session session = <Session> user
    if frame.hd.type != NGHTTP2_HEADERS or not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        return 0
    cdef Stream stream = session.stream(frame.hd.stream_id)
    if stream is not None and not stream.ended:
        nghttp2.submit_rst_stream(session.session, 0, stream.id, NGHTTP2_NO_ERROR)
    return 0


cdef int _on_stream_close(
    nghttp2_session *_session, int32_t id, uint32_t _code, void *user
) noexcept:
    cdef Session session = <Session> user
    cdef Stream stream = session.streams.pop(id, None)
    if stream is not None:
        stream.closed = stream.deaf = True
        session.touch(stream)
    return 0


cdef Py_ssize_t _read(
    nghttp2_session *_session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
    nghttp2_data_source *_source, void *user
) noexcept:
    """The next part of an answer; nghttp2 asks for it when there is leave to send it."""
    cdef Session session = <Session> user
    cdef Stream stream = session.stream(id)
    if stream is None:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    cdef size_t written = stream.fill(to, room)
    if stream.out:
        return written
    session.touch(stream)
    if stream.trailers is not None:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        try:
            _submit_trailers(session, stream)
        except BaseException as error:
            return _failed(session, error)
    elif not written:
        return NGHTTP2_ERR_DEFERRED
    return written


cdef int _submit_trailers(Session session, Stream stream) except -1:
    cdef nghttp2_nv *pairs = _pairs(stream.trailers)
    try:
        _require(
            nghttp2.submit_trailer(session.session, stream.id, pairs, len(stream.trailers))
        )
    finally:
        free(pairs)
    return 0


cdef int _failed(Session session, object error) noexcept:
    session.failure = error
    return NGHTTP2_ERR_CALLBACK_FAILURE

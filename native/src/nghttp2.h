#ifndef SEALSERVE_NGHTTP2_H
#define SEALSERVE_NGHTTP2_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The part of nghttp2/nghttp2.h (libnghttp2.so.14, 1.52) that a server of gRPC needs; the library
   keeps this interface since 1.0, but for the two limits against floods: distributions have brought
   these to whatever version they have, and one without them is not good enough. Declared here so
   that neither a build nor a client needs it. */

typedef struct nghttp2_session nghttp2_session;
typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
typedef struct nghttp2_option nghttp2_option;

typedef struct {
    size_t length;
    int32_t stream_id;
    uint8_t type;
    uint8_t flags;
    uint8_t reserved;
} nghttp2_frame_hd;

/* Every frame begins with its header. Of HEADERS also the last member is of interest. */
typedef struct {
    int32_t stream_id;
    int32_t weight;
    uint8_t exclusive;
} nghttp2_priority_spec;

typedef struct {
    uint8_t *name;
    uint8_t *value;
    size_t namelen;
    size_t valuelen;
    uint8_t flags;
} nghttp2_nv;

typedef struct {
    nghttp2_frame_hd hd;
    size_t padlen;
    nghttp2_priority_spec pri_spec;
    nghttp2_nv *nva;
    size_t nvlen;
    int cat;
} nghttp2_headers;

typedef union {
    nghttp2_frame_hd hd;
    nghttp2_headers headers;
} nghttp2_frame;

typedef union {
    int fd;
    void *ptr;
} nghttp2_data_source;

typedef ssize_t (*nghttp2_data_source_read_callback)(nghttp2_session *, int32_t, uint8_t *, size_t,
                                                     uint32_t *, nghttp2_data_source *, void *);

typedef struct {
    nghttp2_data_source source;
    nghttp2_data_source_read_callback read_callback;
} nghttp2_data_provider;

typedef struct {
    int32_t settings_id;
    uint32_t value;
} nghttp2_settings_entry;

typedef int (*nghttp2_on_begin_headers_callback)(nghttp2_session *, const nghttp2_frame *, void *);
typedef int (*nghttp2_on_header_callback)(nghttp2_session *, const nghttp2_frame *,
                                          const uint8_t *, size_t, const uint8_t *, size_t, uint8_t,
                                          void *);
typedef int (*nghttp2_on_frame_callback)(nghttp2_session *, const nghttp2_frame *, void *);
typedef int (*nghttp2_on_data_chunk_recv_callback)(nghttp2_session *, uint8_t, int32_t,
                                                   const uint8_t *, size_t, void *);
typedef int (*nghttp2_on_stream_close_callback)(nghttp2_session *, int32_t, uint32_t, void *);

enum {
    NGHTTP2_DATA = 0,
    NGHTTP2_HEADERS = 1,
    NGHTTP2_FLAG_END_STREAM = 1,
    NGHTTP2_HCAT_REQUEST = 0,
    NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS = 3,
    NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE = 4,
    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE = 6,
    NGHTTP2_DATA_FLAG_EOF = 1,
    NGHTTP2_DATA_FLAG_NO_END_STREAM = 2,
    NGHTTP2_NO_ERROR = 0,
    NGHTTP2_ERR_DEFERRED = -508,
    NGHTTP2_ERR_CALLBACK_FAILURE = -902
};

struct nghttp2_functions {
    int (*callbacks_new)(nghttp2_session_callbacks **);
    void (*on_begin_headers)(nghttp2_session_callbacks *, nghttp2_on_begin_headers_callback);
    void (*on_header)(nghttp2_session_callbacks *, nghttp2_on_header_callback);
    void (*on_frame_recv)(nghttp2_session_callbacks *, nghttp2_on_frame_callback);
    void (*on_frame_send)(nghttp2_session_callbacks *, nghttp2_on_frame_callback);
    void (*on_data_chunk_recv)(nghttp2_session_callbacks *, nghttp2_on_data_chunk_recv_callback);
    void (*on_stream_close)(nghttp2_session_callbacks *, nghttp2_on_stream_close_callback);
    int (*option_new)(nghttp2_option **);
    void (*option_del)(nghttp2_option *);
    void (*option_no_auto_window_update)(nghttp2_option *, int);
    void (*option_no_closed_streams)(nghttp2_option *, int);
    void (*option_stream_reset_rate_limit)(nghttp2_option *, uint64_t, uint64_t);
    void (*option_max_continuations)(nghttp2_option *, size_t);
    int (*session_server_new2)(nghttp2_session **, const nghttp2_session_callbacks *, void *,
                               const nghttp2_option *);
    void (*session_del)(nghttp2_session *);
    ssize_t (*session_mem_recv)(nghttp2_session *, const uint8_t *, size_t);
    ssize_t (*session_mem_send)(nghttp2_session *, const uint8_t **);
    int (*session_want_read)(nghttp2_session *);
    int (*session_want_write)(nghttp2_session *);
    size_t (*session_get_outbound_queue_size)(nghttp2_session *);
    int (*session_consume_connection)(nghttp2_session *, size_t);
    int (*session_consume_stream)(nghttp2_session *, int32_t, size_t);
    int (*session_resume_data)(nghttp2_session *, int32_t);
    int32_t (*session_get_last_proc_stream_id)(nghttp2_session *);
    int (*session_set_local_window_size)(nghttp2_session *, uint8_t, int32_t, int32_t);
    int (*submit_settings)(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t);
    int (*submit_response)(nghttp2_session *, int32_t, const nghttp2_nv *, size_t,
                           const nghttp2_data_provider *);
    int (*submit_trailer)(nghttp2_session *, int32_t, const nghttp2_nv *, size_t);
    int (*submit_rst_stream)(nghttp2_session *, uint8_t, int32_t, uint32_t);
    int (*submit_shutdown_notice)(nghttp2_session *);
    int (*submit_goaway)(nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t);
    const char *(*strerror)(int);
};

extern struct nghttp2_functions nghttp2;

/* Opens the library once per process. Returns NULL, or why it could not be done. Not thread-safe. */
const char *nghttp2_open(void);

#endif

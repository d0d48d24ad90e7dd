/* HTTP/2's library, opened at run time like libcrypto: only a server needs it. */
#include "nghttp2.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct nghttp2_functions nghttp2;

static const struct {
    void *slot;
    const char *name;
} NAMES[] = {
    {&nghttp2.callbacks_new, "session_callbacks_new"},
    {&nghttp2.on_begin_headers, "session_callbacks_set_on_begin_headers_callback"},
    {&nghttp2.on_header, "session_callbacks_set_on_header_callback"},
    {&nghttp2.on_frame_recv, "session_callbacks_set_on_frame_recv_callback"},
    {&nghttp2.on_frame_send, "session_callbacks_set_on_frame_send_callback"},
    {&nghttp2.on_data_chunk_recv, "session_callbacks_set_on_data_chunk_recv_callback"},
    {&nghttp2.on_stream_close, "session_callbacks_set_on_stream_close_callback"},
    {&nghttp2.option_new, "option_new"},
    {&nghttp2.option_del, "option_del"},
    {&nghttp2.option_no_auto_window_update, "option_set_no_auto_window_update"},
    {&nghttp2.option_no_closed_streams, "option_set_no_closed_streams"},
    {&nghttp2.option_stream_reset_rate_limit, "option_set_stream_reset_rate_limit"},
    {&nghttp2.option_max_continuations, "option_set_max_continuations"},
    {&nghttp2.session_server_new2, "session_server_new2"},
    {&nghttp2.session_del, "session_del"},
    {&nghttp2.session_mem_recv, "session_mem_recv"},
    {&nghttp2.session_mem_send, "session_mem_send"},
    {&nghttp2.session_want_read, "session_want_read"},
    {&nghttp2.session_want_write, "session_want_write"},
    {&nghttp2.session_get_outbound_queue_size, "session_get_outbound_queue_size"},
    {&nghttp2.session_consume_connection, "session_consume_connection"},
    {&nghttp2.session_consume_stream, "session_consume_stream"},
    {&nghttp2.session_resume_data, "session_resume_data"},
    {&nghttp2.session_get_last_proc_stream_id, "session_get_last_proc_stream_id"},
    {&nghttp2.session_set_local_window_size, "session_set_local_window_size"},
    {&nghttp2.submit_settings, "submit_settings"},
    {&nghttp2.submit_response, "submit_response"},
    {&nghttp2.submit_trailer, "submit_trailer"},
    {&nghttp2.submit_rst_stream, "submit_rst_stream"},
    {&nghttp2.submit_shutdown_notice, "submit_shutdown_notice"},
    {&nghttp2.submit_goaway, "submit_goaway"},
    {&nghttp2.strerror, "strerror"},
};

const char *nghttp2_open(void)
{
    static void *library;
    static char why[112];
    if (library)
        return NULL;
    void *found = dlopen("libnghttp2.so.14", RTLD_NOW | RTLD_LOCAL);
    if (!found)
        return "libnghttp2.so.14 cannot be opened";
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char name[80];
        snprintf(name, sizeof name, "nghttp2_%s", NAMES[i].name);
        void *symbol = dlsym(found, name);
        if (!symbol) {
            snprintf(why, sizeof why, "libnghttp2 has no %s", name);
            dlclose(found);
            return why;
        }
        memcpy(NAMES[i].slot, &symbol, sizeof symbol); /* ISO C has no cast from data to code */
    }
    library = found;
    return NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libmicrohttpd and libwslay, loaded when the first client speaks HTTP: with all that they need they
 * would take more private memory than the whole proxy (0.66 of 1.2 MB, measured).
 */
#include <microhttpd.h>
#include <wslay/wslay.h>

#include "util.h"

#define WEB_MHD_FUNCTIONS(F)                                                                       \
        F(MHD_add_connection) F(MHD_add_response_header) F(MHD_create_response_for_upgrade)        \
        F(MHD_create_response_from_buffer) F(MHD_create_response_from_fd64) F(MHD_destroy_response) \
        F(MHD_get_connection_info) F(MHD_get_daemon_info) F(MHD_get_timeout)                       \
        F(MHD_lookup_connection_value) F(MHD_queue_response) F(MHD_run) F(MHD_start_daemon)        \
        F(MHD_stop_daemon) F(MHD_upgrade_action)
#define WEB_WSLAY_FUNCTIONS(F)                                                                     \
        F(wslay_event_config_set_max_recv_msg_length) F(wslay_event_context_free)                  \
        F(wslay_event_context_server_init) F(wslay_event_get_close_sent) F(wslay_event_queue_close) \
        F(wslay_event_queue_msg) F(wslay_event_recv) F(wslay_event_send) F(wslay_event_set_error)  \
        F(wslay_event_want_read) F(wslay_event_want_write)

typedef struct WebLibs {
#define WEB_FIELD(f) __typeof__(f) *f;
        WEB_MHD_FUNCTIONS(WEB_FIELD)
        WEB_WSLAY_FUNCTIONS(WEB_FIELD)
#undef WEB_FIELD
} WebLibs;

/* Filled in by web_libs_load(). */
extern WebLibs libs;

/* Returns 0, or -ENOPKG after saying which is missing. */
int web_libs_load(void);

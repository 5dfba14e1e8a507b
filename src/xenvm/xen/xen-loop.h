/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libxl's descriptors, timers, events and log on our loop.
 *
 * libxl may call its hooks and completion callbacks from within any of its functions, with locks held;
 * nothing of ours runs there but list handling: what came is handed on from the event loop.
 */
#define LIBXL_API_VERSION 0x041400
#include <libxl.h>
#include <libxl_utils.h>
#include <systemd/sd-event.h>

#include "util.h"

typedef struct XenHost XenHost;

typedef struct XenHostEvents {
        /* A domain ended (reason: LIBXL_SHUTDOWN_REASON_*), or what follows. */
        void (*domain)(void *userdata, uint32_t domid, int reason);
        void (*progress)(void *userdata, uint64_t done, uint64_t total);
} XenHostEvents;

#define XEN_DOMAIN_GONE (-1)
#define XEN_DOMAIN_BUILT (-2) /* during creation: its memory is built, devices follow */

/* Opens the hypervisor. -ENODEV with *ret_why (static) where there is none. */
int xenhost_new(sd_event *event, const XenHostEvents *events, void *userdata, XenHost **ret, const char **ret_why);
XenHost *xenhost_free(XenHost *h); /* operations under way are forgotten, not ended */
DEFINE_CLEANUP(XenHost *, xenhost_free)

/* A context for a short look, without a loop: to be given to libxl_ctx_free(). NULL: there is no hypervisor. */
libxl_ctx *xenhost_look(void);

libxl_ctx *xenhost_ctx(XenHost *h);
/* What libxl logged last as an error, or what the code means. Valid until the next call. */
const char *xenhost_error(XenHost *h, int rc);

/*
 * One asynchronous call: give xenop_how(op) to libxl. done is called once, from the event loop. Where
 * libxl refused the call at once, or none was needed, xenop_finish brings done about.
 */
typedef struct XenOp XenOp;
typedef void (*XenOpDone)(void *userdata, int rc);
XenOp *xenop_new(XenHost *h, XenOpDone done, void *userdata);
const libxl_asyncop_how *xenop_how(XenOp *op);
void xenop_finish(XenOp *op, int rc);
void xenop_abort(XenOp *op);

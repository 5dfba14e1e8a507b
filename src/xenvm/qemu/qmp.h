/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A client of QEMU's machine protocol (QMP): JSON objects, one a line, requests with an id that the reply
 * carries. Everything is asynchronous, each request has a deadline, and nothing that the other side does
 * (late, oversized, malformed, unasked-for or missing answers) can block us, grow our memory or be taken
 * for an answer to something else.
 */
#include <systemd/sd-event.h>

#include "json.h"

typedef struct Qmp Qmp;

/*
 * The one answer to a request. r: 0, value is what "return" holds (borrowed); -EREMOTEIO, QEMU refused
 * with text; -ETIMEDOUT; -ECONNRESET, the connection ended first. text is never NULL where r < 0.
 */
typedef void (*QmpDone)(void *userdata, int r, json_object *value, const char *text);

typedef struct QmpHandlers {
        /* data may be NULL. Name and data come from QEMU, and in part from the guest. May be NULL itself. */
        void (*event)(void *userdata, const char *untrusted_name, json_object *untrusted_data);
        /* Called once: nothing more will come. All pending requests have had their answers. May free the client. */
        void (*closed)(void *userdata, const char *why);
} QmpHandlers;

#define QMP_LINE_MAX (1 * MIB)
#define QMP_OUT_MAX (256 * KIB)
#define QMP_PENDING_MAX 64

/* Takes over fd, a connected stream socket, also on failure. */
int qmp_new(sd_event *event, int fd, const QmpHandlers *handlers, void *userdata, Qmp **ret);
/* No callback is called any more. May be called from within one. */
Qmp *qmp_free(Qmp *q);
DEFINE_CLEANUP(Qmp *, qmp_free)

/*
 * Waits for the greeting and leaves negotiation mode; once done was called, commands can be sent (before: -ENOTCONN). To
 * be called first, and again after -ETIMEDOUT by who waits longer.
 */
int qmp_greet(Qmp *q, uint64_t timeout_usec, QmpDone done, void *userdata);

/*
 * Sends a command. arguments (may be NULL) is taken over, also on failure; fd, if not -EBADF, travels
 * with it as a copy. done may be NULL. Returns 0, or a negative errno: then done is never called.
 */
int qmp_send(Qmp *q, const char *command, json_object *arguments, int fd, uint64_t timeout_usec, QmpDone done,
             void *userdata);

/* How many requests were sent since the start (for tests of how few a start takes). */
unsigned qmp_sent(const Qmp *q);

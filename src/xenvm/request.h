/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A command on its way, whatever it came over. Answered exactly once; one that is dropped answers by itself. */
#include "util.h"

typedef enum RequestResult {
        REQUEST_OK,
        REQUEST_FAILED,       /* text begins with a token of the contract where it has one */
        REQUEST_UNKNOWN,
        REQUEST_BAD_ARGUMENTS,
} RequestResult;

typedef struct Request Request;
typedef void (*RequestAnswer)(Request *q, RequestResult result, const char *text);

struct Request {
        unsigned refs;
        bool answered;
        RequestAnswer answer; /* also releases transport; NULL: nobody waits for the answer */
        void *transport;
};

Request *request_new(RequestAnswer answer, void *transport);
Request *request_ref(Request *q);
Request *request_unref(Request *q);
DEFINE_CLEANUP(Request *, request_unref)
/* text NULL: nothing to say. q may be NULL. */
void request_done(Request *q, const char *text);
void request_fail(Request *q, RequestResult result, const char *fmt, ...) _printf_(3, 4);

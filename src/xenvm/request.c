/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <stdarg.h>

#include "log.h"
#include "strbuf.h"

Request *request_new(RequestAnswer answer, void *transport)
{
        Request *q = calloc(1, sizeof *q);

        if (q)
                *q = (Request) { .refs = 1, .answer = answer, .transport = transport };
        return q;
}

Request *request_ref(Request *q)
{
        if (q)
                q->refs++;
        return q;
}

static void answer(Request *q, RequestResult result, const char *text)
{
        if (q->answered)
                return;
        q->answered = true;
        if (q->answer)
                q->answer(q, result, text);
}

Request *request_unref(Request *q)
{
        if (!q || --q->refs > 0)
                return NULL;
        answer(q, REQUEST_FAILED, "the command could not be completed");
        free(q);
        return NULL;
}

void request_done(Request *q, const char *text)
{
        if (q)
                answer(q, REQUEST_OK, text);
}

void request_fail(Request *q, RequestResult result, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        if (!q)
                return;
        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        log_info("Command failed: %s", text ? text : "out of memory");
        answer(q, result, text ? text : "out of memory");
}

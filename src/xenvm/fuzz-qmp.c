/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as what QEMU says. First, as the client hears them: each request is answered exactly once, and the
 * connection ends exactly once. Second, through the line buffer alone, in pieces: the lines are those of the text.
 */
#include <assert.h>
#include <sys/socket.h>
#include <unistd.h>

#include "linebuf.h"
#include "log.h"
#include "qmp.h"

#define REQUESTS 4
#define LINE_MAX_HERE 48

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned n_asked, n_answered, n_closed;
static Qmp *client;

static void on_answer(_unused_ void *userdata, int r, _unused_ json_object *value, const char *text)
{
        assert(r >= 0 || text);
        n_answered++;
}

static void on_greeted(_unused_ void *userdata, int r, _unused_ json_object *value, const char *text)
{
        assert(r >= 0 || text);
        for (int i = 0; r >= 0 && i < REQUESTS; i++)
                n_asked += qmp_send(client, "query-status", NULL, -EBADF, USEC_PER_SEC * 60, on_answer, NULL) >= 0;
}

static void on_event(_unused_ void *userdata, const char *name, json_object *object)
{
        assert(name && (!object || json_object_is_type(object, json_type_object)));
}

static void on_closed(_unused_ void *userdata, const char *why)
{
        assert(why);
        n_closed++;
}

static void hear(const uint8_t *data, size_t size)
{
        static const QmpHandlers handlers = { .event = on_event, .closed = on_closed };
        sd_event *event = NULL;
        int pair[2];

        n_asked = n_answered = n_closed = 0;
        assert(sd_event_new(&event) >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) >= 0);
        assert(qmp_new(event, pair[0], &handlers, NULL, &client) >= 0);
        assert(qmp_greet(client, USEC_PER_SEC * 60, on_greeted, NULL) >= 0);
        assert(write(pair[1], data, size) == (ssize_t) size && shutdown(pair[1], SHUT_WR) >= 0);
        while (n_closed == 0)
                assert(sd_event_run(event, USEC_PER_SEC * 5) > 0);
        assert(n_answered == n_asked && n_closed == 1);
        assert(qmp_send(client, "stop", NULL, -EBADF, 1, on_answer, NULL) == -ECONNRESET);
        client = qmp_free(client);
        assert(n_answered == n_asked && n_closed == 1);
        (void) close(pair[1]);
        sd_event_unref(event);
}

static void split(const char *data, size_t size)
{
        LineBuf b = { .max = LINE_MAX_HERE };
        size_t step = size > 0 ? 1 + (unsigned char) data[size - 1] % 64 : 1, at = 0;
        bool too_long = false;

        for (size_t given = 0; given < size && !too_long; given += step) {
                size_t n;
                char *line;

                assert(linebuf_add(&b, data + given, MIN2(step, size - given)) >= 0);
                while ((line = linebuf_next(&b, &n, &too_long))) {
                        const char *end = memchr(data + at, '\n', size - at);
                        size_t length = end ? (size_t) (end - data) - at : size;

                        assert(end && !too_long && length <= LINE_MAX_HERE);
                        length -= length > 0 && end[-1] == '\r';
                        assert(n == length && memcmp(line, data + at, n) == 0 && line[n] == '\0');
                        at = (size_t) (end - data) + 1;
                }
                if (too_long) {
                        const char *end = memchr(data + at, '\n', size - at);

                        assert((end ? (size_t) (end - data) : size) - at >= LINE_MAX_HERE);
                }
        }
        assert(too_long || !memchr(data + at, '\n', size - at));
        linebuf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint8_t none[1];

        if (size > 64 * KIB)
                return 0;
        log_init("fuzz-qmp", LOG_CRIT);
        hear(size > 0 ? data : none, size);
        split((const char *) (size > 0 ? data : none), size);
        return 0;
}

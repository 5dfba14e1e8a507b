/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writers of the crash tests. Arguments: number of connections, bytes of filling for each write. Each
 * connection counts up: /crash/<i>/c by a write, then /crash/<i>/a and b together by a transaction, always
 * one request at a time. When dbd ends, or at the first error with "once" as third argument, it prints for
 * each connection the numbers that were acknowledged, "<i> <c> <ab>", and ends.
 */
#include <assert.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon.h"
#include "db-client.h"
#include "strbuf.h"

typedef struct Writer {
        sd_bus *bus;
        int number;
        long c, ab;   /* acknowledged */
        bool pair;    /* what is under way */
        bool started; /* it knows what was there before */
} Writer;

static const char *filling = "";
static bool once;
static int errors;

static int next(Writer *w);

static int on_reply(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);
        Writer *w = userdata;

        if (e) {
                if (!sd_bus_error_has_name(e, DBUS_ERROR_FAILED) || once) {
                        if (once)
                                fprintf(stderr, "%s\n", e->message);
                        return sd_event_exit(sd_bus_get_event(w->bus), 0);
                }
                errors++;
        } else
                ++*(w->pair ? &w->ab : &w->c);
        if (!e)
                w->pair = !w->pair;
        return next(w);
}

static int next(Writer *w)
{
        _cleanup_free_ char *c = strformat("/crash/%d/c", w->number), *a = strformat("/crash/%d/a", w->number);
        _cleanup_free_ char *b = strformat("/crash/%d/b", w->number);
        _cleanup_free_ char *value = strformat("%ld %s", (w->pair ? w->ab : w->c) + 1, filling);
        int r;

        if (w->pair)
                r = sd_bus_call_method_async(w->bus, NULL, DB_SERVICE, "/", DB1_INTERFACE, "Transact", on_reply, w, "a(sss)",
                                             2, "write", a, value, "write", b, value);
        else
                r = sd_bus_call_method_async(w->bus, NULL, DB_SERVICE, "/", DB_INTERFACE, "write", on_reply, w, "ss", c, value);
        assert(r >= 0);
        return 0;
}

static int on_start(sd_bus_message *m, void *userdata, sd_bus_error *error);

static int ask(Writer *w, const char *key)
{
        char path[64];

        snprintf(path, sizeof path, "/crash/%d/%s", w->number, key);
        return sd_bus_call_method_async(w->bus, NULL, DB_SERVICE, "/", DB_INTERFACE, "read", on_start, w, "s", path);
}

static int on_start(_unused_ sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        Writer *w = userdata;
        const char *text = "";

        /* Goes on where the last run ended: what is there counts. */
        if (sd_bus_message_is_method_error(m, NULL))
                return sd_event_exit(sd_bus_get_event(w->bus), 0);
        (void) sd_bus_message_read(m, "s", &text);
        if (!w->pair) {
                w->c = atol(text);
                w->pair = true;
                return ask(w, "a");
        }
        w->ab = atol(text);
        w->pair = false;
        w->started = true;
        return next(w);
}

int main(_unused_ int argc, char *argv[])
{
        int n = atoi(argv[1]);
        Writer *writers = calloc((size_t) n, sizeof *writers);
        char *fill = calloc(1, (size_t) atoi(argv[2]) + 1);
        sd_event *event = NULL;

        assert(writers && fill);
        memset(fill, 'x', (size_t) atoi(argv[2]));
        filling = fill;
        once = argv[3] && streq(argv[3], "once");
        assert(sd_event_default(&event) >= 0);
        for (int i = 0; i < n; i++) {
                Writer *w = writers + i;

                w->number = i;
                assert(bus_open(NULL, &w->bus) >= 0 && sd_bus_attach_event(w->bus, event, 0) >= 0);
                assert(ask(w, "c") >= 0);
        }
        (void) sd_event_loop(event);
        for (int i = 0; i < n; i++) {
                if (writers[i].started)
                        printf("%d %ld %ld\n", i, writers[i].c, writers[i].ab);
                sd_bus_close_unref(writers[i].bus);
        }
        sd_event_unref(event);
        free(writers);
        free(fill);
        return fflush(stdout) != 0;
}

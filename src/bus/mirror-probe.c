/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests: follows a path with a DbMirror, prints what it is told, and for each line on its input
 * the copy, in the form of `db-ls -f` with a line "." behind it. "write PATH VALUE" commits instead.
 * A second argument is a bus name to own: a marker name makes it a guest's.
 */
#include <systemd/sd-event.h>
#include <unistd.h>

#include "daemon.h"
#include "db-client.h"
#include "strbuf.h"

static DbMirror *mirror;
static sd_bus *bus;

static void on_loaded(_unused_ DbMirror *m, _unused_ void *userdata)
{
        puts("loaded");
}

static void on_changed(_unused_ DbMirror *m, const char *path, const char *kind, _unused_ void *userdata)
{
        printf("%s %s\n", kind, path);
}

static void on_lost(_unused_ DbMirror *m, _unused_ void *userdata)
{
        puts("lost");
}

static void print(const DbNode *n, const char *path)
{
        if (!dbnode_first(n)) {
                printf("%s = \"%s\"\n", path, dbnode_text(n, NULL));
                return;
        }
        printf("%s =\n", path);
        for (const DbNode *k = dbnode_first(n); k; k = dbnode_next(k)) {
                _cleanup_free_ char *child = strformat("%s/%s", path, dbnode_name(k));

                print(k, child);
        }
}

static void on_done(const sd_bus_error *error, _unused_ void *userdata)
{
        printf("committed %s\n", error ? error->name : "");
}

static int on_input(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        char line[256], path[128], value[128];
        ssize_t n = read(fd, line, sizeof line - 1);

        if (n <= 0)
                return sd_event_exit(sd_event_source_get_event(s), 0);
        line[n] = '\0';
        if (sscanf(line, "write %127s %127s", path, value) == 2) {
                DbTx *t = db_tx_new();

                (void) db_tx_write(t, path, value);
                return db_tx_commit(t, bus, on_done, NULL);
        }
        if (dbmirror_root(mirror))
                print(dbmirror_root(mirror), userdata);
        puts(".");
        return 0;
}

int main(_unused_ int argc, char *argv[])
{
        static const DbMirrorEvents events = { on_loaded, on_changed, on_lost };
        sd_event *event = NULL;
        int r;

        setlinebuf(stdout);
        r = sd_event_default(&event);
        if (r >= 0)
                r = bus_open(NULL, &bus);
        if (r >= 0 && argv[2])
                r = sd_bus_request_name(bus, argv[2], 0);
        if (r >= 0)
                r = sd_bus_attach_event(bus, event, 0);
        if (r >= 0)
                r = sd_event_add_io(event, NULL, STDIN_FILENO, EPOLLIN, on_input, argv[1]);
        if (r >= 0)
                r = dbmirror_new(bus, argv[1], &events, NULL, &mirror);
        if (r >= 0)
                r = sd_event_loop(event);
        dbmirror_free(mirror);
        sd_bus_flush_close_unref(bus);
        sd_event_unref(event);
        return r < 0;
}

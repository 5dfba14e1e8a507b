/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* db-watch: prints what changes below a path, until it is ended. */
#include <systemd/sd-event.h>

#include "db-client-tool.h"
#include "json-tree.h"
#include "options.h"

static bool arg_revision;

static const Option options[] = {
        { "revision", 'r', NULL, OPTION_FLAG, &arg_revision, "Print the revision of each change before it", NULL },
        { 0 }
};

static const Program program = {
        .name = "db-watch",
        .synopsis = "[OPTIONS] [PATH]",
        .summary = "Print what changes in the configuration database below PATH.",
        .options = options,
        .flags = PROGRAM_PERMUTE,
        .footer = "A line is `write PATH = VALUE`, `inject PATH = JSON` or `rm PATH`. `missed` means that dbd was away\n"
                  "and things have changed meanwhile.",
};

typedef struct Watcher {
        sd_bus *bus;
        const char *path;
        uint64_t id, revision;
} Watcher;

static void print_change(uint64_t revision, const char *path, const char *kind, const char *value)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        if (arg_revision)
                printf("%llu ", (unsigned long long) revision);
        if (streq(kind, "rm")) {
                printf("rm %s\n", path);
                return;
        }
        /* One line for each change: texts are quoted, and JSON has line ends only between its parts. */
        if (streq(kind, "write"))
                json_write_string(&b, value);
        else
                for (; *value; value++) {
                        strbuf_addc(&b, *value == '\n' ? ' ' : *value);
                        if (*value == '\n')
                                value += strspn(value + 1, " ");
                }
        printf("%s %s = %s\n", kind, path, strempty(b.data));
}

static int on_changed(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *path, *kind, *value;
        Watcher *w = userdata;
        uint64_t id;
        int r;

        r = sd_bus_message_read(m, "tt", &id, &w->revision);
        if (r < 0 || id != w->id)
                return 0;
        r = sd_bus_message_enter_container(m, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(sss)", &path, &kind, &value)) > 0)
                print_change(w->revision, path, kind, value);
        return fflush(stdout) == 0 ? 0 : sd_event_exit(sd_bus_get_event(w->bus), 1);
}

static int on_watched(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);
        Watcher *w = userdata;
        int missed;

        if (e) {
                /* A dbd that is not there yet comes with on_owner(). */
                if (!sd_bus_error_has_name(e, "org.freedesktop.DBus.Error.ServiceUnknown")) {
                        fprintf(stderr, "db-watch: %s: %s\n", e->name, e->message);
                        return sd_event_exit(sd_bus_get_event(w->bus), DB_TOOL_FAILED);
                }
                return 0;
        }
        if (sd_bus_message_read(m, "ttb", &w->id, &w->revision, &missed) < 0)
                return sd_event_exit(sd_bus_get_event(w->bus), DB_TOOL_FAILED);
        if (missed) {
                puts("missed");
                (void) fflush(stdout);
        }
        fprintf(stderr, "db-watch: watching %s from revision %llu\n", w->path, (unsigned long long) w->revision);
        return 0;
}

static int watch(Watcher *w)
{
        return sd_bus_call_method_async(w->bus, NULL, DB_SERVICE, "/", DB1_INTERFACE, "Watch", on_watched, w, "st",
                                        w->path, w->revision);
}

static int on_owner(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *name, *old, *new;

        if (sd_bus_message_read(m, "sss", &name, &old, &new) >= 0 && *new)
                return watch(userdata);
        return 0;
}

static int on_disconnected(_unused_ sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        fprintf(stderr, "db-watch: the bus is gone\n");
        return sd_event_exit(sd_bus_get_event(((Watcher *) userdata)->bus), DB_TOOL_FAILED);
}

static int run(Watcher *w, sd_event *event)
{
        int r;

        r = sd_bus_attach_event(w->bus, event, 0);
        if (r >= 0)
                r = sd_bus_match_signal(w->bus, NULL, DB_SERVICE, "/", DB1_INTERFACE, "Changed", on_changed, w);
        if (r >= 0)
                r = sd_bus_match_signal(w->bus, NULL, NULL, NULL, "org.freedesktop.DBus.Local", "Disconnected",
                                        on_disconnected, w);
        if (r >= 0)
                r = sd_bus_add_match(w->bus, NULL, "type='signal',sender='org.freedesktop.DBus',"
                                                   "member='NameOwnerChanged',arg0='" DB_SERVICE "'",
                                     on_owner, w);
        if (r >= 0)
                r = watch(w);
        return r < 0 ? r : sd_event_loop(event);
}

int main(int argc, char *argv[])
{
        Watcher w = { .path = "/" };
        sd_event *event = NULL;
        int status, first, r;

        first = options_parse(&program, argc, argv, 1, &status);
        if (first < 0)
                return status;
        if (argc - first > 1) {
                fprintf(stderr, "Try 'db-watch --help'.\n");
                return 1;
        }
        if (first < argc)
                w.path = argv[first];
        if (dbtool_connect(&w.bus) < 0)
                return DB_TOOL_FAILED;
        r = sd_event_default(&event);
        if (r >= 0)
                r = run(&w, event);
        if (r < 0)
                fprintf(stderr, "db-watch: %s\n", strerror(-r));
        sd_bus_flush_close_unref(w.bus);
        sd_event_unref(event);
        return r < 0 ? DB_TOOL_FAILED : r;
}

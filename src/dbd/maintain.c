/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the host may ask of org.oxt.Db1 beside reading and writing: replace everything, compact, status. */
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "db-client.h"
#include "history.h"
#include "log.h"
#include "server.h"
#include "settings.h"

#define INCOMING_FILE "incoming.db"
#define INCOMING_SIZE_MAX (16 * 1024 * MIB)

typedef struct Replace {
        Special special;
        int fd;
        char *incoming, *how;
        const char *who;
        Tree tree;
        uint64_t revision;
} Replace;

typedef struct Compact {
        Special special;
        int64_t before, after;
} Compact;

static int refuse_guest(Call *c)
{
        if (!c->caller.guest)
                return 0;
        call_fail(c, DBUS_ERROR_ACCESS_DENIED, "Only the host may do this");
        return -EACCES;
}

/* Queues a special request, which is taken over; the call is answered when it is done. */
static int submit(Call *c, Special *special)
{
        Request *q = request_new(c->userdata, c, 0);

        if (!q) {
                special->free(special);
                return -ENOMEM;
        }
        q->special = special;
        server_submit(c->userdata, q);
        return 0;
}

/* Replacing everything */

static int copy_incoming(const Replace *p)
{
        _cleanup_close_ int to = open(p->incoming, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        char chunk[65536];
        off_t at = 0;
        ssize_t n;

        if (to < 0)
                return -errno;
        while ((n = pread(p->fd, chunk, sizeof chunk, at)) > 0) {
                at += n;
                if ((uint64_t) at > INCOMING_SIZE_MAX)
                        return -EFBIG;
                if (write(to, chunk, (size_t) n) != n)
                        return errno ? -errno : -ENOSPC;
        }
        return n < 0 ? -errno : 0;
}

static int load_incoming(Replace *p, char error[static 256])
{
        _cleanup_(store_freep) Store *in = NULL;
        int r;

        r = copy_incoming(p);
        if (r < 0) {
                snprintf(error, 256, "Cannot copy the new database: %s", strerror(-r));
                return r;
        }
        r = store_open(p->incoming, false, false, &in);
        if (r >= 0)
                r = store_check(in, true, NULL);
        if (r >= 0)
                r = store_load(in, &p->tree);
        if (r < 0)
                snprintf(error, 256, "The new database cannot be used: %s", in ? store_error(in) : strerror(-r));
        return r;
}

static int replace_run(Special *special, Store *store, char error[static 256])
{
        Replace *p = (Replace *) special;
        int r;

        r = load_incoming(p, error);
        (void) unlink(p->incoming);
        if (r < 0)
                return r;
        r = store_replace(store, &p->tree, p->revision, p->who, p->how);
        if (r < 0)
                snprintf(error, 256, "The new database could not be stored, nothing was changed: %s", store_error(store));
        return r;
}

static void replace_done(Server *s, Request *q, int result, const char *error)
{
        Replace *p = (Replace *) q->special;
        char all[] = "/";

        if (result < 0) {
                (void) sd_bus_message_new_method_errorf(q->call->message, &q->answer, DBUS_ERROR_FAILED, "%s", error);
                return;
        }
        log_notice("The whole database was replaced (%s) by %s", p->how, p->who);
        tree_done(&s->tree);
        s->tree = p->tree;
        p->tree = (Tree) { 0 };
        s->revision = p->revision;
        guests_uncount(s);
        watches_note(s, &(Operation) { .kind = OPERATION_INJECT, .full = all }, s->revision);
        watches_flush(s);
        if (sd_bus_message_new_method_return(q->call->message, &q->answer) >= 0)
                (void) sd_bus_message_append(q->answer, "t", s->revision);
}

static void replace_free(Special *special)
{
        Replace *p = (Replace *) special;

        safe_close(p->fd);
        tree_done(&p->tree);
        free(p->incoming);
        free(p->how);
        free(p);
}

static void replace_begin(Server *s, Request *q)
{
        Replace *p = (Replace *) q->special;

        p->revision = s->revision + 1;
        p->who = q->sender->who;
}

static int method_replace(Call *c)
{
        Server *s = c->userdata;
        const char *how;
        struct stat st;
        Replace *p;
        int fd, r;

        r = refuse_guest(c);
        if (r >= 0)
                r = sd_bus_message_read(c->message, "hs", &fd, &how);
        if (r < 0)
                return r;
        /* A file, and nothing that could keep the writer waiting. */
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "The new database must be a file");
        p = calloc(1, sizeof *p);
        if (!p)
                return -ENOMEM;
        p->special = (Special) { replace_begin, replace_run, replace_done, replace_free };
        p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        p->incoming = paths_format(&s->daemon->paths, PATH_DB, INCOMING_FILE);
        p->how = strdup(how);
        if (p->fd < 0 || !p->incoming || !p->how) {
                replace_free(&p->special);
                return -ENOMEM;
        }
        return submit(c, &p->special);
}

/* Compacting */

static int compact_run(Special *special, Store *store, char error[static 256])
{
        Compact *p = (Compact *) special;
        int r;

        r = store_file_size(store, &p->before);
        if (r >= 0)
                r = history_prune(store, (int64_t) time(NULL) - setting_int(SETTING_DB_HISTORY_DAYS) * 86400,
                                  setting_int(SETTING_DB_HISTORY_SIZE));
        if (r >= 0)
                r = store_compact(store);
        if (r >= 0)
                r = store_file_size(store, &p->after);
        if (r < 0)
                snprintf(error, 256, "%s", store_error(store));
        return r;
}

static void compact_done(_unused_ Server *s, Request *q, int result, const char *error)
{
        Compact *p = (Compact *) q->special;

        if (result < 0)
                (void) sd_bus_message_new_method_errorf(q->call->message, &q->answer, DBUS_ERROR_FAILED, "%s", error);
        else if (sd_bus_message_new_method_return(q->call->message, &q->answer) >= 0)
                (void) sd_bus_message_append(q->answer, "tt", (uint64_t) p->before, (uint64_t) p->after);
}

static void compact_free(Special *special)
{
        free(special);
}

static int method_compact(Call *c)
{
        Compact *p;
        int r;

        r = refuse_guest(c);
        if (r < 0)
                return r;
        p = calloc(1, sizeof *p);
        if (!p)
                return -ENOMEM;
        p->special = (Special) { NULL, compact_run, compact_done, compact_free };
        return submit(c, &p->special);
}

/* Status */

static int method_status(Call *c)
{
        Server *s = c->userdata;
        size_t nodes = 0, bytes = 0;
        json_object *o, *list;
        int r;

        r = refuse_guest(c);
        if (r < 0)
                return r;
        node_measure(s->tree.root, &nodes, &bytes);
        o = json_object_new_object();
        json_object_object_add(o, "revision", json_object_new_int64((int64_t) s->revision));
        json_object_object_add(o, "nodes", json_object_new_int64((int64_t) nodes));
        json_object_object_add(o, "bytes", json_object_new_int64((int64_t) bytes));
        json_object_object_add(o, "commits", json_object_new_int64((int64_t) s->n_commits));
        json_object_object_add(o, "requests-committed", json_object_new_int64((int64_t) s->n_committed));
        json_object_object_add(o, "failed-commits", json_object_new_int64((int64_t) s->n_failed));
        if (s->set_aside)
                json_object_object_add(o, "set-aside", json_object_new_string(s->set_aside));
        list = json_object_new_object();
        guests_status(s, list);
        json_object_object_add(o, "guests", list);
        r = call_reply(c, "s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return r;
}

static const BusMethod methods[] = {
        { "Replace", "hs", "file how", "t", "revision", method_replace, NULL },
        { "Compact", "", "", "tt", "bytes_before bytes_after", method_compact, NULL },
        { "Status", "", "", "s", "json", method_status, NULL },
        { 0 }
};

const BusInterface db1_host_interface = { DB1_HOST_INTERFACE, methods, NULL, NULL, NULL };

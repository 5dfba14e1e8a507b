/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt db log, diff and undo: what the history is good for. */
#include <json-c/json.h>
#include <time.h>

#include "daemon.h"
#include "db-client-tool.h"
#include "db-print.h"
#include "history.h"
#include "json-tree.h"
#include "log.h"
#include "oxt-db.h"
#include "parse.h"
#include "path.h"
#include "strbuf.h"

static bool arg_json;
static int64_t arg_since, arg_last;

static const Option log_options[] = {
        { "json", 'j', NULL, OPTION_FLAG, &arg_json, "Print one JSON object for each change", NULL },
        { "since", 's', "REVISION", OPTION_INT, &arg_since, "Only what came after that revision", NULL },
        { "last", 'n', "N", OPTION_INT, &arg_last, "Only the last N changes", NULL },
        { "database", 0, "FILE", OPTION_STRING, &command_database, "Another database file than the stack's", NULL },
        { 0 }
};

static const Option diff_options[] = {
        { "since", 's', "REVISION", OPTION_INT, &arg_since, "From which revision on (as `oxt db log` shows them)", NULL },
        { "database", 0, "FILE", OPTION_STRING, &command_database, "Another database file than the stack's", NULL },
        { 0 }
};

static const Option undo_options[] = { { 0 } };

/* Entries, kept: */
typedef struct Entries {
        HistoryEntry *entry;
        size_t n;
} Entries;

static void entries_done(Entries *l)
{
        for (size_t i = 0; i < l->n; i++) {
                free((char *) l->entry[i].who);
                free((char *) l->entry[i].path);
                free((char *) l->entry[i].old);
                free((char *) l->entry[i].new);
        }
        free(l->entry);
}

static int entries_add(const HistoryEntry *e, void *userdata)
{
        Entries *l = userdata;
        HistoryEntry *p = reallocarray(l->entry, l->n + 1, sizeof *p);

        if (!p)
                return -ENOMEM;
        l->entry = p;
        p[l->n] = *e;
        p[l->n].who = strdup(e->who);
        p[l->n].path = strdup(e->path);
        p[l->n].old = e->old ? strdup(e->old) : NULL;
        p[l->n].new = e->new ? strdup(e->new) : NULL;
        l->n++;
        return 0;
}

static int parse_node(const char *text, Node **ret)
{
        return text ? json_read(text, strlen(text), TREE_DEPTH_MAX, ret, NULL) : 0;
}

static void print_change(const char *path, const char *old, const char *new, _unused_ void *userdata)
{
        printf("    %s: %s -> %s\n", path, old ? old : "nothing", new ? new : "nothing");
}

static const char *flags_text(int flags)
{
        return flags & HISTORY_ALL ? "everything was replaced" : flags & HISTORY_CUT ? "too long to be kept"
                                                          : flags & HISTORY_SECRET ? "a secret or binary value, not kept"
                                                                                   : NULL;
}

static void print_entry(const HistoryEntry *e)
{
        _cleanup_(node_freep) Node *old = NULL, *new = NULL;
        time_t when = (time_t) e->time;
        char stamp[32];
        struct tm tm;

        strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&when, &tm));
        printf("%llu  %s  %s\n", (unsigned long long) e->revision, stamp, e->who);
        if (flags_text(e->flags))
                printf("    %s: (%s)\n", e->path, flags_text(e->flags));
        if (e->flags & (HISTORY_ALL | HISTORY_CUT))
                return;
        if (parse_node(e->old, &old) >= 0 && parse_node(e->new, &new) >= 0)
                (void) trees_compare(old, new, e->path, print_change, NULL);
}

static json_object *text_json(const char *text)
{
        json_object *o = text ? json_tokener_parse(text) : NULL;

        return o ? o : NULL;
}

static void print_entry_json(const HistoryEntry *e)
{
        json_object *o = json_object_new_object();

        json_object_object_add(o, "revision", json_object_new_int64((int64_t) e->revision));
        json_object_object_add(o, "time", json_object_new_int64(e->time));
        json_object_object_add(o, "who", json_object_new_string(e->who));
        json_object_object_add(o, "path", json_object_new_string(e->path));
        json_object_object_add(o, "existed", json_object_new_boolean(e->old != NULL));
        json_object_object_add(o, "exists", json_object_new_boolean(e->new != NULL));
        json_object_object_add(o, "old", text_json(e->old));
        json_object_object_add(o, "new", text_json(e->new));
        if (flags_text(e->flags))
                json_object_object_add(o, "note", json_object_new_string(flags_text(e->flags)));
        puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
}

static int read_entries(const Command *c, Store *store, const char *path, uint64_t first, uint64_t last, Entries *l)
{
        int r = history_read(store, path, first, last, entries_add, l);

        if (r < 0)
                fprintf(stderr, "Cannot read the history in %s: %s\n", c->database, store_error(store));
        return r;
}

int db_log(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(entries_done) Entries l = { 0 };
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        _cleanup_free_ char *path = NULL;
        int status;

        if (command_open(&c, "oxt db log", "[OPTIONS] [PATH]", "Shows who changed what and when, oldest first.", log_options, 0,
                         1, argc, argv, &status) < 0)
                return status;
        path = path_normalize(strempty(c.words[0]));
        if (!path || command_open_store(&c, &store) < 0 ||
            read_entries(&c, store, path, (uint64_t) arg_since + 1, UINT64_MAX, &l) < 0)
                return 2;
        for (size_t i = arg_last > 0 && (size_t) arg_last < l.n ? l.n - (size_t) arg_last : 0; i < l.n; i++)
                (arg_json ? print_entry_json : print_entry)(&l.entry[i]);
        return fflush(stdout) == 0 ? 0 : 2;
}

/* Takes a change back in a copy of the tree. */
static int revert(Tree *t, const HistoryEntry *e)
{
        TreeLog log = { .tree = t };
        Node *old = NULL;
        int r;

        r = parse_node(e->old, &old);
        if (r >= 0)
                r = old ? tree_inject(&log, e->path, old) : tree_rm(&log, e->path);
        if (r < 0)
                treelog_undo(&log);
        treelog_done(&log);
        return r;
}

int db_diff(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(entries_done) Entries l = { 0 };
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        _cleanup_free_ char *path = NULL;
        Tree old = { 0 }, new = { 0 };
        int status = 2;

        if (command_open(&c, "oxt db diff", "--since REVISION [PATH]",
                         "Shows what is different from what it was at a revision. Exit status: 0 nothing, 1 something.",
                         diff_options, 0, 1, argc, argv, &status) < 0)
                return status;
        status = 2;
        path = path_normalize(strempty(c.words[0]));
        if (!path || command_open_tree(&c, &store, &new) < 0)
                return 2;
        if (store_load(store, &old) < 0 || read_entries(&c, store, "/", (uint64_t) arg_since + 1, UINT64_MAX, &l) < 0)
                goto finish;
        if (l.n > 0 && l.entry[0].revision > (uint64_t) arg_since + 1)
                fprintf(stderr, "The history begins at revision %llu only.\n", (unsigned long long) l.entry[0].revision);
        for (size_t i = l.n; i-- > 0;) {
                if (l.entry[i].flags & HISTORY_ALL) {
                        fprintf(stderr, "At revision %llu everything was replaced; showing what came after it.\n",
                                (unsigned long long) l.entry[i].revision);
                        break;
                }
                if (l.entry[i].flags & (HISTORY_CUT | HISTORY_SECRET))
                        fprintf(stderr, "Revision %llu changed %s: %s.\n", (unsigned long long) l.entry[i].revision,
                                l.entry[i].path, flags_text(l.entry[i].flags));
                else
                        (void) revert(&old, &l.entry[i]);
        }
        status = trees_compare(tree_find(&old, path), tree_find(&new, path), path, print_difference, NULL) > 0;
finish:
        if (old.root)
                tree_done(&old);
        tree_done(&new);
        return fflush(stdout) == 0 ? status : 2;
}

static int append_undo(sd_bus_message *m, const HistoryEntry *e)
{
        int r;

        r = e->new ? sd_bus_message_append(m, "(sss)", "equals-json", e->path, e->new)
                   : sd_bus_message_append(m, "(sss)", "absent", e->path, "");
        if (r < 0)
                return r;
        return e->old ? sd_bus_message_append(m, "(sss)", "inject", e->path, e->old)
                      : sd_bus_message_append(m, "(sss)", "rm", e->path, "");
}

static int send_undo(sd_bus *bus, const Entries *l, uint64_t revision)
{
        sd_bus_message *m = NULL, *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t now = 0;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, DB_SERVICE, "/", DB1_INTERFACE, "Transact");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        for (size_t i = l->n; r >= 0 && i-- > 0;)
                r = append_undo(m, &l->entry[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_call(bus, m, 0, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "t", &now);
        if (r >= 0)
                printf("Revision %llu was taken back; this is revision %llu.\n", (unsigned long long) revision,
                       (unsigned long long) now);
        else if (sd_bus_error_has_name(&error, DB1_ERROR_FAILED))
                fprintf(stderr, "Revision %llu cannot be taken back: what it changed has been changed since.\n",
                        (unsigned long long) revision);
        else
                fprintf(stderr, "Revision %llu cannot be taken back: %s\n", (unsigned long long) revision,
                        error.message ? error.message : strerror(-r));
        sd_bus_error_free(&error);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

int db_undo(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(entries_done) Entries l = { 0 };
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(command_done) Command c = { 0 };
        _cleanup_free_ char *address = NULL;
        uint64_t revision;
        sd_bus *bus = NULL;
        int status, r;

        if (command_open(&c, "oxt db undo", "REVISION",
                         "Takes one change back, wholly or not at all: not if what it changed has been changed since.",
                         undo_options, 1, 1, argc, argv, &status) < 0)
                return status;
        if (parse_u64(c.words[0], &revision) < 0) {
                fprintf(stderr, "'%s' is no revision; `oxt db log` shows them.\n", c.words[0]);
                return 2;
        }
        if (command_open_store(&c, &store) < 0 || read_entries(&c, store, "/", revision, revision, &l) < 0)
                return 2;
        if (l.n == 0) {
                fprintf(stderr, "The history has no revision %s.\n", c.words[0]);
                return 1;
        }
        for (size_t i = 0; i < l.n; i++)
                if (flags_text(l.entry[i].flags)) {
                        fprintf(stderr, "Revision %s cannot be taken back: %s: %s.\n", c.words[0], l.entry[i].path,
                                flags_text(l.entry[i].flags));
                        return 1;
                }
        address = stack_bus_address(&c.stack);
        r = address ? bus_open(address, &bus) : -ENOMEM;
        if (r < 0) {
                log_errno(r, "Cannot reach dbd");
                return 2;
        }
        r = send_undo(bus, &l, revision);
        sd_bus_flush_close_unref(bus);
        return r < 0 ? 1 : fflush(stdout) == 0 ? 0 : 2;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest may use. The host has no limits but those of the messages and of the tree's depth. */
#include <json-c/json.h>
#include <search.h>

#include "server.h"
#include "settings.h"

/* A guest may save up this many seconds' worth of requests. */
#define BURST_SECONDS 2
/* So many bytes of an answer or a value count as one request more. */
#define CHARGE_BYTES 4096

static const struct {
        SettingId setting;
        const char *what;
} limits[_LIMIT_MAX] = {
        [LIMIT_VALUE] = { SETTING_DB_GUEST_VALUE, "bytes of a value" },
        [LIMIT_PATH] = { SETTING_DB_GUEST_PATH, "bytes of a path" },
        [LIMIT_DEPTH] = { SETTING_DB_GUEST_DEPTH, "names in a path" },
        [LIMIT_NODES] = { SETTING_DB_GUEST_NODES, "nodes" },
        [LIMIT_BYTES] = { SETTING_DB_GUEST_BYTES, "bytes in all" },
        [LIMIT_OPERATIONS] = { SETTING_DB_GUEST_OPERATIONS, "operations in a transaction" },
        [LIMIT_WATCHES] = { SETTING_DB_GUEST_WATCHES, "watches" },
        [LIMIT_WAITING] = { SETTING_DB_GUEST_WAITING, "waiting changes" },
        [LIMIT_RATE] = { SETTING_DB_GUEST_RATE, "requests in a second" },
};

uint64_t limit_get(LimitId id)
{
        return (uint64_t) setting_int(limits[id].setting);
}

int limit_check(LimitId id, uint64_t value, Refusal *ret)
{
        if (value <= limit_get(id))
                return 0;
        ret->error = DBUS_ERROR_LIMITS_EXCEEDED;
        snprintf(ret->text, sizeof ret->text, "At most %llu %s (%s)", (unsigned long long) limit_get(id), limits[id].what,
                 setting_table[limits[id].setting].name);
        return -1;
}

int limit_call(Call *c, LimitId id, uint64_t value)
{
        Refusal why;

        if (!c->caller.guest || limit_check(id, value, &why) >= 0)
                return 0;
        call_fail(c, why.error, "%s", why.text);
        return -EDQUOT;
}

const char *caller_root(const Call *c, char buf[static 64])
{
        if (!c->caller.guest)
                return "";
        snprintf(buf, 64, "/dom-store/%s", c->caller.uuid);
        return buf;
}

int caller_path(Call *c, const char *path, char **ret)
{
        char buf[64];
        int r;

        r = limit_call(c, LIMIT_PATH, strlen(path));
        if (r >= 0)
                r = limit_call(c, LIMIT_DEPTH, path_depth(path));
        if (r < 0)
                return r;
        *ret = path_below(caller_root(c, buf), path);
        return *ret ? 0 : -ENOMEM;
}

static int guest_compare(const void *a, const void *b)
{
        return strcmp(((const Guest *) a)->uuid, ((const Guest *) b)->uuid);
}

Guest *guest_get(Server *s, const char *uuid)
{
        Guest key, *g, **found;

        snprintf(key.uuid, sizeof key.uuid, "%s", uuid);
        found = tfind(&key, &s->guests, guest_compare);
        if (found)
                return *found;
        g = calloc(1, sizeof *g);
        if (!g)
                return NULL;
        memcpy(g->uuid, key.uuid, sizeof g->uuid);
        g->refilled = now_usec();
        g->tokens = limit_get(LIMIT_RATE) * BURST_SECONDS * USEC_PER_SEC;
        if (!tsearch(g, &s->guests, guest_compare)) {
                free(g);
                return NULL;
        }
        return g;
}

void guests_done(Server *s)
{
        tdestroy(s->guests, free);
        s->guests = NULL;
}

static void uncount(const void *node, VISIT which, _unused_ int depth)
{
        if (which == postorder || which == leaf)
                (*(Guest *const *) node)->counted = false;
}

void guests_uncount(Server *s)
{
        twalk(s->guests, uncount);
}

void guest_count(Server *s, Guest *g)
{
        char path[64];
        Node *n;

        snprintf(path, sizeof path, "/dom-store/%s", g->uuid);
        n = tree_find(&s->tree, path);
        g->nodes = g->bytes = 0;
        if (n)
                node_measure(n, &g->nodes, &g->bytes);
        g->counted = true;
}

int limit_rate(Call *c, void *userdata)
{
        uint64_t now, rate, full;
        Guest *g;

        if (!c->caller.guest)
                return 0;
        g = guest_get(userdata, c->caller.uuid);
        if (!g)
                return call_fail(c, DBUS_ERROR_FAILED, "Out of memory"), -ENOMEM;
        now = now_usec();
        rate = limit_get(LIMIT_RATE);
        full = rate * BURST_SECONDS * USEC_PER_SEC;
        if (now - g->refilled >= BURST_SECONDS * USEC_PER_SEC)
                g->tokens = full;
        else
                g->tokens = MIN2(full, g->tokens + (now - g->refilled) * rate);
        g->refilled = now;
        if (g->tokens < USEC_PER_SEC)
                return limit_call(c, LIMIT_RATE, rate + 1);
        g->tokens -= USEC_PER_SEC;
        return 0;
}

void limit_charge(Server *s, const Call *c, size_t bytes)
{
        Guest *g = c->caller.guest && bytes >= CHARGE_BYTES ? guest_get(s, c->caller.uuid) : NULL;

        if (g)
                g->tokens -= MIN2(g->tokens, bytes / CHARGE_BYTES * USEC_PER_SEC);
}

static void add_status(const void *node, VISIT which, void *list)
{
        const Guest *g = *(Guest *const *) node;
        json_object *o;

        if (which != postorder && which != leaf)
                return;
        o = json_object_new_object();
        json_object_object_add(o, "nodes", json_object_new_int64((int64_t) g->nodes));
        json_object_object_add(o, "bytes", json_object_new_int64((int64_t) g->bytes));
        json_object_object_add(o, "watches", json_object_new_int64(g->n_watches));
        json_object_object_add(o, "waiting", json_object_new_int64(g->n_waiting));
        json_object_object_add(list, g->uuid, o);
}

void guests_status(Server *s, json_object *list)
{
        twalk_r(s->guests, add_status, list);
}

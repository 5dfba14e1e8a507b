/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caller.h"

#include <search.h>
#include <sys/random.h>

#include "log.h"
#include "name-owners.h"
#include "parse.h"

#define HOST_UUID "00000000-0000-0000-0000-000000000000"
#define PROXY_MARKER MARKER_PREFIX ".proxy"

typedef struct Waiter {
        void (*on_known)(void *);
        void *userdata;
        struct Waiter *next;
} Waiter;

/* What is known of one unique name. */
typedef struct Sender {
        char *name;
        bool marked;
        char *marker;
        Caller caller;
        enum { UID_UNKNOWN, UID_ASKED, UID_FINE, UID_PROXY } uid;
        sd_bus_slot *asking;
        Waiter *waiters;
        struct CallerMap *map;
} Sender;

struct CallerMap {
        sd_bus *bus;
        uid_t proxy_uid;
        sd_bus_slot *match;
        void *senders; /* tsearch tree by name */
};

/* Adds the random part behind n bytes. */
static char *marker_end(char buf[static MARKER_NAME_MAX], int n)
{
        uint8_t random[16];

        if (getrandom(random, sizeof random, 0) != sizeof random)
                return NULL;
        n += snprintf(buf + n, MARKER_NAME_MAX - (size_t) n, ".r");
        for (size_t i = 0; i < sizeof random; i++)
                n += snprintf(buf + n, MARKER_NAME_MAX - (size_t) n, "%02x", random[i]);
        return buf;
}

char *marker_format(const Caller *c, char buf[static MARKER_NAME_MAX])
{
        char u[37];

        if (!uuid_valid(c->uuid) || c->domid < 0)
                return NULL;
        return marker_end(buf, snprintf(buf, MARKER_NAME_MAX, MARKER_PREFIX ".d%lld.u%s.s%d", (long long) c->domid,
                                        uuid_to_path(c->uuid, u), c->stubdom));
}

char *marker_format_proxy(char buf[static MARKER_NAME_MAX])
{
        return marker_end(buf, snprintf(buf, MARKER_NAME_MAX, PROXY_MARKER));
}

int marker_parse(const char *name, Caller *ret)
{
        Caller c = { .guest = true };
        char domid[21], uuid[37];
        const char *p, *e;

        p = startswith(name, PROXY_MARKER ".r");
        if (p && strlen(p) == 32 && strspn(p, "0123456789abcdef") == 32) {
                *ret = (Caller) { .uuid = HOST_UUID, .proxy = true };
                return 0;
        }
        p = startswith(name, MARKER_PREFIX ".d");
        e = p ? strchr(p, '.') : NULL;
        if (!e || e == p || (size_t) (e - p) >= sizeof domid)
                return -EINVAL;
        memcpy(domid, p, (size_t) (e - p));
        domid[e - p] = '\0';
        if (parse_i64(domid, &c.domid) < 0 || c.domid < 0)
                return -EINVAL;
        p = startswith(e, ".u");
        if (!p || strlen(p) < 36)
                return -EINVAL;
        memcpy(uuid, p, 36);
        uuid[36] = '\0';
        if (!uuid_from_path(uuid, c.uuid))
                return -EINVAL;
        p = startswith(p + 36, ".s");
        if (!p || (*p != '0' && *p != '1'))
                return -EINVAL;
        c.stubdom = *p == '1';
        p = startswith(p + 1, ".r");
        if (!p || strlen(p) != 32 || strspn(p, "0123456789abcdef") != 32)
                return -EINVAL;
        *ret = c;
        return 0;
}

static int sender_compare(const void *a, const void *b)
{
        return strcmp(((const Sender *) a)->name, ((const Sender *) b)->name);
}

static Sender *sender_free(Sender *s)
{
        if (!s)
                return NULL;
        for (Waiter *w = s->waiters, *n; w; w = n) {
                n = w->next;
                free(w);
        }
        sd_bus_slot_unref(s->asking);
        free(s->marker);
        free(s->name);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(Sender *, sender_free)

static Sender *callermap_find(CallerMap *m, const char *name)
{
        Sender key = { .name = (char *) name }, **found = tfind(&key, &m->senders, sender_compare);

        return found ? *found : NULL;
}

static Sender *callermap_get(CallerMap *m, const char *name)
{
        _cleanup_(sender_freep) Sender *s = callermap_find(m, name);

        if (s)
                return TAKE_PTR(s);
        s = calloc(1, sizeof *s);
        if (!s)
                return NULL;
        s->map = m;
        s->name = strdup(name);
        if (!s->name || !tsearch(s, &m->senders, sender_compare))
                return NULL;
        return TAKE_PTR(s);
}

static void callermap_drop(CallerMap *m, Sender *s)
{
        tdelete(s, &m->senders, sender_compare);
        sender_free(s);
}

/* A connection has a marker from the moment it took one until it ends: giving it back changes nothing. */
static int callermap_mark(void *userdata, const char *marker, const char *owner)
{
        CallerMap *m = userdata;
        Caller c;
        Sender *s;

        if (marker_parse(marker, &c) < 0) {
                log_warning("Connection %s owns the malformed marker name %s; it is refused", owner, marker);
                c = (Caller) { .guest = true, .domid = -1, .uuid = HOST_UUID };
        }
        s = callermap_get(m, owner);
        if (!s)
                return -ENOMEM;
        if (s->marked && (s->caller.domid != c.domid || !streq(s->caller.uuid, c.uuid) || s->caller.stubdom != c.stubdom ||
                          s->caller.proxy != c.proxy))
                c.domid = -1; /* Two different markers: nobody can say who this is. */
        s->marked = true;
        s->caller = c;
        return 0;
}

static bool is_marker(const char *name)
{
        return startswith(name, MARKER_PREFIX ".");
}

static int on_name_owner_changed(sd_bus_message *msg, void *userdata, _unused_ sd_bus_error *error)
{
        CallerMap *m = userdata;
        const char *name, *old, *new;
        Sender *s;
        int r;

        r = sd_bus_message_read(msg, "sss", &name, &old, &new);
        if (r < 0)
                return 0;
        if (name[0] == ':') { /* a connection that ended (all unique names, seen only with a proxy uid) */
                s = *new ? NULL : callermap_find(m, name);
                if (s && !s->asking)
                        callermap_drop(m, s);
                return 0;
        }
        if (*new && is_marker(name)) {
                r = callermap_mark(m, name, new);
                if (r < 0)
                        log_errno(r, "Cannot note the marker of %s", new);
        }
        return 0;
}

int callermap_new(sd_bus *bus, uid_t proxy_uid, CallerMap **ret)
{
        _cleanup_(callermap_freep) CallerMap *m = calloc(1, sizeof *m);
        int r;

        if (!m)
                return -ENOMEM;
        m->bus = sd_bus_ref(bus);
        m->proxy_uid = proxy_uid;
        r = name_owners_follow(bus, on_name_owner_changed, is_marker, callermap_mark, m, &m->match);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

static void free_node(void *s)
{
        sender_free(s);
}

CallerMap *callermap_free(CallerMap *m)
{
        if (!m)
                return NULL;
        sd_bus_slot_unref(m->match);
        tdestroy(m->senders, free_node);
        sd_bus_unref(m->bus);
        free(m);
        return NULL;
}

static int on_uid(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error)
{
        Sender *s = userdata;
        Waiter *waiters = TAKE_PTR(s->waiters);
        uint32_t uid;

        s->asking = sd_bus_slot_unref(s->asking);
        /* No answer: the connection is gone, whoever it was; refuse. */
        s->uid = sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "u", &uid) < 0 ||
                                 uid == s->map->proxy_uid
                         ? UID_PROXY
                         : UID_FINE;
        for (Waiter *w = waiters, *n; w; w = n) {
                n = w->next;
                w->on_known(w->userdata);
                free(w);
        }
        return 0;
}

int callermap_lookup(CallerMap *m, const char *sender, Caller *ret, void (*on_known)(void *userdata), void *userdata)
{
        Sender *s = sender ? callermap_find(m, sender) : NULL;
        Waiter *w, **end;
        int r;

        if (s && s->marked) {
                if (s->caller.domid < 0)
                        return -EACCES;
                *ret = s->caller;
                return s->caller.guest;
        }
        if (m->proxy_uid != (uid_t) -1 && sender && sender[0] == ':') {
                if (!s)
                        s = callermap_get(m, sender);
                if (!s)
                        return -ENOMEM;
                if (s->uid == UID_PROXY)
                        return -EACCES;
                if (s->uid != UID_FINE) {
                        if (!s->asking) {
                                r = sd_bus_call_method_async(m->bus, &s->asking, "org.freedesktop.DBus",
                                                             "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                                             "GetConnectionUnixUser", on_uid, s, "s", sender);
                                if (r < 0)
                                        return r;
                        }
                        w = calloc(1, sizeof *w);
                        if (!w)
                                return -ENOMEM;
                        w->on_known = on_known;
                        w->userdata = userdata;
                        for (end = &s->waiters; *end; end = &(*end)->next)
                                ;
                        *end = w;
                        return -EAGAIN;
                }
        }
        *ret = (Caller) { .uuid = HOST_UUID };
        return 0;
}

static const void *cancel_userdata; /* twalk takes no argument; one thread only */

static void cancel_in(const void *node, VISIT which, _unused_ int depth)
{
        Sender *s = *(Sender *const *) node;

        if (which != postorder && which != leaf)
                return;
        for (Waiter **w = &s->waiters; *w;)
                if ((*w)->userdata == cancel_userdata) {
                        Waiter *gone = *w;

                        *w = gone->next;
                        free(gone);
                } else
                        w = &(*w)->next;
}

void callermap_cancel(CallerMap *m, void *userdata)
{
        cancel_userdata = userdata;
        twalk(m->senders, cancel_in);
}

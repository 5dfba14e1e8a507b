/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-link.h"

#include "audit.h"
#include "introspect.h"
#include "json-message.h"
#include "log.h"

#define CHUNK (64 * KIB)
#define READS_MAX 4 /* before others have their turn */
#define HOST_CALLS_MAX 128
#define KNOWN_MAX 64                          /* introspected objects that are remembered … */
#define KNOWN_BYTES_MAX (2 * MIB)             /* … all together … */
#define KNOWN_TIME (60 * USEC_PER_SEC)        /* … and for so long, since services change */
#define INTROSPECT_TIMEOUT (5 * USEC_PER_SEC)
#define BEGIN_LINE "BEGIN\r\n"
#define ERROR_INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define ERROR_FAILED "org.freedesktop.DBus.Error.Failed"

/* A call that went to a JSON client: its answer has to find the way back. */
typedef struct HostCall {
        uint32_t serial, id; /* of the caller, and what the client gets: no two that are under way have the same */
        char sender[256];
} HostCall;

/* What objects of the bus look like; shared by all connections, as it says nothing but types. */
typedef struct Known {
        char *destination, *path, *xml;
        size_t size;
        uint64_t until;
} Known;

static struct {
        Known list[KNOWN_MAX]; /* a ring */
        unsigned next;
        size_t size;
} known;

/* A JSON text that waits for an introspection in front of it. */
typedef struct Text {
        struct Text *next;
        size_t size;
        char data[];
} Text;

typedef struct JsonLink {
        Link link;
        Link *inner;
        JsonLinkSpec spec;
        sd_event_source *again; /* calls the owner for what is there already */
        bool watch_in, watch_out;

        bool raw;       /* still authentication lines */
        bool ended;     /* nothing more comes */
        StrBuf in;      /* from the client: not yet a whole text */
        StrBuf ready;   /* D-Bus bytes for the owner */
        size_t ready_at;
        StrBuf dbus;    /* D-Bus bytes from the owner that make no whole message yet */
        StrBuf out;     /* for the client */
        size_t out_at;

        size_t charged; /* bytes of all these buffers that the peer was charged for */

        Text *texts, **texts_end;
        size_t texts_size;
        JsonMessage asking; /* waits for its types */
        sd_bus_slot *slot;
        HostCall *calls;
        unsigned n_calls;
} JsonLink;

/* Methods whose types need no question; all services have them alike. */
static const struct {
        const char *interface, *member, *in;
} well_known[] = {
        { "org.freedesktop.DBus.Properties", "Get", "ss" },
        { "org.freedesktop.DBus.Properties", "Set", "ssv" },
        { "org.freedesktop.DBus.Properties", "GetAll", "s" },
        { "org.freedesktop.DBus.Introspectable", "Introspect", "" },
        { "org.freedesktop.DBus.Peer", "Ping", "" },
        { "org.freedesktop.DBus.Peer", "GetMachineId", "" },
        { "org.freedesktop.DBus", "Hello", "" },
        { "org.freedesktop.DBus", "AddMatch", "s" },
        { "org.freedesktop.DBus", "RemoveMatch", "s" },
        { "org.freedesktop.DBus", "NameHasOwner", "s" },
        { "org.freedesktop.DBus", "GetNameOwner", "s" },
        { "org.freedesktop.DBus", "ListNames", "" },
        { "org.freedesktop.DBus", "RequestName", "su" },
        { "org.freedesktop.DBus", "ReleaseName", "s" },
};

static bool pending(const StrBuf *b, size_t at)
{
        return b->len > at;
}

static void consume(StrBuf *b, size_t *at, size_t n)
{
        *at += n;
        if (*at == b->len)
                strbuf_done(b), *at = 0;
}

/* What was taken from the front of a buffer without a place of its own. */
static void drop(StrBuf *b, size_t n)
{
        if (n == b->len)
                strbuf_done(b);
        else if (n > 0) {
                memmove(b->data, b->data + n, b->len - n);
                b->len -= n;
        }
}

static size_t kept(const JsonLink *j)
{
        return j->in.len + j->ready.len + j->dbus.len + j->out.len + j->texts_size;
}

/* What is kept here counts as what a connection keeps: all that one peer has kept for it is bounded. False: it is too much. */
static bool charge(JsonLink *j)
{
        const size_t now = kept(j);
        Peer *p = j->spec.peer;

        p->queued += now - j->charged;
        if (now <= j->charged || p->queued <= (size_t) j->spec.proxy->limits.queued) {
                j->charged = now;
                return true;
        }
        j->charged = now;
        j->ended = true;
        audit_note(p, "A JSON client of domain %lld ends: more bytes would be kept for it than proxy.queued allows", (long long) p->domid);
        return false;
}

/* Texts for clients fill half of that at most: the rest is for what comes while they are not taken. */
static bool room_for(const JsonLink *j, size_t n)
{
        const size_t max = (size_t) j->spec.proxy->limits.queued / 2;

        return n <= max && j->spec.peer->queued - j->charged + j->out.len <= max - n;
}

static void flush_out(JsonLink *j)
{
        while (pending(&j->out, j->out_at)) {
                struct iovec v = { j->out.data + j->out_at, j->out.len - j->out_at };
                ssize_t n = link_write(j->inner, &v, 1);

                if (n == -EAGAIN)
                        return;
                if (n < 0) {
                        j->ended = true;
                        strbuf_done(&j->out);
                        j->out_at = 0;
                        return;
                }
                consume(&j->out, &j->out_at, (size_t) n);
        }
}

static void send_text(JsonLink *j, const StrBuf *text)
{
        if (text->oom)
                j->ended = true;
        else
                strbuf_addn(&j->out, text->data, text->len + 1); /* with the NUL */
        j->ended |= j->out.oom;
}

static void answer(JsonLink *j, const char *id, const char *name, const char *text)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        log_debug("A JSON request of domain %lld is refused: %s", (long long) j->spec.peer->domid, text);
        (void) json_error_format(UINT32_MAX, id, name, text, &b);
        send_text(j, &b);
}

static HostCall *find_call(JsonLink *j, uint32_t id)
{
        for (unsigned i = 0; i < j->n_calls; i++)
                if (j->calls[i].id == id)
                        return j->calls + i;
        return NULL;
}

static void forget_call(JsonLink *j, HostCall *call)
{
        j->n_calls--;
        memmove(call, call + 1, (size_t) (j->calls + j->n_calls - call) * sizeof(*call));
}

/* Hands a message to the owner; or says why not. */
static void deliver(JsonLink *j, JsonMessage *m, const char *signature)
{
        _cleanup_free_ uint8_t *data = NULL;
        const char *destination = NULL;
        HostCall *call = NULL;
        JsonWhy why = { "the message is too large" };
        char id[16];
        size_t size;
        int r;

        if (m->kind == JSON_RESPONSE || m->kind == JSON_ERROR) {
                call = find_call(j, m->response_to);
                if (!call && !j->spec.client) {
                        log_debug("A JSON client answered what nobody asked");
                        json_message_done(m);
                        return;
                }
                if (call) {
                        destination = call->sender;
                        m->response_to = call->serial;
                }
        }
        r = json_message_encode(m, signature, destination, (size_t) j->spec.proxy->limits.message_size, &data, &size, &why);
        if (r == 0) {
                strbuf_addn(&j->ready, (const char *) data, size);
                j->ended |= j->ready.oom;
        } else if (m->kind == JSON_REQUEST) {
                snprintf(id, sizeof(id), "%u", m->id);
                answer(j, id, ERROR_INVALID_ARGS, r == -ENOMEM ? "out of memory" : why.text);
        } else {
                audit_note(j->spec.peer, "A JSON message cannot be carried: %s", why.text);
                /* The caller is not to wait for an answer that cannot come. */
                if (call) {
                        JsonMessage error = { .kind = JSON_ERROR, .id = m->id, .response_to = m->response_to,
                                              .name = ERROR_FAILED, .args = json_object_new_array() };

                        if (json_message_encode(&error, "", destination, WIRE_FIELDS_MAX, &data, &size, &why) == 0)
                                strbuf_addn(&j->ready, (const char *) data, size);
                        json_object_put(error.args);
                }
        }
        if (call)
                forget_call(j, call);
        json_message_done(m);
}

/* Would the rules let the request pass? Else nothing is asked for it. */
static bool may_ask(const JsonLink *j, const JsonMessage *m)
{
        const Peer *p = j->spec.peer;
        PolicyMessage pm = { .type = POLICY_CALL, .destination = m->destination, .path = m->path,
                             .interface = m->interface, .member = m->method };

        if (j->spec.client || !j->spec.proxy->daemon->bus)
                return false;
        if (json_object_array_length(m->args) > 0)
                pm.arg0 = json_object_get_string(json_object_array_get_idx(m->args, 0));
        return peer_is_host(p) || j->spec.instance->no_firewall ||
               (p->policy && policy_decide(p->policy, &p->client, &pm).allow);
}

static const Known *find_known(const JsonMessage *m)
{
        uint64_t now = now_usec();

        for (unsigned i = 0; i < KNOWN_MAX; i++) {
                const Known *k = known.list + i;

                if (k->xml && k->until > now && streq(k->destination, m->destination) && streq(k->path, m->path))
                        return k;
        }
        return NULL;
}

static void forget(Known *k)
{
        known.size -= k->size;
        free(k->destination);
        free(k->path);
        free(k->xml);
        *k = (Known) {};
}

static void remember(const JsonMessage *m, const char *xml)
{
        Known k = { .size = strlen(xml), .until = now_usec() + KNOWN_TIME };

        if (k.size > KNOWN_BYTES_MAX / 4)
                return;
        forget(known.list + known.next);
        for (unsigned i = 1; known.size + k.size > KNOWN_BYTES_MAX && i < KNOWN_MAX; i++)
                forget(known.list + (known.next + i) % KNOWN_MAX); /* the oldest first */
        known.size += k.size;
        k.destination = strdup(m->destination);
        k.path = strdup(m->path);
        k.xml = strdup(xml);
        known.list[known.next] = k;
        if (!k.destination || !k.path || !k.xml)
                forget(known.list + known.next);
        known.next = (known.next + 1) % KNOWN_MAX;
}

static void run_texts(JsonLink *j);
static void tell_owner(JsonLink *j);

static void deliver_known(JsonLink *j, JsonMessage *m, const char *xml)
{
        _cleanup_free_ char *signature = NULL;

        if (introspect_method(xml, strlen(xml), m->interface, m->method, &signature) < 0)
                signature = NULL; /* then it is guessed */
        deliver(j, m, signature);
}

static int on_introspected(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *ret_error)
{
        JsonLink *j = userdata;
        JsonMessage m = j->asking;
        const char *xml = NULL;

        j->asking = (JsonMessage) {};
        j->slot = sd_bus_slot_unref(j->slot);
        if (!sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read(reply, "s", &xml) > 0 &&
            strlen(xml) <= INTROSPECT_MAX) {
                remember(&m, xml);
                deliver_known(j, &m, xml);
        } else
                deliver(j, &m, NULL);
        run_texts(j);
        (void) charge(j);
        tell_owner(j);
        return 0;
}

static int ask(JsonLink *j, const JsonMessage *m)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        sd_bus *bus = j->spec.proxy->daemon->bus;
        int r = sd_bus_message_new_method_call(bus, &call, m->destination, m->path, "org.freedesktop.DBus.Introspectable",
                                               "Introspect");

        return r < 0 ? r : sd_bus_call_async(bus, &j->slot, call, on_introspected, j, INTROSPECT_TIMEOUT);
}

static void handle_request(JsonLink *j, JsonMessage *m)
{
        const Known *k;

        if (m->signature) {
                deliver(j, m, NULL);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(well_known); i++)
                if (streq(m->interface, well_known[i].interface) && streq(m->method, well_known[i].member)) {
                        deliver(j, m, well_known[i].in);
                        return;
                }
        if (!may_ask(j, m)) {
                deliver(j, m, NULL);
                return;
        }
        k = find_known(m);
        if (k)
                deliver_known(j, m, k->xml);
        else if (ask(j, m) >= 0) {
                j->asking = *m;
                *m = (JsonMessage) {};
        } else
                deliver(j, m, NULL);
}

static void handle_text(JsonLink *j, const char *text, size_t size)
{
        _cleanup_(json_message_done) JsonMessage m = {};
        bool owed;
        char id[16];
        JsonWhy why;
        int r = json_message_parse(text, size, &m, &owed, id, &why);

        if (r == -ENOMEM)
                j->ended = true;
        else if (r < 0 && owed && !j->spec.client)
                answer(j, id, ERROR_INVALID_ARGS, why.text);
        else if (r < 0)
                log_debug("A JSON message is skipped: %s", why.text);
        else if (m.kind == JSON_REQUEST)
                handle_request(j, &m);
        else
                deliver(j, &m, NULL);
}

static void run_texts(JsonLink *j)
{
        while (j->texts && !j->asking.object) {
                Text *t = j->texts;

                j->texts = t->next;
                if (!j->texts)
                        j->texts_end = &j->texts;
                j->texts_size -= t->size;
                handle_text(j, t->data, t->size);
                free(t);
        }
}

static void on_text(void *userdata, const char *text, size_t size)
{
        JsonLink *j = userdata;
        Text *t;

        if (!j->asking.object) {
                handle_text(j, text, size);
                return;
        }
        t = malloc(sizeof(*t) + size);
        if (!t) {
                j->ended = true;
                return;
        }
        *t = (Text) { .size = size };
        memcpy(t->data, text, size);
        *j->texts_end = t;
        j->texts_end = &t->next;
        j->texts_size += size;
}

/* Texts that end with a NUL; an empty one ends the conversation. */
static void split_texts(JsonLink *j)
{
        size_t at = 0;
        const char *end;

        while (!j->ended && at < j->in.len && (end = memchr(j->in.data + at, 0, j->in.len - at))) {
                size_t n = (size_t) (end - (j->in.data + at));

                if (n == 0) {
                        j->ended = true;
                        if (j->spec.instance->websockets_in && !j->spec.client)
                                audit_note(j->spec.peer, "A WebSocket of domain %lld ends: it broke the protocol, or sent an empty "
                                           "or too large message", (long long) j->spec.peer->domid);
                } else
                        on_text(j, j->in.data + at, n);
                at += n + 1;
        }
        if (j->ended)
                at = j->in.len;
        drop(&j->in, at);
        if (j->in.len > (size_t) j->spec.proxy->limits.message_size) {
                j->ended = true;
                audit_note(j->spec.peer, "A JSON client of domain %lld ends: a text is larger than proxy.message-size allows",
                           (long long) j->spec.peer->domid);
        }
}

/* Authentication lines go through as they are, up to the one that ends them. */
static void pass_raw(JsonLink *j)
{
        char *begin = memmem(j->in.data, j->in.len, BEGIN_LINE, strlen(BEGIN_LINE));
        size_t n = j->in.len;

        if (begin && (begin == j->in.data || begin[-1] == '\n' || begin[-1] == '\0')) {
                n = (size_t) (begin - j->in.data) + strlen(BEGIN_LINE);
                j->raw = false;
        } else { /* a line that may still become it stays */
                char *line = memrchr(j->in.data, '\n', j->in.len);

                if (line)
                        n = (size_t) (line - j->in.data) + 1;
                else if (j->in.len < strlen(BEGIN_LINE))
                        n = 0;
        }
        strbuf_addn(&j->ready, j->in.data, n);
        drop(&j->in, n);
}

static void take_input(JsonLink *j, const void *data, size_t n)
{
        strbuf_addn(&j->in, data, n);
        if (j->in.oom)
                j->ended = true;
        else if (j->raw)
                pass_raw(j);
        if (!j->ended && !j->raw)
                split_texts(j);
        flush_out(j);
        (void) charge(j);
}

static ssize_t json_read(Link *l, void *buf, size_t size)
{
        static uint8_t chunk[CHUNK];
        JsonLink *j = (JsonLink *) l;
        size_t n;

        for (unsigned reads = 0; !pending(&j->ready, j->ready_at); reads++) {
                ssize_t r;

                if (j->ended)
                        return 0;
                flush_out(j);
                if (j->asking.object || pending(&j->out, j->out_at) || reads == READS_MAX)
                        return -EAGAIN;
                r = link_read(j->inner, chunk, sizeof(chunk));
                if (r < 0)
                        return r;
                if (r == 0)
                        j->ended = true;
                else
                        take_input(j, chunk, (size_t) r);
        }
        n = MIN2(size, j->ready.len - j->ready_at);
        memcpy(buf, j->ready.data + j->ready_at, n);
        consume(&j->ready, &j->ready_at, n);
        (void) charge(j);
        return (ssize_t) n;
}

/* The caller of something that cannot be said in JSON is told so. */
static void refuse_call(JsonLink *j, const WireMessage *m)
{
        JsonMessage error = { .kind = JSON_ERROR, .id = UINT32_MAX, .response_to = m->serial, .name = ERROR_FAILED,
                              .args = json_object_new_array() };
        _cleanup_free_ uint8_t *data = NULL;
        JsonWhy why;
        size_t size;

        if (error.args && json_message_encode(&error, "", m->sender, WIRE_FIELDS_MAX, &data, &size, &why) == 0)
                strbuf_addn(&j->ready, (const char *) data, size);
        json_object_put(error.args);
}

/* *ret_id: by which the client knows the call. */
static bool note_call(JsonLink *j, const WireMessage *m, uint32_t *ret_id)
{
        HostCall *l;

        *ret_id = m->serial;
        if (j->spec.client)
                return true;
        while (*ret_id == 0 || find_call(j, *ret_id))
                ++*ret_id;
        if (m->flags & WIRE_NO_REPLY_EXPECTED)
                return true;
        if (!m->sender || strlen(m->sender) >= sizeof(l->sender))
                return false;
        if (j->n_calls == HOST_CALLS_MAX) /* the connection behind told its caller */
                forget_call(j, j->calls);
        l = reallocarray(j->calls, j->n_calls + 1, sizeof(*l));
        if (!l)
                return false;
        j->calls = l;
        l[j->n_calls].serial = m->serial;
        l[j->n_calls].id = *ret_id;
        strcpy(l[j->n_calls++].sender, m->sender);
        return true;
}

/* A D-Bus message of the owner for the client. */
static void send_message(JsonLink *j, const WireMessage *m)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        WireMessage seen = *m;
        const char *text = NULL;
        JsonWhy why;
        char id[16];
        int r;

        if (m->type == WIRE_CALL && !note_call(j, m, &seen.serial)) {
                refuse_call(j, m);
                return;
        }
        /* Errors of the bus and of the proxy have no code: the UI takes what stands before a colon for one. */
        if (m->type == WIRE_ERROR && streq_ptr(m->sender, BUS_DRIVER) && wire_body_texts(m, &text, 1) == 1) {
                snprintf(id, sizeof(id), "%u", m->reply_serial);
                r = json_error_format(m->serial, id, m->error_name, text, &b);
        } else
                r = json_message_format(&seen, j->spec.client ? JSON_CLIENT : JSON_SERVER, &b, &why);
        if (r == 0 && !room_for(j, b.len)) {
                why = (JsonWhy) { "it is longer than proxy.queued allows" };
                r = -EBADMSG;
        }
        if (r == 0) {
                send_text(j, &b);
                return;
        }
        if (r == -EBADMSG)
                log_debug("A message cannot be carried to a JSON client: %s", why.text);
        if (m->type == WIRE_CALL) {
                HostCall *call = m->flags & WIRE_NO_REPLY_EXPECTED ? NULL : find_call(j, seen.serial);

                if (call)
                        forget_call(j, call);
                refuse_call(j, m);
        } else if (m->type != WIRE_SIGNAL) {
                snprintf(id, sizeof(id), "%u", m->reply_serial);
                answer(j, id, ERROR_FAILED, r == -EBADMSG ? why.text : "out of memory");
        }
}

/* We connect to a JSON service: the bus connection's authentication is nobody's there. */
static void take_authentication(JsonLink *j)
{
        char *begin = memmem(j->dbus.data, j->dbus.len, BEGIN_LINE, strlen(BEGIN_LINE));

        if (!begin)
                return;
        drop(&j->dbus, (size_t) (begin - j->dbus.data) + strlen(BEGIN_LINE));
        strbuf_add(&j->ready, "OK 00000000000000000000000000000000\r\n");
        j->raw = false;
}

static ssize_t json_write(Link *l, const struct iovec *iov, int n)
{
        JsonLink *j = (JsonLink *) l;
        size_t total = 0, at = 0;

        flush_out(j);
        if (pending(&j->out, j->out_at))
                return -EAGAIN;
        for (int i = 0; i < n; i++) {
                strbuf_addn(&j->dbus, iov[i].iov_base, iov[i].iov_len);
                total += iov[i].iov_len;
        }
        if (j->dbus.oom)
                return -ENOMEM;
        if (j->raw && j->spec.client)
                take_authentication(j);
        else if (j->raw) {
                strbuf_addn(&j->out, j->dbus.data, j->dbus.len);
                drop(&j->dbus, j->dbus.len);
        }
        while (!j->raw && at < j->dbus.len) {
                WireMessage m;
                const char *why;
                ssize_t size = wire_size(j->dbus.data + at, j->dbus.len - at, &why);

                if (size == 0 || (size > 0 && (size_t) size > j->dbus.len - at))
                        break;
                if (size < 0 || wire_parse(j->dbus.data + at, (size_t) size, &m, &why) < 0)
                        return -EBADMSG;
                send_message(j, &m);
                at += (size_t) size;
        }
        drop(&j->dbus, at);
        flush_out(j);
        return charge(j) ? (ssize_t) total : -ENOBUFS;
}

static void update_watch(JsonLink *j)
{
        bool busy = pending(&j->out, j->out_at), there = pending(&j->ready, j->ready_at);

        link_watch(j->inner, j->watch_in && !j->ended && !busy && !there && !j->asking.object, busy);
        (void) sd_event_source_set_enabled(j->again, (j->watch_in && (there || (j->ended && !j->asking.object))) ||
                                                             (j->watch_out && !busy)
                                                             ? SD_EVENT_ONESHOT
                                                             : SD_EVENT_OFF);
}

static void json_watch(Link *l, bool in, bool out)
{
        JsonLink *j = (JsonLink *) l;

        j->watch_in = in;
        j->watch_out = out;
        update_watch(j);
}

/* The owner may free the link in this call. */
static void tell_owner(JsonLink *j)
{
        bool in = j->watch_in && (pending(&j->ready, j->ready_at) || j->ended);
        bool out = j->watch_out && !pending(&j->out, j->out_at);

        if (in || out)
                j->link.on_event(j->link.userdata, in, out);
        else
                update_watch(j);
}

static int on_again(_unused_ sd_event_source *s, void *userdata)
{
        tell_owner(userdata);
        return 0;
}

static void on_inner(void *userdata, bool in, bool out)
{
        JsonLink *j = userdata;

        if (out)
                flush_out(j);
        out = j->watch_out && !pending(&j->out, j->out_at);
        in = in && j->watch_in;
        if (in || out)
                j->link.on_event(j->link.userdata, in, out);
        else
                tell_owner(j);
}

static void json_free(Link *l)
{
        JsonLink *j = (JsonLink *) l;

        link_free(j->inner);
        sd_event_source_disable_unref(j->again);
        sd_bus_slot_unref(j->slot);
        json_message_done(&j->asking);
        for (Text *t = j->texts, *next; t; t = next) {
                next = t->next;
                free(t);
        }
        strbuf_done(&j->in);
        strbuf_done(&j->ready);
        strbuf_done(&j->dbus);
        strbuf_done(&j->out);
        free(j->calls);
        j->spec.peer->queued -= j->charged;
        peer_unref(j->spec.peer);
        free(j);
}

int json_link_new(Link *inner, const JsonLinkSpec *spec, Link **ret)
{
        static const LinkOps ops = { json_read, json_write, json_watch, json_free };
        _cleanup_(link_freep) Link *own = inner;
        JsonLink *j = calloc(1, sizeof(*j));
        int r;

        if (!j)
                return -ENOMEM;
        *j = (JsonLink) { .link.ops = &ops, .spec = *spec, .raw = spec->authenticates, .texts_end = &j->texts };
        j->spec.peer = peer_ref(spec->peer);
        r = sd_event_add_defer(spec->proxy->event, &j->again, on_again, j);
        if (r >= 0)
                r = sd_event_source_set_enabled(j->again, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_priority(j->again, PRIORITY_CLIENTS);
        if (r < 0) {
                json_free(&j->link);
                return r;
        }
        j->inner = TAKE_PTR(own);
        j->inner->on_event = on_inner;
        j->inner->userdata = j;
        *ret = &j->link;
        return 0;
}

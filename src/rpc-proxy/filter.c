/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "filter.h"

#include "audit.h"
#include "caller.h"
#include "log.h"
#include "match.h"
#include "names.h"
#include "parse.h"
#include "pattern.h"
#include "service.h"

#define DENIED_TEXT "The rules of the host do not allow this call"

/* What guests may ever ask of the bus driver, whatever the rules say. */
typedef enum DriverKind {
        DRIVER_PLAIN,
        DRIVER_HELLO,
        DRIVER_REQUEST_NAME,
        DRIVER_RELEASE_NAME,
        DRIVER_ADD_MATCH,
        DRIVER_REMOVE_MATCH,
        DRIVER_LIST_NAMES,
        DRIVER_ABOUT_NAME, /* the first argument is a name that the guest must be allowed to know */
        _DRIVER_INVALID = -1,
} DriverKind;

static const struct {
        const char *member;
        DriverKind kind;
} driver_members[] = {
        { "Hello", DRIVER_HELLO },
        { "RequestName", DRIVER_REQUEST_NAME },
        { "ReleaseName", DRIVER_RELEASE_NAME },
        { "AddMatch", DRIVER_ADD_MATCH },
        { "RemoveMatch", DRIVER_REMOVE_MATCH },
        { "ListNames", DRIVER_LIST_NAMES },
        { "ListActivatableNames", DRIVER_LIST_NAMES },
        { "GetNameOwner", DRIVER_ABOUT_NAME },
        { "NameHasOwner", DRIVER_ABOUT_NAME },
        { "ListQueuedOwners", DRIVER_ABOUT_NAME },
        { "StartServiceByName", DRIVER_ABOUT_NAME },
        { "GetConnectionUnixUser", DRIVER_ABOUT_NAME },
        { "GetConnectionUnixProcessID", DRIVER_ABOUT_NAME },
        { "GetConnectionCredentials", DRIVER_ABOUT_NAME },
        { "GetId", DRIVER_PLAIN },
        { "GetMachineId", DRIVER_PLAIN },
        { "Ping", DRIVER_PLAIN },
        { "Introspect", DRIVER_PLAIN },
        { "Get", DRIVER_PLAIN },
        { "GetAll", DRIVER_PLAIN },
};

static DriverKind driver_kind(const WireMessage *m)
{
        for (size_t i = 0; i < ELEMENTSOF(driver_members); i++)
                if (streq(m->member, driver_members[i].member))
                        return driver_members[i].kind;
        return _DRIVER_INVALID;
}

static bool exempt(const Connection *c)
{
        return peer_is_host(c->peer) || c->instance->no_firewall;
}

/* The message as the rules see it. False: its first arguments are malformed. */
static bool describe(const WireMessage *m, PolicyDirection direction, PolicyMessage *ret)
{
        const char *text[2] = { NULL, NULL };
        int n = wire_body_texts(m, text, 2);

        *ret = (PolicyMessage) {
                .direction = direction, .type = (PolicyType) m->type, .destination = m->destination, .path = m->path,
                .interface = m->interface, .member = m->member, .sender = m->sender,
        };
        if (n >= 1 && m->signature[0] == 's')
                ret->arg0 = text[0];
        if (ret->arg0 && n >= 2 && m->signature[1] == 's')
                ret->property_name = text[1];
        return n >= 0;
}

static PolicyVerdict judge(const Connection *c, const PolicyMessage *pm, const char **ret_why)
{
        *ret_why = NULL;
        if (exempt(c))
                return (PolicyVerdict) { .allow = true };
        if (!c->peer->policy) {
                *ret_why = strempty(c->peer->policy_why);
                return (PolicyVerdict) { .allow = false };
        }
        return policy_decide(c->peer->policy, &c->peer->client, pm);
}

static void record(const Connection *c, const WireMessage *m, const PolicyMessage *pm, PolicyVerdict v, const char *why)
{
        if (!v.allow || c->proxy->verbose)
                audit_record(c->proxy->audit, c->peer, pm, m->serial, m->reply_serial, &v, why);
}

/* Denies a message of the client: recorded, answered where an answer is expected. */
static Fate deny(Connection *c, const WireMessage *m, const PolicyMessage *pm, PolicyVerdict v, const char *why)
{
        v.allow = false;
        record(c, m, pm, v, why);
        connection_reply_error(c, m, DBUS_ERROR_ACCESS_DENIED, DENIED_TEXT);
        return FATE_DONE;
}

static Fate deny_because(Connection *c, const WireMessage *m, const PolicyMessage *pm, const char *why)
{
        return deny(c, m, pm, (PolicyVerdict) { 0 }, why);
}

/* The one name that a guest may own: from -n, else the agent's of its own VM. False: none. */
static bool granted_name(const Connection *c, char buf[static WIRE_NAME_MAX + 1])
{
        const char *in = c->instance->request_name ? c->instance->request_name : AGENT_NAME_PREFIX "$UUID";
        char uuid[37];
        size_t n = 0;

        if (!uuid_valid(c->peer->uuid))
                return false;
        uuid_to_path(c->peer->uuid, uuid);
        while (*in && n < WIRE_NAME_MAX) {
                const char *rest = startswith(in, "$UUID");

                if (rest) {
                        if (n + 36 > WIRE_NAME_MAX)
                                return false;
                        memcpy(buf + n, uuid, 36);
                        n += 36;
                        in = rest;
                } else
                        buf[n++] = *in++;
        }
        buf[n] = '\0';
        return !*in && !startswith(buf, MARKER_PREFIX) && wire_bus_name_valid(buf, n) && buf[0] != ':';
}

/* Whether a guest may know of a name: it is its own, or the rules let some call of it reach that name. */
static bool name_visible(const Connection *c, const char *name)
{
        PolicyMessage pattern = { .direction = POLICY_INC, .type = POLICY_CALL, .destination = name };
        char granted[WIRE_NAME_MAX + 1];

        if (startswith(name, MARKER_PREFIX))
                return peer_is_host(c->peer);
        if (exempt(c) || streq(name, BUS_DRIVER) || streq_ptr(name, c->unique) ||
            (granted_name(c, granted) && streq(name, granted)))
                return true;
        if (!c->peer->policy)
                return false;
        if (name[0] == ':') {
                for (char *const *n = names_last_of(c->proxy->names, name); n && *n; n++)
                        if (name_visible(c, *n))
                                return true;
                return false;
        }
        return pattern_could_be_allowed(c->peer->policy, &c->peer->client, &pattern);
}

static Fate answer_hello(Connection *c, const WireMessage *m)
{
        uint8_t data[WIRE_NAME_MAX + 16];
        WireBody body = { .data = data, .size = sizeof data, .big_endian = m->big_endian };
        WireMessage acquired = { .big_endian = m->big_endian, .type = WIRE_SIGNAL, .flags = WIRE_NO_REPLY_EXPECTED,
                                 .serial = UINT32_MAX - 1, .path = "/org/freedesktop/DBus", .interface = BUS_DRIVER,
                                 .member = "NameAcquired", .sender = BUS_DRIVER, .destination = c->unique,
                                 .signature = "s" };

        if (c->hello_done) {
                connection_reply_error(c, m, DBUS_ERROR_FAILED, "Hello was said already");
                return FATE_DONE;
        }
        c->hello_done = true;
        wire_put_text(&body, c->unique);
        connection_reply(c, m, "s", &body);
        acquired.body = body.data;
        acquired.body_size = (uint32_t) body.used;
        connection_send(c, &c->client, &acquired);
        return FATE_DONE;
}

/* Sends RequestName for the granted name instead of the one that was asked for. */
static Fate send_request_name(Connection *c, const WireMessage *m, const char *name)
{
        uint8_t data[WIRE_NAME_MAX + 16];
        WireBody body = { .data = data, .size = sizeof data, .big_endian = m->big_endian };
        WireMessage changed = *m;
        size_t flags_at = (4 + strlen((const char *) m->body + 4) + 1 + 3) & ~(size_t) 3;

        if (m->body_size != flags_at + 4) {
                connection_end(c, "a message from it is malformed: RequestName's arguments are cut off");
                return FATE_DONE;
        }
        wire_put_text(&body, name);
        wire_put_u32(&body, wire_get_u32(m->body + flags_at, m->big_endian));
        changed.path = "/org/freedesktop/DBus";
        changed.interface = BUS_DRIVER;
        changed.flags &= (uint8_t) ~WIRE_NO_REPLY_EXPECTED; /* quiet_call() */
        changed.body = body.data;
        changed.body_size = (uint32_t) body.used;
        connection_send(c, &c->bus, &changed);
        return FATE_DONE;
}

/* Whether a match rule could bring the guest anything. NULL: yes, else why not. */
static const char *match_refused(const Connection *c, const PolicyMessage *pm)
{
        static const char *const types[] = { "method_call", "method_return", "error", "signal" };
        MatchRule rule;
        PolicyMessage pattern = { .direction = POLICY_OUT, .type = POLICY_SIGNAL };
        char *const *names;

        if (!pm->arg0 || match_rule_parse(pm->arg0, &rule) < 0)
                return "the match rule is malformed";
        if (rule.eavesdrop)
                return "a guest may not eavesdrop";
        for (size_t i = 0; rule.type && i < ELEMENTSOF(types); i++)
                if (streq(rule.type, types[i]))
                        pattern.type = (PolicyType) (i + 1);
        pattern.interface = rule.interface;
        pattern.member = rule.member;
        pattern.path = rule.path;
        pattern.arg0 = rule.arg0;
        names = rule.sender && rule.sender[0] == ':' ? names_of(c->proxy->names, rule.sender) : NULL;
        if (!names) {
                pattern.sender = rule.sender;
                return pattern_could_be_allowed(c->peer->policy, &c->peer->client, &pattern)
                               ? NULL
                               : "the rules would let nothing of what it matches reach the guest";
        }
        for (; *names; names++) {
                pattern.sender = *names;
                if (pattern_could_be_allowed(c->peer->policy, &c->peer->client, &pattern))
                        return NULL;
        }
        return "the rules would let nothing of what it matches reach the guest";
}

/* Judges as each of the names that a unique name owns; the first that is denied decides. */
static PolicyVerdict judge_destination(const Connection *c, PolicyMessage *pm, const char **ret_why)
{
        const char *destination = pm->destination;
        PolicyVerdict v = { 0 };
        char *const *names;

        if (!destination || destination[0] != ':' || exempt(c))
                return judge(c, pm, ret_why);
        names = names_of(c->proxy->names, destination);
        if (!names) {
                *ret_why = "the destination owns no name that rules could allow";
                return v;
        }
        for (; *names; names++) {
                pm->destination = *names;
                v = judge(c, pm, ret_why);
                if (!v.allow)
                        break;
        }
        pm->destination = destination;
        return v;
}

/* No room for one more call or signal of this peer, or its serial is that of our own Ping. */
static bool window_full(const Connection *c, const WireMessage *m)
{
        if (peer_is_host(c->peer) || (m->type != WIRE_CALL && m->type != WIRE_SIGNAL))
                return false;
        return !connection_window_open(c) || (c->barrier && m->serial == c->barrier);
}

/* A call of the bus driver that wants no reply: the bus is asked for one all the same, since what became of it counts here. */
static bool quiet_call(const WireMessage *m)
{
        return m->flags & WIRE_NO_REPLY_EXPECTED && streq_ptr(m->destination, BUS_DRIVER);
}

/* Notes an allowed call. asked: the name that GetNameOwner asks for, with --owner-name. */
static Fate forward_call(Connection *c, const WireMessage *m, CallKind kind, const char *asked)
{
        if (m->flags & WIRE_NO_REPLY_EXPECTED && !quiet_call(m)) {
                connection_add_one_way(c);
                return FATE_PASS;
        }
        if (!connection_add_call(c, m, kind)) {
                connection_end(c, "out of memory");
                return FATE_DONE;
        }
        c->calls[c->n_calls - 1].quiet = quiet_call(m);
        if (asked) {
                c->calls[c->n_calls - 1].asked = strdup(asked);
                if (!c->calls[c->n_calls - 1].asked)
                        connection_end(c, "out of memory");
        }
        return FATE_PASS;
}

static Fate driver_call(Connection *c, const WireMessage *m, PolicyMessage *pm)
{
        DriverKind kind = driver_kind(m);
        char granted[WIRE_NAME_MAX + 1];
        const char *why = NULL;
        PolicyVerdict v;

        if (kind == DRIVER_HELLO)
                return answer_hello(c, m);
        if (pm->arg0 && (kind == DRIVER_REQUEST_NAME || kind == DRIVER_RELEASE_NAME) && startswith(pm->arg0, MARKER_PREFIX) &&
            !peer_is_host(c->peer))
                return deny_because(c, m, pm, "names that say who somebody is are not a guest's");
        if (kind == DRIVER_REQUEST_NAME && streq(m->signature, "su") && granted_name(c, granted)) {
                Fate fate;

                if (c->instance->request_name) {
                        record(c, m, pm, (PolicyVerdict) { .allow = true }, "the name comes from the options");
                        fate = forward_call(c, m, KIND_PLAIN, NULL);
                        return fate == FATE_PASS && !c->dead ? send_request_name(c, m, granted) : fate;
                }
                if (pm->arg0 && streq(pm->arg0, granted)) {
                        record(c, m, pm, (PolicyVerdict) { .allow = true }, "it is the name of the VM's own agent");
                        return forward_call(c, m, KIND_PLAIN, NULL);
                }
        }
        if (exempt(c))
                return forward_call(c, m, c->instance->owner_name && streq(m->member, "GetNameOwner") ? KIND_OWNER_NAME : KIND_PLAIN,
                                    c->instance->owner_name && streq(m->member, "GetNameOwner") ? pm->arg0 : NULL);
        v = judge(c, pm, &why);
        if (!v.allow)
                return deny(c, m, pm, v, why);
        switch (kind) {
        case _DRIVER_INVALID:
                return deny_because(c, m, pm, "no guest may call this of the bus");
        case DRIVER_REQUEST_NAME:
                return deny_because(c, m, pm, "a guest may only own the name of its VM's own agent");
        case DRIVER_ADD_MATCH:
                why = match_refused(c, pm);
                if (why)
                        return deny_because(c, m, pm, why);
                if (c->peer->n_matches >= (unsigned) c->proxy->limits.matches) {
                        record(c, m, pm, (PolicyVerdict) { 0 }, "the VM has proxy.matches match rules already");
                        connection_reply_error(c, m, DBUS_ERROR_LIMITS_EXCEEDED, "There are too many match rules");
                        return FATE_DONE;
                }
                c->peer->n_matches++;
                c->n_matches++;
                break;
        case DRIVER_ABOUT_NAME:
                if (!pm->arg0 || !name_visible(c, pm->arg0)) {
                        record(c, m, pm, (PolicyVerdict) { 0 }, "the rules let the guest call nobody of that name");
                        connection_reply_error(c, m, "org.freedesktop.DBus.Error.NameHasNoOwner",
                                               "The name is not known");
                        return FATE_DONE;
                }
                break;
        default:
                break;
        }
        record(c, m, pm, v, NULL);
        if (c->instance->owner_name && streq(m->member, "GetNameOwner"))
                return forward_call(c, m, KIND_OWNER_NAME, pm->arg0);
        return forward_call(c, m,
                            kind == DRIVER_ADD_MATCH      ? KIND_ADD_MATCH
                            : kind == DRIVER_REMOVE_MATCH ? KIND_REMOVE_MATCH
                            : kind == DRIVER_LIST_NAMES   ? KIND_LIST_NAMES
                                                          : KIND_PLAIN,
                            NULL);
}

/* --translate-anonymous-dests: a name of the one that a unique name stands for; the last wins, as of old. */
static const char *translated(const Connection *c, const char *destination)
{
        char *const *names = NULL;
        const char *last = NULL;

        if (c->instance->translate_anonymous && destination && destination[0] == ':')
                names = names_of(c->proxy->names, destination);
        for (; names && *names; names++)
                last = *names;
        return last;
}

static Fate client_call(Connection *c, WireMessage *m, PolicyMessage *pm)
{
        const char *why = NULL, *other = translated(c, m->destination);
        PolicyVerdict v;
        Fate fate;

        if (c->peer->n_pending >= (unsigned) c->proxy->limits.pending && !(m->flags & WIRE_NO_REPLY_EXPECTED)) {
                record(c, m, pm, (PolicyVerdict) { 0 }, "the VM has proxy.pending unanswered calls already");
                connection_reply_error(c, m, DBUS_ERROR_LIMITS_EXCEEDED, "There are too many unanswered calls");
                return FATE_DONE;
        }
        /* Two with one serial would share their answers, and what is done with an answer depends on what was asked. */
        if (connection_call_pending(c, m->serial)) {
                record(c, m, pm, (PolicyVerdict) { 0 }, "a call with this serial has no answer yet");
                connection_reply_error(c, m, DBUS_ERROR_INVALID_ARGS, "A call with this serial has no answer yet");
                return FATE_DONE;
        }
        if (streq_ptr(m->destination, BUS_DRIVER)) {
                fate = driver_call(c, m, pm);
                if (fate == FATE_PASS && quiet_call(m)) {
                        m->flags &= (uint8_t) ~WIRE_NO_REPLY_EXPECTED;
                        connection_send(c, &c->bus, m);
                        fate = FATE_DONE;
                }
                return fate;
        }
        v = judge_destination(c, pm, &why);
        if (!v.allow)
                return deny(c, m, pm, v, why);
        record(c, m, pm, v, why);
        fate = forward_call(c, m, KIND_PLAIN, NULL);
        if (other && fate == FATE_PASS) {
                m->destination = other;
                connection_send(c, &c->bus, m);
                fate = FATE_DONE;
        }
        return fate;
}

/* A call that the rules deny, whatever comes before it: it needs no place in the window. */
static bool denied_anyway(const Connection *c, const WireMessage *m, PolicyMessage *pm)
{
        DriverKind kind = streq_ptr(m->destination, BUS_DRIVER) ? driver_kind(m) : DRIVER_PLAIN;
        const char *why = NULL;

        /* These two are not the rules' business, or not theirs alone. */
        return kind != DRIVER_HELLO && kind != DRIVER_REQUEST_NAME && !judge_destination(c, pm, &why).allow;
}

/* Signals of a VM's own agent pass where no rule for signals denies them. */
static bool is_agent_signal(const Connection *c, const PolicyMessage *pm)
{
        char granted[WIRE_NAME_MAX + 1];
        const char *owner;

        if (!streq_ptr(pm->interface, AGENT_INTERFACE) || pm->destination || !granted_name(c, granted))
                return false;
        owner = names_owner(c->proxy->names, granted);
        return owner && streq(owner, c->unique);
}

Fate filter_from_client(Connection *c, WireMessage *m)
{
        PolicyMessage pm;
        PolicyVerdict v;
        const char *why = NULL;

        if (m->unix_fds > 0) {
                connection_end(c, "it claims to send descriptors, which were never agreed on");
                return FATE_DONE;
        }
        if (m->type > WIRE_SIGNAL)
                return FATE_DONE; /* of a later specification: to be ignored */
        if (!describe(m, POLICY_INC, &pm)) {
                connection_end(c, "a message from it is malformed: the first argument is cut off");
                return FATE_DONE;
        }
        if (!c->hello_done && !(m->type == WIRE_CALL && streq_ptr(m->destination, BUS_DRIVER) && streq(m->member, "Hello") &&
                                (!m->interface || streq(m->interface, BUS_DRIVER)))) {
                connection_end(c, "its first message is not Hello");
                return FATE_DONE;
        }
        if (m->sender && !streq(m->sender, c->unique))
                return deny_because(c, m, &pm, "the sender is not its own");
        if (c->hello_done && window_full(c, m))
                return FATE_HOLD;
        if (m->unknown_fields) { /* the bus must not take them for something that it wrote itself */
                Fate fate;

                m->unknown_fields = false;
                fate = filter_from_client(c, m);
                if (fate == FATE_PASS) {
                        connection_send(c, &c->bus, m);
                        fate = FATE_DONE;
                }
                return fate;
        }
        switch (m->type) {
        case WIRE_CALL:
                return client_call(c, m, &pm);
        case WIRE_SIGNAL:
                pm.solicited = is_agent_signal(c, &pm);
                v = judge_destination(c, &pm, &why);
                if (!v.allow)
                        return deny(c, m, &pm, v, why);
                record(c, m, &pm, v, why);
                connection_add_one_way(c);
                return FATE_PASS;
        default:
                if (!m->destination || !connection_take_host_call(c, m->reply_serial, m->destination))
                        return exempt(c) ? FATE_PASS : deny_because(c, m, &pm, "nobody asked for this reply");
                pm.solicited = true;
                v = judge(c, &pm, &why);
                if (!v.allow)
                        return deny(c, m, &pm, v, why);
                record(c, m, &pm, v, why);
                return FATE_PASS;
        }
}

Fate filter_overtaking(Connection *c, WireMessage *m)
{
        PolicyMessage pm;

        if (m->type != WIRE_CALL)
                return filter_from_client(c, m);
        if (m->unix_fds > 0 || m->sender || !describe(m, POLICY_INC, &pm) || !denied_anyway(c, m, &pm))
                return FATE_HOLD;
        return client_call(c, m, &pm);
}

/* Rules name senders by their well-known names: allowed by one of them, denied by none that says so. */
static PolicyVerdict judge_sender(const Connection *c, PolicyMessage *pm, const char **ret_why)
{
        const char *sender = pm->sender;
        char *const *names = sender && sender[0] == ':' && !exempt(c) ? names_of(c->proxy->names, sender) : NULL;
        PolicyVerdict v, allowed = { 0 };

        if (!names)
                return judge(c, pm, ret_why);
        for (; *names; names++) {
                pm->sender = *names;
                v = judge(c, pm, ret_why);
                if (v.allow)
                        allowed = v;
                for (unsigned i = 0; !v.allow && v.rule && i < v.rule->n_conditions; i++)
                        if (v.rule->conditions[i].field == POLICY_SENDER) {
                                pm->sender = sender;
                                return v;
                        }
        }
        pm->sender = sender;
        return allowed.allow ? allowed : v;
}

/* The answer to ListNames without the names that the guest may not know. */
static Fate send_visible_names(Connection *c, const WireMessage *m)
{
        _cleanup_free_ uint8_t *data = malloc((size_t) m->body_size + 8);
        WireBody body = { .data = data, .size = (size_t) m->body_size + 8, .big_endian = m->big_endian };
        WireMessage changed = *m, rest = *m;
        size_t start;

        if (!data || !streq(m->signature, "as") || m->body_size < 4) {
                connection_end(c, "the bus answered ListNames with something else");
                return FATE_DONE;
        }
        start = wire_begin_array(&body);
        rest.signature = "s";
        for (uint32_t at = 4; at < m->body_size;) {
                const char *name;

                rest.body = m->body + at;
                rest.body_size = m->body_size - at;
                if (wire_body_texts(&rest, &name, 1) != 1)
                        break;
                if (name_visible(c, name))
                        wire_put_text(&body, name);
                at += (4 + (uint32_t) strlen(name) + 1 + 3) & ~3u;
        }
        wire_end_array(&body, start);
        changed.body = body.data;
        changed.body_size = (uint32_t) body.used;
        connection_send(c, &c->client, &changed);
        return FATE_DONE;
}

static Fate bus_reply(Connection *c, const WireMessage *m, PolicyMessage *pm)
{
        PendingCall call;
        const char *why = NULL;
        PolicyVerdict v;
        Fate fate = FATE_PASS;

        if (connection_take_barrier(c, m))
                return FATE_DONE;
        if (!connection_take_call(c, m->reply_serial, &call)) {
                log_debug("Connection %llu: dropped a reply that nobody waits for", (unsigned long long) c->number);
                return FATE_DONE;
        }
        if ((call.kind == KIND_ADD_MATCH && m->type == WIRE_ERROR) || (call.kind == KIND_REMOVE_MATCH && m->type == WIRE_RETURN))
                if (c->n_matches > 0) {
                        c->n_matches--;
                        c->peer->n_matches--;
                }
        if (call.quiet) {
                free(call.asked);
                return FATE_DONE;
        }
        pm->solicited = true;
        v = judge_sender(c, pm, &why);
        record(c, m, pm, v, why);
        if (!v.allow) {
                /* The call was made; that its answer may not be known is answered, so that nobody waits in vain. */
                const WireMessage asked = { .big_endian = m->big_endian, .type = WIRE_CALL, .serial = m->reply_serial,
                                            .signature = "" };

                connection_reply_error(c, &asked, DBUS_ERROR_ACCESS_DENIED, "The rules of the host do not allow the answer");
                fate = FATE_DONE;
        } else if (m->type == WIRE_RETURN && call.kind == KIND_LIST_NAMES && !exempt(c))
                fate = send_visible_names(c, m);
        else if (m->type == WIRE_RETURN && call.kind == KIND_OWNER_NAME && call.asked) {
                uint8_t data[WIRE_NAME_MAX + 16];
                WireBody body = { .data = data, .size = sizeof data, .big_endian = m->big_endian };
                WireMessage changed = *m;

                wire_put_text(&body, call.asked);
                changed.body = body.data;
                changed.body_size = (uint32_t) body.used;
                connection_send(c, &c->client, &changed);
                fate = FATE_DONE;
        }
        free(call.asked);
        return fate;
}

/* Tells the caller on the bus that its call does not reach the guest. */
static void refuse_bus_call(Connection *c, const WireMessage *m, const char *name, const char *text)
{
        uint8_t data[256];
        WireBody body = { .data = data, .size = sizeof data, .big_endian = m->big_endian };
        WireMessage reply = { .big_endian = m->big_endian, .type = WIRE_ERROR, .flags = WIRE_NO_REPLY_EXPECTED,
                              .serial = UINT32_MAX, .reply_serial = m->serial, .error_name = name,
                              .destination = m->sender, .signature = "s" };

        if (!m->sender || (m->flags & WIRE_NO_REPLY_EXPECTED))
                return;
        wire_put_text(&body, text);
        reply.body = data;
        reply.body_size = (uint32_t) body.used;
        connection_send(c, &c->bus, &reply);
}

static Fate bus_call(Connection *c, const WireMessage *m, PolicyMessage *pm)
{
        const char *why = NULL;
        PolicyVerdict v;

        pm->solicited = true; /* a service of the host asks: there is no default deny, but rules may deny it */
        v = judge_sender(c, pm, &why);
        record(c, m, pm, v, why);
        if (!v.allow) {
                refuse_bus_call(c, m, DBUS_ERROR_ACCESS_DENIED, "The rules do not allow this call to reach the guest");
                return FATE_DONE;
        }
        if (m->flags & WIRE_NO_REPLY_EXPECTED)
                return FATE_PASS;
        if (c->n_host_calls == HOST_CALLS_MAX) { /* a guest that does not answer some is still there for others */
                HostCall oldest = c->host_calls[0];
                const WireMessage old = { .big_endian = m->big_endian, .serial = oldest.serial, .sender = oldest.sender };

                (void) connection_take_host_call(c, oldest.serial, oldest.sender);
                refuse_bus_call(c, &old, DBUS_ERROR_LIMITS_EXCEEDED, "The guest did not answer, and has too many unanswered calls");
        }
        if (!connection_add_host_call(c, m)) {
                refuse_bus_call(c, m, DBUS_ERROR_LIMITS_EXCEEDED, "There is no room for one more call that waits for the guest");
                return FATE_DONE;
        }
        return FATE_PASS;
}

static Fate bus_signal(Connection *c, const WireMessage *m, PolicyMessage *pm)
{
        const char *why = NULL;
        PolicyVerdict v;

        if (streq_ptr(m->sender, BUS_DRIVER) && streq(m->interface, BUS_DRIVER)) {
                /* About its own names; the unique one was told at Hello, the marker is not the guest's business. */
                if (streq(m->member, "NameAcquired") || streq(m->member, "NameLost"))
                        return !pm->arg0 || streq(pm->arg0, c->unique) || startswith(pm->arg0, MARKER_PREFIX) ? FATE_DONE
                                                                                                             : FATE_PASS;
                if (streq(m->member, "NameOwnerChanged") && (!pm->arg0 || !name_visible(c, pm->arg0)))
                        return FATE_DONE;
        }
        v = judge_sender(c, pm, &why);
        record(c, m, pm, v, why);
        return v.allow ? FATE_PASS : FATE_DONE;
}

Fate filter_from_bus(Connection *c, WireMessage *m)
{
        PolicyMessage pm;

        if (!c->hello_done || m->type > WIRE_SIGNAL)
                return FATE_DONE;
        if (!describe(m, POLICY_OUT, &pm)) {
                connection_end(c, "a message from the bus is malformed");
                return FATE_DONE;
        }
        if (m->unix_fds > 0 || (m->destination && m->destination[0] == ':' && !streq(m->destination, c->unique)))
                return FATE_DONE; /* descriptors never pass, and what is for others was never ours to see */
        switch (m->type) {
        case WIRE_CALL:
                return bus_call(c, m, &pm);
        case WIRE_SIGNAL:
                return bus_signal(c, m, &pm);
        default:
                return bus_reply(c, m, &pm);
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy-service.h"

#include "audit.h"
#include "json.h"
#include "listener.h"
#include "log.h"
#include "policy-json.h"
#include "ruleset.h"
#include "vminfo.h"

static Proxy *call_proxy(const Call *c)
{
        return c->userdata;
}

static int method_add_rule(Call *c)
{
        _cleanup_free_ char *why = NULL;
        const char *text;
        int r;

        r = sd_bus_message_read(c->message, "s", &text);
        if (r < 0)
                return r;
        r = ruleset_add(call_proxy(c)->rules, text, &why);
        if (r == -EBADMSG)
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "%s", why ? why : "This is no rule");
        if (r < 0)
                return r;
        log_notice("A rule was added by %s: %s", strempty(sd_bus_message_get_sender(c->message)), text);
        return 1;
}

static int method_delete_rule(Call *c)
{
        const char *text;
        int r;

        r = sd_bus_message_read(c->message, "s", &text);
        if (r < 0)
                return r;
        r = ruleset_delete(call_proxy(c)->rules, text);
        if (r == -ENOENT)
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "No rule of that text was added at run time");
        if (r < 0)
                return r;
        log_notice("A rule was deleted by %s: %s", strempty(sd_bus_message_get_sender(c->message)), text);
        return 1;
}

static int fill_list_rules(Call *c, sd_bus_message *reply)
{
        const Policy *p = ruleset_policy(call_proxy(c)->rules);
        int r = 0;

        for (size_t i = 0; r >= 0 && p && i < policy_count(p); i++)
                r = sd_bus_message_append(reply, "s", policy_rule(p, i)->text);
        return r;
}

typedef struct Validation {
        PolicyDirection direction;
        PolicyType type;
        bool has_destination;
} Validation;

static const Validation validate_call = { POLICY_INC, POLICY_CALL, true };
static const Validation validate_recv_signal = { POLICY_OUT, POLICY_SIGNAL, false };
static const Validation validate_send_signal = { POLICY_INC, POLICY_SIGNAL, false };

/* What the rules say of a running VM; domain 0 is not exempt here. */
static int method_validate(Call *c)
{
        const Validation *v = c->method->data;
        PolicyMessage m = { .direction = v->direction, .type = v->type };
        PolicyVerdict verdict = { 0 };
        const Peer *peer = NULL;
        int32_t domain;
        int r;

        r = sd_bus_message_read(c->message, "i", &domain);
        if (r >= 0 && v->has_destination)
                r = sd_bus_message_read(c->message, "s", &m.destination);
        if (r >= 0)
                r = sd_bus_message_read(c->message, "ss", &m.interface, &m.member);
        if (r < 0)
                return r;
        for (Peer *p = call_proxy(c)->peers; p; p = p->next)
                if (!p->over && p->domid == domain && p->uuid[0] && !p->stubdom)
                        peer = p;
        if (peer && peer->policy)
                verdict = policy_judge(peer->policy, &peer->client, &m);
        if (!verdict.allow)
                log_warning("(%d->0) DENY %s { sender='<none>' dest='%s' intf='%s' member='%s' } asked by %s", domain,
                            policy_subject(v->direction, v->type) + 4, m.destination ? m.destination : "<none>", m.interface,
                            m.member, strempty(sd_bus_message_get_sender(c->message)));
        return call_reply(c, "b", verdict.allow);
}

/* Is it about this running VM? By uuid, else domain id, else name. */
static bool question_means(const PolicyQuestion *q, const Peer *p)
{
        const char *name = q->client.property(q->client.userdata, "name");

        if (p->over || !p->uuid[0] || p->stubdom != q->client.stubdom)
                return false;
        if (q->client.uuid)
                return streq(p->uuid, q->client.uuid);
        return q->client.domid > 0 ? p->domid == q->client.domid
                                   : name && streq_ptr(vminfo_property(p->proxy->vminfo, p->uuid, "name"), name);
}

/*
 * Judges a question of policy-json.h. A running VM that it names is judged as it is, with its own rules and
 * properties; any other by what the question says and the rules for all.
 */
static int method_judge(Call *c)
{
        const Policy *policy = ruleset_policy(call_proxy(c)->rules);
        _cleanup_json_ json_object *question = NULL, *answer = NULL;
        const PolicyClient *client;
        PolicyQuestion q;
        const char *text;
        int r;

        r = sd_bus_message_read(c->message, "s", &text);
        if (r < 0)
                return r;
        if (json_parse(text, strlen(text), 8, &question) < 0 || policy_question_read(question, &q) < 0)
                return call_fail(c, DBUS_ERROR_INVALID_ARGS, "This is no question");
        client = &q.client;
        for (Peer *p = call_proxy(c)->peers; p; p = p->next)
                if (question_means(&q, p)) {
                        client = &p->client;
                        policy = p->policy;
                }
        if (!policy)
                return call_fail(c, DBUS_ERROR_FAILED, "No rules are in force for it: everything is denied");
        r = policy_answer(policy, client, &q.message, &answer);
        if (r < 0)
                return r;
        return call_reply(c, "s", json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static json_object *peer_status(const Peer *p)
{
        json_object *o = json_object_new_object();

        json_object_object_add(o, "domid", json_object_new_int64(p->domid));
        json_object_object_add(o, "uuid", json_object_new_string(p->uuid));
        json_object_object_add(o, "stubdom", json_object_new_boolean(p->stubdom));
        json_object_object_add(o, "connections", json_object_new_int64(p->n_connections));
        json_object_object_add(o, "in_flight", json_object_new_int64(p->in_flight));
        json_object_object_add(o, "queued_bytes", json_object_new_int64((int64_t) p->queued));
        json_object_object_add(o, "match_rules", json_object_new_int64(p->n_matches));
        json_object_object_add(o, "denied", json_object_new_int64((int64_t) p->n_denied));
        if (p->policy_why)
                json_object_object_add(o, "error", json_object_new_string(p->policy_why));
        return o;
}

static int method_status(Call *c)
{
        const Proxy *p = call_proxy(c);
        const Policy *policy = ruleset_policy(p->rules);
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *peers = json_object_new_array(), *rules = json_object_new_object();
        unsigned connections = 0;

        for (Peer *i = p->peers; i; i = i->next) {
                if (i->over)
                        continue;
                connections += i->n_connections;
                json_object_array_add(peers, peer_status(i));
        }
        json_object_object_add(rules, "file", json_object_new_string(ruleset_path(p->rules)));
        json_object_object_add(rules, "count", json_object_new_int64(policy ? (int64_t) policy_count(policy) : 0));
        json_object_object_add(rules, "error", ruleset_error(p->rules) ? json_object_new_string(ruleset_error(p->rules)) : NULL);
        json_object_object_add(o, "version", json_object_new_int64(1));
        json_object_object_add(o, "incoming", json_object_new_string(p->incoming));
        json_object_object_add(o, "channels", json_object_new_int64(listener_channels(p->listener)));
        json_object_object_add(o, "connections", json_object_new_int64(connections));
        json_object_object_add(o, "connections_ever", json_object_new_int64((int64_t) p->n_connections));
        json_object_object_add(o, "messages", json_object_new_int64((int64_t) p->n_messages));
        json_object_object_add(o, "denied", json_object_new_int64((int64_t) p->n_denied));
        json_object_object_add(o, "database", json_object_new_boolean(vminfo_loaded(p->vminfo)));
        json_object_object_add(o, "rules", rules);
        json_object_object_add(o, "clients", peers);
        return call_reply(c, "s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int method_denials(Call *c)
{
        _cleanup_free_ char *text = NULL;
        uint32_t n;
        int r;

        r = sd_bus_message_read(c->message, "u", &n);
        if (r >= 0)
                r = audit_list(call_proxy(c)->audit, n, &text);
        return r < 0 ? r : call_reply(c, "s", text);
}

static const BusInterface contract_interface = {
        .name = "com.citrix.xenclient.rpc_proxy",
        .methods = (const BusMethod[]) {
                { "add_rule", "s", "rule", "", "", method_add_rule, NULL },
                { "delete_rule", "s", "rule", "", "", method_delete_rule, NULL },
                { "list_rules", "", "", "as", "rules", NULL, NULL, .fill = fill_list_rules },
                { "validate_call", "isss", "domain destination interface member", "b", "valid", method_validate,
                  &validate_call },
                { "validate_recv_signal", "iss", "domain interface member", "b", "valid", method_validate,
                  &validate_recv_signal },
                { "validate_send_signal", "iss", "domain interface member", "b", "valid", method_validate,
                  &validate_send_signal },
                { 0 },
        },
};

static const BusInterface own_interface = {
        .name = "org.oxt.RpcProxy1",
        .methods = (const BusMethod[]) {
                { "Status", "", "", "s", "json", method_status, NULL },
                { "Judge", "s", "question", "s", "answer", method_judge, NULL },
                { "Denials", "u", "count", "s", "json", method_denials, NULL },
                { 0 },
        },
        .signals = (const BusSignal[]) {
                { "Denied", "s", "json" },
                { "Allowed", "s", "json" },
                { 0 },
        },
};

static const BusInterface *const *find(_unused_ void *userdata, const char *path, _unused_ void **ret_object)
{
        static const BusInterface *const interfaces[] = { &contract_interface, &own_interface, NULL };

        return streq(path, "/") ? interfaces : NULL;
}

/* Rules, records and counters are the host's alone. */
static int check(Call *c, _unused_ void *userdata)
{
        if (!c->caller.guest)
                return 0;
        (void) call_fail(c, DBUS_ERROR_ACCESS_DENIED, "Only the host may call this");
        return -EACCES;
}

const ServiceSpec proxy_service = {
        .find = find,
        .check = check,
};

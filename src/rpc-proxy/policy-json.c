/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-json.h"

static const struct {
        const char *name;
        size_t offset;
} message_texts[] = {
        { "destination", offsetof(PolicyMessage, destination) }, { "path", offsetof(PolicyMessage, path) },
        { "interface", offsetof(PolicyMessage, interface) },     { "member", offsetof(PolicyMessage, member) },
        { "sender", offsetof(PolicyMessage, sender) },           { "arg0", offsetof(PolicyMessage, arg0) },
        { "property", offsetof(PolicyMessage, property_name) },
};

static const char *vm_property(void *userdata, const char *name)
{
        return json_get_text(json_get_member(userdata, "vm", json_type_object), name, NULL);
}

/* 0: left out, 1: there, negative: of another type. */
static int find(json_object *o, const char *member, json_type type, json_object **ret)
{
        if (!json_object_object_get_ex(o, member, ret))
                return 0;
        return json_object_is_type(*ret, type) ? 1 : -EINVAL;
}

int policy_question_read(json_object *o, PolicyQuestion *ret)
{
        PolicyQuestion q = { .client = { .domid = -1, .property = vm_property, .userdata = o } };
        json_object *v;
        int r;

        if (!json_object_is_type(o, json_type_object))
                return -EINVAL;
        r = policy_subject_parse(json_get_text(o, "subject", "inc-method-call"), &q.message.direction, &q.message.type);
        if (r < 0 || q.message.type == POLICY_ANY)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(message_texts); i++) {
                r = find(o, message_texts[i].name, json_type_string, &v);
                if (r < 0)
                        return r;
                if (r > 0)
                        *(const char **) ((char *) &q.message + message_texts[i].offset) = json_object_get_string(v);
        }
        q.message.solicited = json_get_bool(o, "solicited", false) &&
                              policy_can_be_solicited(q.message.direction, q.message.type);
        q.client.domid = json_get_int(o, "domid", -1);
        q.client.uuid = json_get_text(o, "uuid", NULL);
        q.client.stubdom = json_get_bool(o, "stubdom", false);
        *ret = q;
        return 0;
}

json_object *policy_rule_json(const PolicyRule *r)
{
        json_object *o = r ? json_object_new_object() : NULL;

        if (!o)
                return NULL;
        json_object_object_add(o, "rule", json_object_new_string(r->text));
        json_object_object_add(o, "file", json_object_new_string(r->file));
        json_object_object_add(o, "line", json_object_new_int64(r->line));
        return o;
}

static json_object *text_or_null(const char *s)
{
        return s ? json_object_new_string(s) : NULL;
}

static int near_json(const PolicyNearMiss *n, json_object **ret)
{
        _cleanup_free_ char *text = NULL;
        json_object *o, *list;

        if (policy_near_miss_text(n, &text) < 0)
                return -ENOMEM;
        o = json_object_new_object();
        list = json_object_new_array();
        json_object_object_add(o, "rule", policy_rule_json(n->rule));
        json_object_object_add(o, "differs", json_object_new_string(text));
        json_object_object_add(o, "differences", list);
        for (unsigned i = 0; i < n->n_differences; i++) {
                const PolicyDifference *d = n->differences + i;
                json_object *e = json_object_new_object();

                json_object_object_add(e, "condition", json_object_new_string(d->condition));
                if (d->name)
                        json_object_object_add(e, "name", json_object_new_string(d->name));
                json_object_object_add(e, "wanted", json_object_new_string(d->wanted));
                json_object_object_add(e, "found", text_or_null(d->found));
                json_object_array_add(list, e);
        }
        *ret = o;
        return 0;
}

int policy_answer(const Policy *p, const PolicyClient *client, const PolicyMessage *m, json_object **ret)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        PolicyVerdict v = policy_decide(p, client, m);
        json_object *near = NULL;
        PolicyNearMiss n;

        if (!o)
                return -ENOMEM;
        json_object_object_add(o, "verdict", json_object_new_string(v.allow ? "allow" : "deny"));
        json_object_object_add(o, "rule", policy_rule_json(v.rule));
        if (!v.rule)
                json_object_object_add(o, "reason",
                                       json_object_new_string(!v.allow             ? "no rule matches"
                                                              : client->domid == 0 ? "the host is exempt from the rules"
                                                                                   : "it is solicited, and no rule denies it"));
        if (!v.allow) {
                policy_explain(p, client, m, &n);
                if (n.rule && near_json(&n, &near) < 0)
                        return -ENOMEM;
                json_object_object_add(o, "near", near);
        }
        *ret = TAKE_PTR(o);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules from anywhere: reading them must not break, the index must agree with looking at each rule, and a
 * list must be equivalent to itself. The first line of the input is a message for them.
 */
#include "policy-diff.h"
#include "policy-lint.h"

#define RULES_MAX 12 /* for the exact walks, whose work grows with what rules name */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *vm_property(_unused_ void *userdata, const char *name)
{
        return streq(name, "type") ? "svm" : streq(name, "p") ? "true" : NULL;
}

static void on_error(_unused_ void *userdata, const PolicyError *e)
{
        if (e->line == 0 || e->column == 0 || !e->message[0])
                abort();
}

static void on_finding(_unused_ void *userdata, const Finding *f)
{
        if (!f->rule || !f->message[0])
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
        PolicyClient client = { .domid = 5, .uuid = "u", .property = vm_property };
        _cleanup_policy_ Policy *p = NULL, *vm = NULL;
        _cleanup_free_ char *message = NULL;
        PolicyNearMiss near;
        PolicyDiff diff = {};
        char *fields[8] = {}, *rest;

        if (!end || size > 64 * KIB)
                return 0;
        message = strndup((const char *) data, (size_t) (end - data));
        if (!message)
                return 0;
        rest = message;
        for (size_t i = 0; i < ELEMENTSOF(fields) && rest; i++) {
                fields[i] = strsep(&rest, " ");
                if (fields[i][0] == '-')
                        fields[i] = NULL;
        }
        (void) policy_with_vm_rules(NULL, "u", &(PolicyText) { message, "f" }, 1, &(PolicyErrors) { on_error, NULL }, &vm);
        if (policy_parse((const char *) end + 1, size - (size_t) (end + 1 - data), "f", &(PolicyErrors) { on_error, NULL }, &p) < 0)
                return 0;
        for (PolicyDirection d = POLICY_INC; d <= POLICY_OUT; d++)
                for (PolicyType t = POLICY_CALL; t < _POLICY_TYPE_MAX; t++) {
                        PolicyMessage m = { .direction = d, .type = t, .destination = fields[0], .path = fields[1],
                                            .interface = fields[2], .member = fields[3], .sender = fields[4],
                                            .arg0 = fields[5], .property_name = fields[6], .solicited = fields[7] };

                        if (policy_judge(p, &client, &m).rule != policy_judge_each(p, &client, &m).rule)
                                abort();
                        policy_explain(p, &client, &m, &near);
                }
        if (policy_count(p) > RULES_MAX)
                return 0;
        if (policy_diff(p, p, false, &diff) == 0 && diff.n > 0)
                abort();
        policy_diff_done(&diff);
        (void) policy_lint(p, NULL, on_finding, NULL);
        return 0;
}

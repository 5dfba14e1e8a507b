/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pattern.h"

#include "policy-internal.h"

/* About the client, not about the message: unknown stays unknown. */
static bool about_client(PolicyField f)
{
        return f >= POLICY_DOM_UUID;
}

bool pattern_could_be_allowed(const Policy *p, const PolicyClient *client, const PolicyMessage *pattern)
{
        if (client->domid == 0)
                return true;
        for (; p; p = p->base)
                for (size_t i = p->n_rules; i > 0; i--) {
                        const PolicyRule *r = p->rules + i - 1;
                        bool some = true, all = true; /* some, all messages of the pattern match */

                        if (!rule_has_subject(r, pattern) || r->stubdom != client->stubdom)
                                continue;
                        for (unsigned j = 0; some && j < r->n_conditions; j++) {
                                PolicyTruth t = condition_holds(r->conditions + j, client, pattern, NULL);

                                if (t == POLICY_UNKNOWN && about_client(r->conditions[j].field))
                                        t = r->allow ? POLICY_FALSE : POLICY_TRUE;
                                some = t != POLICY_FALSE;
                                all = all && t == POLICY_TRUE;
                        }
                        if (r->allow ? some : some && all)
                                return r->allow;
                }
        return false;
}

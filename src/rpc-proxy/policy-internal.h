/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of the policy share, and nobody else needs. */
#include "policy.h"

typedef struct PolicyIndex PolicyIndex;

struct Policy {
        unsigned refs;
        Policy *base; /* its rules come before ours */
        size_t n_base;
        PolicyRule *rules;
        size_t n_rules, n_allocated;
        struct PolicyChunk *chunks; /* texts and conditions */
        PolicyIndex *index;
};

#define POLICY_CONDITIONS_MAX 64 /* of one rule */

typedef enum PolicyTruth { POLICY_FALSE, POLICY_TRUE, POLICY_UNKNOWN } PolicyTruth;

Policy *policy_new(Policy *base);
/* Memory that lives as long as the policy. */
void *policy_alloc(Policy *p, size_t size);
char *policy_strndup(Policy *p, const char *s, size_t n);
/* Room for one more rule at the end; NULL: out of memory. Counts once policy->n_rules is raised. */
PolicyRule *policy_add_rule(Policy *p);

/* Is it a call of Properties.Get, Set or GetAll? Unknown where interface or member is missing. */
PolicyTruth message_is_property_call(const PolicyMessage *m);
/* found (may be NULL) gets what was compared, NULL if missing; its text may be one of the buffers. */
PolicyTruth condition_holds(const PolicyCondition *c, const PolicyClient *client, const PolicyMessage *m,
                            const char **found);
bool rule_has_subject(const PolicyRule *r, const PolicyMessage *m);
bool rule_matches(const PolicyRule *r, const PolicyClient *client, const PolicyMessage *m);

/* The interface whose property is meant; NULL: not said. The empty name means "any" to many services. */
static inline const char *message_property_interface(const PolicyMessage *m)
{
        return m->arg0 && m->arg0[0] ? m->arg0 : NULL;
}

/* What is looked up of one message, filled in as indexes ask for it. */
typedef struct PolicyKey {
        uint16_t done;    /* bits by PolicyField */
        uint16_t unknown; /* a condition on this field cannot be true */
        uint16_t vague;   /* it may be unknown */
        uint16_t never;         /* no condition on this field can hold or be unknown */
        bool has_property_interface;
        uint64_t property_interface;
        uint64_t values[POLICY_BOOLEAN];
} PolicyKey;

void policy_key_init(PolicyKey *k);

/* The index of the n rules of one policy, without those of its base. */
int policy_index_new(const PolicyRule *rules, size_t n, PolicyIndex **ret);
PolicyIndex *policy_index_free(PolicyIndex *x);
/* The last of these rules that matches, or NULL. */
const PolicyRule *policy_index_judge(const PolicyIndex *x, const PolicyRule *rules, PolicyKey *k,
                                     const PolicyClient *client, const PolicyMessage *m);

#define PROPERTIES_INTERFACE "org.freedesktop.DBus.Properties"

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A match rule as guests give it to AddMatch: pure. */
#include "util.h"

#define MATCH_RULE_MAX 1024 /* bytes; the bus itself takes no more */

typedef struct MatchRule {
        const char *type, *sender, *interface, *member, *path, *path_namespace, *destination, *arg0; /* NULL: any */
        bool eavesdrop;
        char text[MATCH_RULE_MAX + 1]; /* what the pointers point into */
} MatchRule;

/* Returns 0 or -EINVAL (not a rule that the D-Bus specification knows, or a key twice). */
int match_rule_parse(const char *untrusted_rule, MatchRule *ret);

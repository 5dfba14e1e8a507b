/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The differences of two lists of rules as a short list of classes of messages. */
#include "policy-space.h"

typedef struct PolicyDiff {
        Space *space; /* for the names of variables */
        SpaceClass *classes; /* they do not overlap; a: old, b: new */
        size_t n;
} PolicyDiff;

/* Empty exactly if both decide every message alike. Borrows both policies. Returns 0 or negative errno. */
int policy_diff(const Policy *old, const Policy *new, bool solicited, PolicyDiff *ret);
void policy_diff_done(PolicyDiff *d);

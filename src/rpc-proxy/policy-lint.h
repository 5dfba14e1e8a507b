/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What looks wrong in rules that are well written: each finding is a warning about one rule. */
#include "interfaces.h"
#include "policy.h"

typedef enum LintKind {
        LINT_SHADOWED,  /* it never decides: later rules take all its messages */
        LINT_NEVER,     /* no message can match it */
        LINT_DUPLICATE, /* a later rule says exactly the same */
        LINT_WIDE,      /* it allows without saying to whom */
        LINT_INTERFACE, /* an interface that nobody is known to have */
        LINT_MEMBER,    /* a member that the interface is not known to have */
        LINT_PATH,      /* the path is no valid object path */
        _LINT_MAX,
} LintKind;

typedef struct Finding {
        LintKind kind;
        const PolicyRule *rule;
        const PolicyRule *other; /* the (first) later rule that shadows it, or NULL */
        const char *message;     /* one line; valid during the call */
} Finding;

const char *lint_kind_word(LintKind k); /* "shadowed", … */

/* known may be NULL. Findings come in the order of the rules. Returns 0 or negative errno. */
int policy_lint(const Policy *p, const Interfaces *known, void (*on_finding)(void *userdata, const Finding *f),
                void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * All messages that there can be, cut into classes that two lists of rules cannot tell apart. A class
 * is a set of values for each variable of a message and its client; `oxt policy diff` and `lint` are
 * exact because they look at every class instead of at samples.
 */
#include "policy-internal.h"

/* In the order in which classes are cut. Those from SPACE_VM on are the VM properties that rules name. */
typedef enum SpaceVariable {
        SPACE_SUBJECT,
        SPACE_STUBDOM,
        SPACE_DESTINATION,
        SPACE_INTERFACE,
        SPACE_MEMBER,
        SPACE_ARG0,
        SPACE_PROPERTY, /* second argument of Properties.Get and Set */
        SPACE_PATH,
        SPACE_SENDER,
        SPACE_UUID,
        SPACE_DOMID, /* without 0, the host, for whom there are no rules */
        SPACE_VM,
} SpaceVariable;

/* Some values of one variable. */
typedef struct SpaceSet {
        bool any;     /* all, missing included; the rest is empty then */
        bool missing; /* the missing (unknown) value is in it */
        bool others;  /* false: the values listed; true: all that are not listed */
        size_t n;
        const char **values; /* the texts belong to the policies */
} SpaceSet;

bool space_set_contains(const SpaceSet *set, const char *value); /* value NULL: missing */

typedef struct SpaceClass {
        const PolicyRule *a, *b; /* the rules that decide in either list; NULL: none */
        bool a_allows, b_allows;
        size_t n_sets;
        SpaceSet *sets; /* by variable */
} SpaceClass;

typedef struct Space Space;

/* b may be NULL. solicited: what can be solicited is judged as that. */
int space_new(const Policy *a, const Policy *b, bool solicited, Space **ret);
Space *space_free(Space *s);
DEFINE_CLEANUP(Space *, space_free)

/* "destination", "arg0", "if-boolean P" for VM properties … */
const char *space_variable_name(const Space *s, size_t variable);

/*
 * Calls on_class with each class on which a and b decide differently; none: they are equivalent. The
 * classes do not overlap. What on_class gets is valid during the call; negative ends the walk.
 */
int space_differences(Space *s, int (*on_class)(void *userdata, const SpaceClass *c), void *userdata);

/* Sets decides[i] for each rule of a that decides at least one message. decides has policy_count(a) elements. */
int space_deciders(Space *s, bool *decides);

/*
 * Sets ret[j] for each later rule of a that takes a message away which rule i would match. Returns
 * whether rule i matches any message at all.
 */
int space_shadows(Space *s, size_t i, bool *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What policy-space.c walks over: the rules that are still possible in a branch, and what they still ask. */
#include "policy-space.h"

/* A rule that is still possible, and which of its conditions are open. */
typedef struct Entry {
        const PolicyRule *rule;
        uint64_t open;
} Entry;

typedef struct List { /* the last rule, which decides first, is in front */
        Entry *entries;
        size_t n;
} List;
typedef enum Mode { MODE_DIFF, MODE_DECIDERS, MODE_SHADOWS } Mode;

/* A node that is known to have nothing to report. */
typedef struct Known {
        struct Known *next;
        uint64_t hash;
        size_t variable;
        unsigned joint;
        List a, b;
} Known;

struct Space {
        const Policy *a, *b;
        bool solicited;
        char **vm; /* names of VM properties */
        size_t n_variables;
        char **names;
        char *other; /* a text that no rule has */
        char other_domid[32];

        /* the values of the branch being walked */
        const char **values;
        SpaceSet *sets;
        PolicyMessage message;
        PolicyClient client;

        Mode mode;
        bool *marks;
        bool matched;
        int (*on_class)(void *userdata, const SpaceClass *c);
        void *userdata;

        Known *known[4096];
};

static inline void list_done(List *l)
{
        free(l->entries);
        *l = (List) {};
}

/* What holds where no rule matches. */
static inline bool default_verdict(const Space *s)
{
        return s->message.solicited;
}

/* The entries of a list by the value that they ask of a variable, so that not each value looks at all of them. */
typedef struct SieveRow {
        const char *value; /* NULL: it asks for none */
        size_t entry;
} SieveRow;

typedef struct Sieve {
        SieveRow *rows; /* sorted by value, then entry */
        size_t n, n_free; /* those that ask for none are in front */
} Sieve;

int sieve_init(const List *l, size_t variable, Sieve *ret);
void sieve_done(Sieve *s);

/* All rules of a policy from the one with index `first` on, the last in front. */
int list_init(const Policy *p, size_t first, List *ret);
/*
 * What remains of a list after the variable got its value. sieve may be NULL; else it is the list's, and
 * the value is one that rules ask for.
 */
int list_filter(const Space *s, const List *l, size_t variable, const Sieve *sieve, List *ret);
/* Adds the values of a variable that open conditions of the list ask for. */
int list_values(const Space *s, const List *l, size_t variable, const char ***values, size_t *n);
int values_add(const char ***values, size_t *n, const char *v);

bool list_has_open_joint(const List *l);
/* What open interface and property conditions can still tell apart of a variable that has its value. */
unsigned joint_state(const Space *s, size_t variable);

bool lists_same(const List *a, const List *b);
bool list_decided(const List *l);
bool list_allows(const Space *s, const List *l);
/* Both decide alike whatever comes; no proof of the contrary. */
bool lists_equivalent(const Space *s, const List *a, const List *b);

/* 1: it is known already. 0: not, or noted now (add). */
int known_node(Space *s, size_t variable, const List *a, const List *b, bool add);
void known_clear(Space *s);

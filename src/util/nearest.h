/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * "Did you mean …?": the word nearest to a mistyped one, by the number of letters that were added,
 * left out, changed, or swapped with their neighbour. '-' and '_' and the case of letters count little.
 */
#include "util.h"

typedef struct Nearest {
        const char *word;
        unsigned limit; /* of what still counts as near, for this length of word; in half letters */
        unsigned best;
} Nearest;

/* word is kept by reference. Then nearest_try() with each candidate. */
void nearest_init(Nearest *n, const char *word);
/* True if candidate is near, and nearer than all candidates before: it is the best one so far. */
bool nearest_try(Nearest *n, const char *candidate);

/* The distance in half letters (a change of case or of '-' and '_' is half a letter). */
unsigned edit_distance(const char *a, const char *b);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nearest.h"

#include <ctype.h>

#define WORD_MAX 64

static unsigned change_cost(char a, char b)
{
        if (a == b)
                return 0;
        if (tolower((unsigned char) a) == tolower((unsigned char) b) ||
            ((a == '-' || a == '_') && (b == '-' || b == '_')))
                return 1;
        return 2;
}

unsigned edit_distance(const char *a, const char *b)
{
        size_t n = strnlen(a, WORD_MAX), m = strnlen(b, WORD_MAX);
        unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];

        for (size_t j = 0; j <= m; j++)
                last[j] = 2 * (unsigned) j;
        for (size_t i = 1; i <= n; i++) {
                unsigned *t = before;

                row[0] = 2 * (unsigned) i;
                for (size_t j = 1; j <= m; j++) {
                        unsigned d = last[j - 1] + change_cost(a[i - 1], b[j - 1]);

                        d = MIN2(d, last[j] + 2);
                        d = MIN2(d, row[j - 1] + 2);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                d = MIN2(d, before[j - 2] + 2);
                        row[j] = d;
                }
                before = last;
                last = row;
                row = t;
        }
        return last[m];
}

void nearest_init(Nearest *n, const char *word)
{
        size_t l = strnlen(word, WORD_MAX);

        /* One letter in three may be wrong, but in a word of one or two letters none: all would be near. */
        *n = (Nearest) { .word = word, .limit = l < 3 ? 1 : 2 * (unsigned) ((l + 2) / 3), .best = UINT32_MAX };
}

bool nearest_try(Nearest *n, const char *candidate)
{
        size_t a = strnlen(n->word, WORD_MAX), b = strnlen(candidate, WORD_MAX);
        unsigned d;

        /* Each letter that one of them has more costs a whole letter. */
        if (2 * (a > b ? a - b : b - a) > n->limit)
                return false;
        d = edit_distance(n->word, candidate);
        if (d > n->limit || d >= n->best)
                return false;
        n->best = d;
        return true;
}

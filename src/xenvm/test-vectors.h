/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Files of test data: blocks of a line "= NAME", the input, a line "->" and the lines that are expected of it. */
#include <assert.h>

#include "fs.h"

/* Calls check for each block, with texts that it may change. Returns how many there are. */
static inline unsigned vectors_check(const char *path, void (*check)(const char *name, char *input, char *expectations))
{
        _cleanup_free_ char *text = NULL;
        unsigned n = 0;
        char *block, *next;

        assert(read_file(path, MIB, &text, NULL) == 0);
        for (block = strstr(text, "\n= "); block; block = next) {
                char *name = block + 3, *input = strchr(name, '\n'), *expectations;

                next = strstr(name, "\n\n= ");
                if (next)
                        *next++ = '\0';
                *input++ = '\0';
                expectations = strstr(input, "->\n");
                assert(expectations);
                *expectations = '\0';
                check(name, input, expectations + 3);
                n++;
        }
        return n;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* For the programs that print parts of man pages when oxt is built. */
#include "util.h"

/* scdoc's own signs are taken as they are behind a backslash. */
static inline void scd_print_plain(const char *s)
{
        for (; *s; s++) {
                if (strchr("_*\\<>[]`.#~", *s))
                        putchar('\\');
                putchar(*s);
        }
}

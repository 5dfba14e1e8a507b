/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Between the xenvm config file and xl.cfg of Xen 4.17. What one side cannot say is kept as a comment
 * (`# xenvm: key = value`, `# xl: key = value`), which the way back takes up again: nothing is lost
 * silently, and xenvm to xl to xenvm keeps every setting. Each such comment comes with a warning.
 */
#include "strbuf.h"

typedef struct Conversion {
        char *text;      /* the output */
        char **warnings;
        char *error;     /* why it failed */
} Conversion;

void conversion_done(Conversion *c);
#define _cleanup_conversion_ _cleanup_(conversion_done)

/*
 * Each returns 0, -EBADMSG (the input cannot be read; error names the line), -EINVAL (a setting cannot
 * be expressed) or -ENOMEM.
 */
int convert_xenvm_to_xl(const char *text, size_t size, Conversion *ret);
int convert_xl_to_xenvm(const char *text, size_t size, Conversion *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as a file of xl: what can be converted can be converted back. */
#include <assert.h>

#include "xl-convert-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_conversion_ Conversion xenvm = { 0 }, xl = { 0 }, again = { 0 }, other = { 0 };
        int r;

        if (size > 16384)
                return 0;
        (void) convert_xenvm_to_xl((const char *) data, size, &other);
        if (convert_xl_to_xenvm((const char *) data, size, &xenvm) < 0)
                return 0;
        r = convert_xenvm_to_xl(xenvm.text, strlen(xenvm.text), &xl);
        /* A name that xl demands may be missing, and some values only one side can hold. */
        if (r == -EINVAL)
                return 0;
        assert(r == 0);
        r = convert_xl_to_xenvm(xl.text, strlen(xl.text), &again);
        assert(r == 0 || r == -EINVAL);
        return 0;
}

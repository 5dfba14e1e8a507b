/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <string.h>

#include "xen-firmware.h"

/* Two structures with texts, one without, and one that is cut short. */
static const uint8_t table[] = {
        1, 6, 0, 0, 1, 2, 'a', 'b', 0, 'c', 0, 0,
        4, 4, 1, 0, 0, 0,
        140, 5, 2, 0, 7, 'o', 'e', 'm', 0, 0,
        2, 9, 3, 0, 1,
};

static void expect(bool one, bool oem, const char *wanted, size_t size)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        bool types[256] = { [1] = one, [2] = true, [140] = oem };

        smbios_select(table, sizeof table, types, &b);
        assert(b.len == size && (size == 0 || memcmp(b.data, wanted, size) == 0));
}

int main(void)
{
        expect(false, false, "", 0); /* the one that is cut short is not taken */
        expect(true, false, "\x0c\0\0\0\x01\x06\0\0\x01\x02" "ab\0c\0\0", 16);
        expect(false, true, "\x0a\0\0\0\x8c\x05\x02\0\x07oem\0\0", 14);
        /* Wherever it is cut, nothing is read beyond it. */
        for (size_t n = 0; n <= sizeof table; n++) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                _cleanup_free_ uint8_t *copy = memcpy(malloc(n + 1), table, n);
                bool all[256];

                memset(all, 1, sizeof all);
                smbios_select(copy, n, all, &b);
                assert(!b.oom && b.len <= n + 3 * 4);
        }
        return 0;
}

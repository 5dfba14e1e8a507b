/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever the reader takes must lie inside the bytes, and what is written of it must read the same. */
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *text, const uint8_t *data, size_t size)
{
        const char *start = (const char *) data;

        if (text && (text < start || text + strlen(text) >= start + size))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        WireMessage m, again;
        static uint8_t buf[2 * WIRE_MAX];
        int r = wire_read(data, size, &m);
        size_t n;

        if (r <= 0)
                return 0;
        if ((size_t) r > size || (size_t) r > WIRE_MAX)
                abort();
        inside(m.path, data, size);
        inside(m.interface, data, size);
        inside(m.member, data, size);
        inside(m.error, data, size);
        inside(m.destination, data, size);
        inside(m.sender, data, size);
        inside(m.signature, data, size);
        n = wire_write(&m, buf, sizeof buf);
        if (n == 0 || n > WIRE_MAX)
                return 0;
        if (wire_read(buf, n, &again) != (int) n || again.type != m.type || again.serial != m.serial ||
            again.reply_serial != m.reply_serial || !streq_ptr(again.path, m.path) || !streq_ptr(again.member, m.member) ||
            !streq_ptr(again.destination, m.destination) || !streq_ptr(again.error, m.error))
                abort();
        return 0;
}

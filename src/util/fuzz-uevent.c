/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is taken for an event has its texts inside the bytes. */
#include "uevent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *text, const uint8_t *data, size_t size)
{
        if (text && (text < (const char *) data || text + strlen(text) >= (const char *) data + size))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Uevent e;

        if (uevent_parse((const char *) data, size, &e) < 0)
                return 0;
        inside(e.action, data, size);
        inside(e.devpath, data, size);
        inside(e.subsystem, data, size);
        inside(uevent_value(&e, "DISK_MEDIA_CHANGE"), data, size);
        return 0;
}

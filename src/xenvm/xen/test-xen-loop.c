/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host without Xen is told as such; libxl says much on the way there. On a Xen host it is what libxl gives. */
#include <assert.h>

#include "xen-loop.h"

static void on_domain(_unused_ void *userdata, _unused_ uint32_t domid, _unused_ int reason)
{
}

int main(void)
{
        static const XenHostEvents events = { .domain = on_domain };
        libxl_ctx *look = xenhost_look();
        sd_event *event = NULL;
        const char *why = NULL;
        XenHost *h = NULL;

        assert(sd_event_new(&event) >= 0);
        if (look)
                assert(xenhost_new(event, &events, NULL, &h, &why) == 0 && h);
        else
                assert(xenhost_new(event, &events, NULL, &h, &why) == -ENODEV && !h && why);
        (void) libxl_ctx_free(look);
        xenhost_free(h);
        sd_event_unref(event);
        return 0;
}

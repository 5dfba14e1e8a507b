/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The least that an sd-bus service can do: `read` answers with its argument. What dbd is measured against. */
#include <assert.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon.h"
#include "db-client.h"

static int method_read(sd_bus_message *m, _unused_ void *userdata, _unused_ sd_bus_error *error)
{
        const char *s;

        assert(sd_bus_message_read(m, "s", &s) >= 0);
        return sd_bus_reply_method_return(m, "s", s);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0), SD_BUS_METHOD("read", "s", "s", method_read, SD_BUS_VTABLE_UNPRIVILEGED), SD_BUS_VTABLE_END
};

int main(void)
{
        sd_event *event = NULL;
        sd_bus *bus = NULL;

        assert(sd_event_default(&event) >= 0 && bus_open(NULL, &bus) >= 0 && sd_bus_attach_event(bus, event, 0) >= 0);
        assert(sd_bus_add_object_vtable(bus, NULL, "/", DB_INTERFACE, vtable, NULL) >= 0);
        assert(sd_bus_request_name(bus, "org.oxt.BenchEcho", 0) >= 0);
        return sd_event_loop(event) < 0;
}

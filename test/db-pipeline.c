/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests: sends changes and reads of a path without waiting, and prints the answers as they come. */
#include <assert.h>
#include <systemd/sd-bus.h>

#include "daemon.h"
#include "db-client.h"

static int left;

static int on_reply(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *what = userdata, *text;
        int yes;

        left--;
        if (sd_bus_message_is_method_error(m, NULL))
                printf("error\n");
        else if (streq(what, "read") && sd_bus_message_read(m, "s", &text) >= 0)
                printf("read:%s\n", text);
        else if (streq(what, "exists") && sd_bus_message_read(m, "b", &yes) >= 0)
                printf("exists:%s\n", yes ? "true" : "false");
        else
                printf("%s\n", what);
        return 0;
}

int main(_unused_ int argc, char *argv[])
{
        static const struct {
                const char *member, *value;
        } calls[] = { { "write", "new1" }, { "read", NULL }, { "write", "new2" }, { "read", NULL }, { "exists", NULL },
                      { "rm", NULL },      { "exists", NULL } };
        sd_bus *bus = NULL;

        assert(bus_open(NULL, &bus) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(calls); i++, left++)
                assert(sd_bus_call_method_async(bus, NULL, DB_SERVICE, "/", DB_INTERFACE, calls[i].member, on_reply,
                                                (void *) calls[i].member, calls[i].value ? "ss" : "s", argv[1], calls[i].value) >= 0);
        while (left > 0) {
                int r = sd_bus_process(bus, NULL);

                assert(r >= 0);
                if (r == 0)
                        (void) sd_bus_wait(bus, UINT64_MAX);
        }
        sd_bus_flush_close_unref(bus);
        return 0;
}

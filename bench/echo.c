/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The peer of bench/xenmgr: a service on plain sd-bus that answers each call of org.oxt.Echo with as
 * many properties, of about the same size, as xenmgr's GetAll of a VM has, made anew for each answer.
 */
#include <stdio.h>
#include <systemd/sd-bus.h>

#define PROPERTIES 145

static int echo(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
        sd_bus_message *reply = NULL;
        int r;

        (void) userdata;
        (void) error;
        if (!sd_bus_message_is_method_call(call, "org.oxt.Echo", "Echo"))
                return 0;
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        for (int i = 0; r >= 0 && i < PROPERTIES; i++) {
                char name[32];

                snprintf(name, sizeof name, "property-name-%d", i);
                r = i % 2 ? sd_bus_message_append(reply, "{sv}", name, "s", "a value")
                          : sd_bus_message_append(reply, "{sv}", name, "b", 1);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 1;
}

int main(int argc, char *argv[])
{
        sd_bus *bus = NULL;
        int r;

        if (argc != 2)
                return 2;
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, argv[1]);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, 1);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_add_filter(bus, NULL, echo, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, "org.oxt.Echo", 0);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        return 1;
}

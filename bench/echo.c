/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The peer of bench/xenmgr: a service on plain sd-bus that answers Echo with as many properties, of about the
 * same size, as xenmgr's GetAll of a VM has, made anew for each answer; and Paths(n) with n paths of VMs.
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
        if (!sd_bus_message_is_method_call(call, "org.oxt.Echo", NULL))
                return 0;
        r = sd_bus_message_new_method_return(call, &reply);
        if (sd_bus_message_is_method_call(call, NULL, "Paths")) {
                uint32_t n = 0;

                if (r >= 0)
                        r = sd_bus_message_read(call, "u", &n);
                if (r >= 0)
                        r = sd_bus_message_open_container(reply, 'a', "o");
                for (uint32_t i = 0; r >= 0 && i < n; i++) {
                        char path[64];

                        snprintf(path, sizeof path, "/vm/%08x_0000_0000_0000_000000000000", i);
                        r = sd_bus_message_append(reply, "o", path);
                }
                goto send;
        }
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        for (int i = 0; r >= 0 && i < PROPERTIES; i++) {
                char name[32];

                snprintf(name, sizeof name, "property-name-%d", i);
                r = i % 2 ? sd_bus_message_append(reply, "{sv}", name, "s", "a value")
                          : sd_bus_message_append(reply, "{sv}", name, "b", 1);
        }
send:
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "db-client-tool.h"

#include <stdarg.h>
#include <unistd.h>

#include "daemon.h"

#define ATTEMPTS 5
#define TIMEOUT_USEC (3600 * USEC_PER_SEC)

int dbtool_connect(sd_bus **ret)
{
        int r = bus_open(NULL, ret);

        if (r >= 0)
                r = sd_bus_set_method_call_timeout(*ret, TIMEOUT_USEC);
        if (r < 0)
                fprintf(stderr, "%s: cannot connect to the bus: %s\n", program_invocation_short_name, strerror(-r));
        return r;
}

int dbtool_call(sd_bus *bus, const char *interface, const char *member, sd_bus_message **reply, const char *types, ...)
{
        int r = 0;

        for (int i = 0; i < ATTEMPTS; i++) {
                sd_bus_error error = SD_BUS_ERROR_NULL;
                bool again;
                va_list ap;

                if (i > 0)
                        (void) sleep(1);
                va_start(ap, types);
                r = sd_bus_call_methodv(bus, DB_SERVICE, "/", interface, member, &error, reply, types, ap);
                va_end(ap);
                again = r < 0 && sd_bus_error_has_name(&error, DBUS_ERROR_SERVICE_UNKNOWN) && i + 1 < ATTEMPTS;
                if (r < 0 && !again)
                        fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, strempty(error.name),
                                error.name ? ": " : "", error.message ? error.message : strerror(-r));
                sd_bus_error_free(&error);
                if (!again)
                        break;
        }
        return r;
}

int dbtool_snapshot(sd_bus *bus, const char *path, char **ret)
{
        sd_bus_message *reply = NULL;
        const char *text;
        uint64_t revision;
        int r;

        r = dbtool_call(bus, DB1_INTERFACE, "Snapshot", &reply, "s", path);
        if (r >= 0)
                r = sd_bus_message_read(reply, "ts", &revision, &text);
        if (r >= 0) {
                *ret = strdup(text);
                r = *ret ? 0 : -ENOMEM;
        }
        sd_bus_message_unref(reply);
        return r;
}

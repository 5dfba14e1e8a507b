/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "units.h"

#include <poll.h>
#include <unistd.h>

#include "log.h"
#include "strbuf.h"

#define TARGET "oxt.target"
#define SYSTEMD_SERVICE "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT "org.freedesktop.systemd1.Unit"
#define SYSTEMD_SERVICE_UNIT "org.freedesktop.systemd1.Service"
#define STOP_TIMEOUT_USEC (30 * USEC_PER_SEC)

static char *unit_name(DaemonId id)
{
        const char *name = daemon_table[id].name;

        return strformat("%s%s.service", startswith(name, "oxt-") ? "" : "oxt-", name);
}

bool units_used(const Stack *s)
{
        static const char *const folders[] = { "/etc", "/usr/local/lib", "/usr/lib", "/lib" };

        if (!s->paths.system || access("/run/systemd/system", F_OK) < 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                char path[128];

                snprintf(path, sizeof path, "%s/systemd/system/" TARGET, folders[i]);
                if (access(path, F_OK) == 0)
                        return true;
        }
        return false;
}

static int unit_job(sd_bus *bus, const char *method, const char *unit)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD_SERVICE, SYSTEMD_PATH, SYSTEMD_MANAGER, method, &error, NULL, "ss", unit, "replace");
        return r < 0 ? log_errno(r, "systemd: %s %s: %s", method, unit, strempty(error.message)) : 0;
}

int units_start(sd_bus *bus)
{
        return unit_job(bus, "StartUnit", TARGET);
}

/* Its parts stop with the target; waits until they have. */
int units_stop(sd_bus *bus)
{
        uint64_t end = now_usec() + STOP_TIMEOUT_USEC;
        int r;

        r = unit_job(bus, "StopUnit", TARGET);
        for (DaemonId id = 0; r >= 0 && id < DAEMON_SUPERVISOR; id++) {
                UnitInfo info;

                if (daemon_table[id].private_bus_only)
                        continue;
                while ((r = unit_info(bus, id, &info)) >= 0 && info.record.pid > 0) {
                        if (now_usec() >= end)
                                return log_errno(-ETIMEDOUT, "systemd does not end %s", daemon_table[id].name);
                        (void) poll(NULL, 0, 50);
                }
        }
        return r;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, char *buf, size_t size)
{
        _cleanup_free_ char *text = NULL;
        int r;

        r = sd_bus_get_property_string(bus, SYSTEMD_SERVICE, path, interface, property, NULL, &text);
        if (r >= 0)
                snprintf(buf, size, "%s", text);
        return r;
}

int unit_info(sd_bus *bus, DaemonId id, UnitInfo *ret)
{
        static const struct {
                const char *active, *state;
        } states[] = {
                { "active", "ready" },      { "reloading", "ready" },      { "activating", "starting" },
                { "inactive", "ended" },    { "deactivating", "ended" },   { "failed", "ended" },
        };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *name = unit_name(id);
        char active[32] = "", load[32] = "", result[48] = "";
        UnitInfo info = { .state = "missing" };
        uint32_t pid = 0, restarts = 0;
        uint64_t since = 0;
        const char *path;
        int r;

        if (!name)
                return -ENOMEM;
        r = sd_bus_call_method(bus, SYSTEMD_SERVICE, SYSTEMD_PATH, SYSTEMD_MANAGER, "LoadUnit", NULL, &reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0)
                r = get_text(bus, path, SYSTEMD_UNIT, "LoadState", load, sizeof load);
        if (r >= 0)
                r = get_text(bus, path, SYSTEMD_UNIT, "ActiveState", active, sizeof active);
        if (r < 0)
                return r;
        if (!streq(load, "not-found")) {
                for (size_t i = 0; i < ELEMENTSOF(states); i++)
                        if (streq(states[i].active, active))
                                snprintf(info.state, sizeof info.state, "%s", states[i].state);
                (void) sd_bus_get_property_trivial(bus, SYSTEMD_SERVICE, path, SYSTEMD_SERVICE_UNIT, "MainPID", NULL, 'u', &pid);
                (void) sd_bus_get_property_trivial(bus, SYSTEMD_SERVICE, path, SYSTEMD_SERVICE_UNIT, "NRestarts", NULL, 'u', &restarts);
                (void) sd_bus_get_property_trivial(bus, SYSTEMD_SERVICE, path, SYSTEMD_UNIT, "ActiveEnterTimestamp", NULL, 't', &since);
                if (get_text(bus, path, SYSTEMD_SERVICE_UNIT, "Result", result, sizeof result) >= 0 && !streq(result, "success"))
                        snprintf(info.last_end, sizeof info.last_end, "systemd says: %s", result);
        }
        info.record = (DaemonRecord) { .pid = (pid_t) pid, .restarts = restarts, .since = (int64_t) (since / USEC_PER_SEC) };
        *ret = info;
        return 0;
}

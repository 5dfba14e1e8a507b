/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* .xenmgr.config and .xenmgr.config.ui: the rows of host_keys. */
#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

#include "caps.h"
#include "fs.h"
#include "host-keys.h"
#include "log.h"
#include "root-dbus.h"
#include "strbuf.h"
#include "values.h"
#include "vm.h"

#define N_MAX 64

static BusProperty config_properties[N_MAX], ui_properties[N_MAX];

static bool file_exists(Manager *m, const char *path)
{
        _cleanup_free_ char *mapped = paths_map(manager_paths(m), path);

        return mapped && access(mapped, F_OK) == 0;
}

/* LANGUAGE='xx-yy' */
char *config_language(Manager *m)
{
        _cleanup_free_ char *path = paths_format(manager_paths(m), PATH_CONFIG, "language.conf"), *text = NULL;
        char *start, *end;

        if (!path || read_file(path, 4096, &text, NULL) < 0 || !(start = strstr(text, "LANGUAGE='")))
                return strdup("en-us");
        start += strlen("LANGUAGE='");
        end = strchr(start, '\'');
        return end ? strndup(start, (size_t) (end - start)) : strdup("en-us");
}

static int get(Call *c, const BusProperty *bp, sd_bus_message *reply)
{
        const VmKey *k = bp->data;
        Manager *m = c->object;
        _cleanup_free_ char *own = NULL;
        const char *text;

        if (streq(k->property, "supported-languages")) {
                _cleanup_strv_ char **l = NULL;
                int r = caps_list("supported-languages", "en-us", &l);

                if (r >= 0)
                        r = sd_bus_message_append_strv(reply, l);
                return r;
        }
        if (streq(k->property, "language")) {
                own = config_language(m);
                text = strempty(own);
        } else if (k->flags & HOSTKEY_CAPS)
                text = caps_text(k->path, k->fallback);
        else if (k->flags & HOSTKEY_FILE)
                text = file_exists(m, k->path) ? "true" : "false";
        else if (!k->path)
                text = k->fallback;
        else if (k->flags & HOSTKEY_MSEC) {
                own = strformat("%lld", (long long) (strtod(db_text(m, k->path, "0"), NULL) * 1000 + 0.5));
                text = strempty(own);
        } else
                text = db_text(m, k->path, k->fallback);
        return value_append(c, k, text, reply);
}

static int set_language(Call *c, const char *value)
{
        Manager *m = c->object;
        _cleanup_free_ char *path = paths_format(manager_paths(m), PATH_CONFIG, "language.conf"), *text = NULL;
        _cleanup_strv_ char **known = NULL;
        int r;

        r = caps_list("supported-languages", "en-us", &known);
        if (r < 0)
                return r;
        if (!strv_contains(known, value))
                return call_fail_code(c, ERROR_LANGUAGE, value);
        text = strformat("LANGUAGE='%s'\n", value);
        if (!path || !text)
                return -ENOMEM;
        r = mkdir_parents(paths_get(manager_paths(m), PATH_CONFIG), 0755);
        if (r >= 0)
                r = write_file_atomic(path, text, strlen(text), 0644);
        if (r < 0)
                return call_fail_code(c, ERROR_IO, strerror(-r));
        manager_emit(m, "config_changed", "");
        manager_emit(m, "language_changed", "");
        return 1;
}

/* A switch that is a file: the service that looks at it is the platform's. */
static int set_file(Call *c, const VmKey *k, bool exists)
{
        Manager *m = c->object;
        _cleanup_free_ char *path = paths_map(manager_paths(m), k->path), *dir = path ? strdup(path) : NULL;
        int fd, r;

        if (!dir)
                return -ENOMEM;
        if (!exists) {
                if (unlink(path) < 0 && errno != ENOENT)
                        return call_fail_code(c, ERROR_IO, strerror(errno));
                return 1;
        }
        *strrchr(dir, '/') = '\0';
        r = mkdir_parents(dir, 0755);
        if (r < 0)
                return call_fail_code(c, ERROR_IO, strerror(-r));
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return call_fail_code(c, ERROR_IO, strerror(errno));
        safe_close(fd);
        return 1;
}

static int set(Call *c, const BusProperty *bp, sd_bus_message *message, _unused_ const char *type)
{
        const VmKey *k = bp->data;
        Manager *m = c->object;
        _cleanup_free_ char *value = NULL, *stored = NULL;
        const char *text;
        int r;

        if (k->flags & VMKEY_HOST_ONLY && refuse_guest(c, k->property))
                return 0;
        r = value_read(message, vm_key_signature(k), &value);
        if (r < 0)
                return r;
        if (strlen(value) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_FAILED, "A value is at most %d bytes long", (int) VALUE_MAX_BYTES);
        if (streq(k->property, "language"))
                return set_language(c, value);
        text = value;
        if (k->flags & VMKEY_INVERTED)
                text = streq(value, "true") ? "false" : "true";
        if (k->flags & HOSTKEY_FILE)
                return set_file(c, k, streq(text, "true"));
        if (!k->path) {
                if (k->flags & HOSTKEY_SIGNAL)
                        manager_emit(m, "config_changed", "");
                return 1;
        }
        if (streq(k->property, "measure-fail-action") &&
            !words_contain("sleep hibernate shutdown forced-shutdown idle-shutdown reboot nothing", text))
                text = "nothing";
        if (k->flags & HOSTKEY_MSEC) {
                stored = strformat("%g", (double) strtol(text, NULL, 10) / 1000);
                text = strempty(stored);
        }
        return manager_store(m, k->path, k->flags & HOSTKEY_REMOVE && streq(text, k->fallback) ? NULL : text, c);
}

void config_changed(Manager *m, const char *path)
{
        for (size_t i = 0; i < n_host_keys; i++)
                if (host_keys[i].flags & HOSTKEY_SIGNAL && host_keys[i].path && db_paths_meet(path, host_keys[i].path)) {
                        manager_emit(m, "config_changed", "");
                        return;
                }
}

void config_properties_init(void)
{
        size_t n_config = 0, n_ui = 0;

        for (size_t i = 0; i < n_host_keys && i < N_MAX - 1; i++) {
                const VmKey *k = &host_keys[i];
                BusProperty p = { .name = k->property,
                                  .signature = k->type == VMKEY_PATHS ? "as" : vm_key_signature(k),
                                  .access = k->flags & VMKEY_READ_ONLY ? BUS_READ : BUS_READWRITE,
                                  .get = get,
                                  .set = set,
                                  .data = k };

                if (k->flags & HOSTKEY_UI)
                        ui_properties[n_ui++] = p;
                else
                        config_properties[n_config++] = p;
        }
}

const BusInterface config_interface = { .name = XENMGR_INTERFACE ".config", .properties = config_properties };
const BusInterface config_ui_interface = { .name = XENMGR_INTERFACE ".config.ui", .properties = ui_properties };

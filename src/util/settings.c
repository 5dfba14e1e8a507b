/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include <ctype.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"

#define SETTINGS_FILE_MAX (1 * MIB)

const Setting setting_table[_SETTING_MAX] = {
        [SETTING_ACCEL] = { "accel", SETTING_TEXT, "auto", 0, 0, "auto kvm tcg",
                            "How QEMU runs guests; auto: KVM where a timed probe shows that it works" },
        [SETTING_BACKEND] = { "backend", SETTING_TEXT, "auto", 0, 0, "auto xen libxl qemu",
                              "What builds VMs; auto: Xen on a Xen host, else QEMU" },
        [SETTING_BUS] = { "bus", SETTING_TEXT, "private", 0, 0, "private system",
                          "Which D-Bus the stack uses" },
        [SETTING_HELPER_BRIDGES] = { "helper.bridges", SETTING_TEXT, "", 0, 0, NULL,
                                     "Bridges on which VMs may have network devices, blank separated" },
        [SETTING_HELPER_PCI] = { "helper.pci", SETTING_TEXT, "", 0, 0, NULL,
                                 "PCI devices that VMs may have, as 0000:00:1b.0, blank separated, or any" },
        [SETTING_HELPER_USB] = { "helper.usb", SETTING_TEXT, "", 0, 0, NULL,
                                 "USB devices that VMs may have where only root can open them, as 046d:c52b, blank separated, or any" },
        [SETTING_LOG_SIZE] = { "log.size", SETTING_INT, "1048576", 4096, 1 << 30, NULL,
                               "Bytes after which a daemon's log file is turned over" },
        [SETTING_LOG_KEEP] = { "log.keep", SETTING_INT, "2", 1, 100, NULL,
                               "How many log files of a daemon are kept" },
        [SETTING_PROXY_CONNECTIONS] = { "proxy.connections", SETTING_INT, "128", 1, 4096, NULL,
                               "Connections that one guest may have open at once" },
        [SETTING_PROXY_MESSAGE_SIZE] = { "proxy.message-size", SETTING_INT, "8388608", 65536, 134217728, NULL,
                               "Bytes of the largest message of or for a guest" },
        [SETTING_PROXY_QUEUED] = { "proxy.queued", SETTING_INT, "33554432", 262144, 1073741824, NULL,
                               "Bytes that are kept for one guest in all" },
        [SETTING_PROXY_WINDOW] = { "proxy.window", SETTING_INT, "8", 1, 1024, NULL,
                               "Calls of one guest that are at the bus at once; others wait" },
        [SETTING_PROXY_PENDING] = { "proxy.pending", SETTING_INT, "256", 8, 4096, NULL,
                               "Unanswered calls of one guest" },
        [SETTING_PROXY_MATCHES] = { "proxy.matches", SETTING_INT, "512", 1, 4096, NULL,
                               "Match rules of one guest" },
        [SETTING_PROXY_PATIENCE] = { "proxy.patience", SETTING_INT, "30", 1, 3600, NULL,
                               "Seconds after which an unanswered call no longer holds up others of its guest" },
        [SETTING_PROXY_AUTH_TIMEOUT] = { "proxy.auth-timeout", SETTING_INT, "30", 1, 3600, NULL,
                               "Seconds in which a client must have authenticated and said Hello" },
        [SETTING_PROXY_DENIALS] = { "proxy.denials", SETTING_INT, "20", 1, 100000, NULL,
                               "Denials of one guest that are recorded in each second; others are counted" },
        [SETTING_DB_HISTORY_DAYS] = { "db.history-days", SETTING_INT, "30", 0, 36500, NULL,
                                      "How long the database's history is kept; 0: there is none" },
        [SETTING_DB_HISTORY_SIZE] = { "db.history-size", SETTING_INT, "16777216", 0, INT64_MAX, NULL,
                                      "Bytes of the database's history that are kept" },
        [SETTING_DB_GUEST_VALUE] = { "db.guest-value", SETTING_INT, "1048576", 0, INT64_MAX, NULL,
                                     "Bytes of one value that a guest may write into the database" },
        [SETTING_DB_GUEST_PATH] = { "db.guest-path", SETTING_INT, "1024", 1, INT64_MAX, NULL,
                                    "Bytes of a path that a guest may name in the database" },
        [SETTING_DB_GUEST_DEPTH] = { "db.guest-depth", SETTING_INT, "64", 1, 1900, NULL,
                                     "Depth of a guest's own tree in the database" },
        [SETTING_DB_GUEST_NODES] = { "db.guest-nodes", SETTING_INT, "10000", 1, INT64_MAX, NULL,
                                     "Nodes in a guest's own tree in the database" },
        [SETTING_DB_GUEST_BYTES] = { "db.guest-bytes", SETTING_INT, "16777216", 1, INT64_MAX, NULL,
                                     "Bytes of all names and values in a guest's own tree in the database" },
        [SETTING_DB_GUEST_OPERATIONS] = { "db.guest-operations", SETTING_INT, "256", 1, INT64_MAX, NULL,
                                          "Operations in one transaction of a guest" },
        [SETTING_DB_GUEST_WATCHES] = { "db.guest-watches", SETTING_INT, "64", 0, INT64_MAX, NULL,
                                       "Watches that a guest may have on the database" },
        [SETTING_DB_GUEST_WAITING] = { "db.guest-waiting", SETTING_INT, "256", 1, INT64_MAX, NULL,
                                       "Changes of a guest that may wait to be stored" },
        [SETTING_DB_GUEST_RATE] = { "db.guest-rate", SETTING_INT, "5000", 1, INT64_MAX, NULL,
                                    "Requests to the database that a guest may make each second, on average" },
        [SETTING_STORAGE_BACKING] = { "storage.backing", SETTING_TEXT, "", 0, 0, NULL,
                                      "Folders, blank separated, in which images below an image may lie, besides its own and the storage folder" },
        [SETTING_VM_MEMORY] = { "vm.memory", SETTING_INT, "0", 0, INT64_MAX / MIB, NULL,
                                "MiB that all VMs may have together; 0: what the host has" },
        [SETTING_VM_USERS] = { "vm.users", SETTING_TEXT, "1879048192-2147352575", 0, 0, NULL,
                               "Numbers of the users as which QEMU runs where root starts the stack, one for each VM; nobody else may have them" },
        [SETTING_WATCHDOG] = { "watchdog", SETTING_INT, "60", 0, 86400, NULL,
                               "Seconds after which a daemon that gives no sign of life is started again; 0: never" },
};

static struct {
        char *value; /* NULL: default */
        char *origin;
} current[_SETTING_MAX];

SettingId setting_find(const char *name)
{
        SettingId id;

        for (id = 0; id < _SETTING_MAX; id++)
                if (streq(setting_table[id].name, name))
                        break;
        return id;
}

int setting_check(SettingId id, const char *value, char **ret_why)
{
        const Setting *s = &setting_table[id];
        int64_t i;

        switch (s->type) {
        case SETTING_INT:
                if (parse_i64(value, &i) >= 0 && i >= s->min && i <= s->max)
                        return 0;
                *ret_why = strformat("%s takes a whole number from %lld to %lld, not '%s'", s->name,
                                     (long long) s->min, (long long) s->max, value);
                return -EINVAL;
        default:
                if (!s->choices || words_contain(s->choices, value))
                        return 0;
                *ret_why = strformat("%s takes one of: %s; not '%s'", s->name, s->choices, value);
                return -EINVAL;
        }
}

static int setting_take(SettingId id, const char *value, const char *origin)
{
        char *v = strdup(value), *o = strdup(origin);

        if (!v || !o) {
                free(v);
                free(o);
                return -ENOMEM;
        }
        free(current[id].value);
        free(current[id].origin);
        current[id].value = v;
        current[id].origin = o;
        return 0;
}

static int load_file(const char *path)
{
        _cleanup_free_ char *text = NULL;
        int line = 0, bad = 0, r;

        r = read_file(path, SETTINGS_FILE_MAX, &text, NULL);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return log_errno(r, "Cannot read %s", path);
        for (char *s = text, *next; s && *s; s = next) {
                _cleanup_free_ char *why = NULL;
                char *name, *eq, *value;
                SettingId id;

                line++;
                next = strchr(s, '\n');
                if (next)
                        *next++ = '\0';
                name = strstrip(s);
                if (!*name || *name == '#')
                        continue;
                eq = strchr(name, '=');
                if (!eq) {
                        log_warning("%s:%d: a line is `name = value`; left out", path, line);
                        bad++;
                        continue;
                }
                *eq = '\0';
                name = strstrip(name);
                value = strstrip(eq + 1);
                id = setting_find(name);
                if (id == _SETTING_MAX) {
                        log_warning("%s:%d: there is no setting '%s' (oxt config lists them); left out", path,
                                    line, name);
                        bad++;
                        continue;
                }
                if (setting_check(id, value, &why) < 0) {
                        log_warning("%s:%d: %s; left out", path, line, why ? why : "bad value");
                        bad++;
                        continue;
                }
                r = setting_take(id, value, path);
                if (r < 0)
                        return r;
        }
        return bad;
}

static int load_environment(void)
{
        int bad = 0;

        for (SettingId id = 0; id < _SETTING_MAX; id++) {
                _cleanup_free_ char *why = NULL;
                char variable[128];
                const char *e;

                snprintf(variable, sizeof variable, "OXT_%s", setting_table[id].name);
                for (char *p = variable; *p; p++)
                        *p = *p == '.' || *p == '-' ? '_' : (char) toupper((unsigned char) *p);
                e = getenv(variable);
                if (!e)
                        continue;
                if (setting_check(id, e, &why) < 0) {
                        log_warning("%s: %s; left out", variable, why ? why : "bad value");
                        bad++;
                } else if (setting_take(id, e, "environment") < 0)
                        return -ENOMEM;
        }
        return bad;
}

int settings_load(const Paths *p)
{
        int bad, r;

        for (SettingId id = 0; id < _SETTING_MAX; id++) {
                free(current[id].value);
                free(current[id].origin);
                current[id].value = current[id].origin = NULL;
        }
        bad = load_file("/etc/oxt/oxt.conf");
        if (bad < 0)
                return bad;
        if (p) {
                _cleanup_free_ char *own = paths_format(p, PATH_STATE, "oxt.conf");

                if (!own)
                        return -ENOMEM;
                r = load_file(own);
                if (r < 0)
                        return r;
                bad += r;
        }
        r = load_environment();
        return r < 0 ? r : bad + r;
}

const char *setting_text(SettingId id)
{
        return current[id].value ? current[id].value : setting_table[id].value;
}

int64_t setting_int(SettingId id)
{
        int64_t v = 0;

        (void) parse_i64(setting_text(id), &v);
        return v;
}

const char *setting_origin(SettingId id)
{
        return current[id].origin ? current[id].origin : "default";
}

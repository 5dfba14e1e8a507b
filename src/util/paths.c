/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "paths.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs.h"
#include "strbuf.h"
#include "version.h"

/*
 * system: the path of the system stack, NULL where it is made like every other's.
 * base: which directory the others put it below. sub: what comes behind that.
 */
static const struct {
        const char *system;
        PathId base;
        const char *sub;
        bool socket;
} path_table[_PATH_MAX] = {
        [PATH_STATE] = { NULL, PATH_STATE, "", false },
        [PATH_RUNTIME] = { NULL, PATH_RUNTIME, "", false },
        [PATH_BUS_SOCKET] = { "/var/run/dbus/system_bus_socket", PATH_RUNTIME, "bus.sock", true },
        [PATH_UP_LOCK] = { NULL, PATH_RUNTIME, "up.lock", false },
        [PATH_UP_SOCKET] = { NULL, PATH_RUNTIME, "up.sock", true },
        [PATH_NOTIFY] = { NULL, PATH_RUNTIME, "notify.sock", true },
        [PATH_DAEMONS] = { NULL, PATH_RUNTIME, "daemon", false },
        [PATH_LOGS] = { NULL, PATH_STATE, "log", false },
        [PATH_VM_LOGS] = { NULL, PATH_STATE, "vm-log", false },
        [PATH_DB] = { NULL, PATH_STATE, "db", false },
        [PATH_CONFIG] = { "/config", PATH_STATE, "config", false },
        [PATH_STORAGE] = { "/storage", PATH_STATE, "storage", false },
        [PATH_DISKS] = { "/storage/disks", PATH_STATE, "storage/disks", false },
        [PATH_ISOS] = { "/storage/isos", PATH_STATE, "storage/isos", false },
        [PATH_VM] = { NULL, PATH_RUNTIME, "vm", false },
        [PATH_CHANNELS] = { NULL, PATH_RUNTIME, "channel", false },
        [PATH_XENVM_SOCKETS] = { "/var/run/xenvm", PATH_RUNTIME, "xenvm", false },
        [PATH_XENVM_STATE] = { "/var/lib/xenvm", PATH_STATE, "xenvm", false },
        [PATH_XENVM_DEBUG] = { "/tmp", PATH_RUNTIME, "xenvm-debug", false },
        [PATH_DOMID] = { "/var/lib/xenvm/domid", PATH_STATE, "xenvm/domid", false },
        [PATH_HELPER_SOCKET] = { NULL, PATH_RUNTIME, "helper.sock", true },
        [PATH_DBD_PIDFILE] = { "/var/run/dbd.pid", PATH_RUNTIME, "dbd.pid", false },
        [PATH_RULES] = { "/etc/rpc-proxy.rules", PATH_STATE, "rpc-proxy.rules", false },
        [PATH_TEMPLATES] = { "/usr/share/xenmgr-1.0/templates", PATH_STATE, "templates", false },
        [PATH_XUI] = { "/usr/lib/xui", PATH_STATE, "xui", false },
        [PATH_BUILDVM_LOCK] = { "/var/lock/xen-buildvm-lock", PATH_RUNTIME, "buildvm.lock", false },
};

/* <runtime>/vm/<36 bytes>/events.out is the longest path below the runtime directory that is a socket or FIFO. */
#define RUNTIME_DIR_MAX (sizeof(((struct sockaddr_un *) 0)->sun_path) - 1 - strlen("/vm/") - 36 - strlen("/serial.sock"))

static char *default_state_dir(void)
{
        const char *home = getenv("HOME"), *xdg = getenv("XDG_STATE_HOME");

        if (geteuid() == 0)
                return strdup("/var/lib/oxt");
        if (xdg && xdg[0] == '/')
                return path_join(xdg, "oxt");
        return path_join(home && home[0] == '/' ? home : "/tmp", ".local/state/oxt");
}

static char *default_runtime_dir(void)
{
        const char *xdg = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");

        if (geteuid() == 0)
                return strdup("/run/oxt");
        if (xdg && xdg[0] == '/')
                return path_join(xdg, "oxt");
        return strformat("%s/oxt-%u", tmp && tmp[0] == '/' ? tmp : "/tmp", (unsigned) geteuid());
}

static char *choose_dir(const char *option, const char *variable, char *(*fallback)(void))
{
        const char *v = option ? option : getenv(variable);

        if (!v || !*v)
                return fallback();
        if (v[0] != '/') {
                _cleanup_free_ char *cwd = getcwd(NULL, 0);

                return cwd ? path_join(cwd, v) : NULL;
        }
        return path_join(v, "");
}

static void cut_slash(char *s)
{
        size_t n = strlen(s);

        while (n > 1 && s[n - 1] == '/')
                s[--n] = '\0';
}

int paths_init(Paths *ret, const char *state_dir, const char *runtime_dir, const char *bus)
{
        _cleanup_free_ char *state = NULL, *runtime = NULL;
        Paths p = { 0 };

        state = choose_dir(state_dir, "OXT_STATE_DIR", default_state_dir);
        runtime = choose_dir(runtime_dir, "OXT_RUNTIME_DIR", default_runtime_dir);
        if (!state || !runtime)
                return -ENOMEM;
        cut_slash(state);
        cut_slash(runtime);
        if (strlen(runtime) > RUNTIME_DIR_MAX) {
                fprintf(stderr, "The runtime directory '%s' is too long: sockets below it would pass the limit of 107 "
                                "bytes. Choose one of at most %zu bytes with --runtime-dir.\n",
                        runtime, RUNTIME_DIR_MAX);
                return -ENAMETOOLONG;
        }
        if (!bus)
                bus = getenv("OXT_BUS");
        p.system = bus && streq(bus, "system") && streq(state, "/var/lib/oxt") && streq(runtime, "/run/oxt");
        for (PathId id = 0; id < _PATH_MAX; id++) {
                const char *base = path_table[id].base == PATH_STATE ? state : runtime;

                p.path[id] = p.system && path_table[id].system ? strdup(path_table[id].system)
                             : path_table[id].sub[0]           ? path_join(base, path_table[id].sub)
                                                               : strdup(base);
                if (!p.path[id]) {
                        paths_done(&p);
                        return -ENOMEM;
                }
        }
        *ret = p;
        return 0;
}

void paths_done(Paths *p)
{
        for (PathId id = 0; id < _PATH_MAX; id++)
                free(p->path[id]);
        *p = (Paths) { 0 };
}

char *paths_format(const Paths *p, PathId id, const char *fmt, ...)
{
        _cleanup_free_ char *name = NULL;
        va_list ap;

        va_start(ap, fmt);
        name = strformatv(fmt, ap);
        va_end(ap);
        return name ? path_join(p->path[id], name) : NULL;
}

char *paths_map(const Paths *p, const char *path)
{
        static const PathId mapped[] = { PATH_STORAGE, PATH_CONFIG, PATH_XUI };

        for (size_t i = 0; i < ELEMENTSOF(mapped); i++) {
                const char *rest = startswith(path, path_table[mapped[i]].system);

                if (rest && (*rest == '/' || !*rest))
                        return *rest ? path_join(p->path[mapped[i]], rest) : strdup(p->path[mapped[i]]);
        }
        return strdup(path);
}

int paths_open_disk(const Paths *p, const char *path, int flags)
{
        const char *root = paths_get(p, PATH_STORAGE), *rest = startswith(path, root);
        int fd;

        if (rest && *rest == '/')
                return open_below(root, path, flags);
        fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

const char *programs_dir(void)
{
        static char dir[4096];

        if (!dir[0]) {
                ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
                char *slash;

                if (n <= 0)
                        return strcpy(dir, OXT_BINDIR); /* no /proc */
                dir[n] = '\0';
                slash = strrchr(dir, '/');
                if (slash)
                        *slash = '\0';
        }
        return dir;
}

const char *installed_prefix(void)
{
        static char prefix[4096];

        if (!prefix[0]) {
                const char *dir = programs_dir(), *end;

                if (startswith(dir, OXT_BUILD_ROOT "/"))
                        return NULL;
                end = endswith(dir, "/libexec/oxt");
                if (!end)
                        end = strrchr(dir, '/');
                if (!end || end == dir)
                        return NULL;
                memcpy(prefix, dir, (size_t) (end - dir));
        }
        return prefix;
}

const char *data_dir(void)
{
        const char *e = getenv("OXT_DATA_DIR");
        static char dir[4200];

        if (e && e[0] == '/')
                return e;
        if (!dir[0]) {
                if (installed_prefix())
                        snprintf(dir, sizeof dir, "%s/share/oxt", installed_prefix());
                else
                        strcpy(dir, OXT_SOURCE_DATADIR);
        }
        return dir;
}

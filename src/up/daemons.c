/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemons.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "busconf.h"
#include "fs.h"
#include "json.h"
#include "log.h"
#include "logs.h"
#include "parse.h"
#include "strbuf.h"
#include "version.h"

#define RECORD_VERSION 1
#define RECORD_MAX 4096
#define BIT(id) (1U << (id))

const DaemonRow daemon_table[_DAEMON_MAX] = {
        [DAEMON_BUS] = { .name = "bus", .user = "oxt-bus", .program = SPAWN_DBUS_DAEMON, .private_bus_only = true },
        [DAEMON_HELPER] = { .name = "oxt-helper", .program = SPAWN_HELPER, .root_only = true },
        [DAEMON_DBD] = { .name = "dbd", .user = "oxt-dbd", .program = SPAWN_DBD, .needs = BIT(DAEMON_BUS) },
        [DAEMON_PROXY] = { .name = "rpc-proxy", .user = "oxt-proxy", .program = SPAWN_RPC_PROXY, .args = { "-s", "-i", "guest:" },
                           .needs = BIT(DAEMON_BUS) },
        [DAEMON_XENMGR] = { .name = "xenmgr", .user = "oxt-mgr", .program = SPAWN_XENMGR,
                            .needs = BIT(DAEMON_BUS) | BIT(DAEMON_DBD) },
        [DAEMON_SUPERVISOR] = { .name = "supervisor" },
};

bool daemon_wanted(const Stack *s, DaemonId id)
{
        const DaemonRow *row = &daemon_table[id];

        return id != DAEMON_SUPERVISOR && (!row->private_bus_only || s->private_bus) && (!row->root_only || s->root);
}

static char *record_path(const Paths *p, DaemonId id)
{
        return paths_format(p, PATH_DAEMONS, "%s.json", daemon_table[id].name);
}

int daemon_record_write(const Paths *p, DaemonId id, const DaemonRecord *r)
{
        _cleanup_free_ char *path = record_path(p, id), *text = NULL;

        text = strformat("{\"version\":%d,\"program\":\"%s\",\"pid\":%d,\"start\":%llu,\"since\":%lld,\"restarts\":%lld,"
                         "\"ready\":%s}\n",
                         RECORD_VERSION, OXT_VERSION, (int) r->pid, (unsigned long long) r->start, (long long) r->since,
                         (long long) r->restarts, r->ready ? "true" : "false");
        if (!path || !text)
                return -ENOMEM;
        return write_file_atomic(path, text, strlen(text), 0644);
}

int daemon_record_read(const Paths *p, DaemonId id, DaemonRecord *ret)
{
        _cleanup_free_ char *path = record_path(p, id);
        _cleanup_json_ json_object *o = NULL;
        int r = path ? json_read_file(path, RECORD_MAX, 4, &o) : -ENOMEM;

        if (r < 0)
                return r;
        if (json_get_int(o, "version", 0) != RECORD_VERSION || json_get_int(o, "pid", 0) <= 1)
                return -EBADMSG;
        *ret = (DaemonRecord) {
                .pid = (pid_t) json_get_int(o, "pid", 0),
                .start = (uint64_t) json_get_int(o, "start", 0),
                .since = json_get_int(o, "since", 0),
                .restarts = json_get_int(o, "restarts", 0),
                .ready = json_get_bool(o, "ready", false),
        };
        return 0;
}

void daemon_record_remove(const Paths *p, DaemonId id)
{
        _cleanup_free_ char *path = record_path(p, id);

        if (path)
                (void) unlink(path);
}

int daemon_record_open(const Paths *p, DaemonId id, DaemonRecord *ret)
{
        DaemonRecord record;
        int fd;

        if (daemon_record_read(p, id, &record) < 0)
                return -ESRCH;
        fd = process_open(record.pid, record.start);
        if (fd >= 0)
                *ret = record;
        return fd;
}

/* The word in the command line of a daemon that names its stack. */
static char *identifying_word(const Stack *s, DaemonId id)
{
        if (id == DAEMON_BUS)
                return strformat("--config-file=%s/" BUSCONF_NAME, paths_get(&s->paths, PATH_RUNTIME));
        return strformat("--runtime-dir=%s", paths_get(&s->paths, PATH_RUNTIME));
}

/* Anybody can start our program with these words; only root and the daemon's user make it ours. */
static bool process_is(pid_t pid, const Stack *s, const DaemonRow *row, const char *program, const char *word)
{
        const struct passwd *pw = s->root && row->user ? getpwnam(row->user) : NULL;
        char path[64];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d", (int) pid);
        if (stat(path, &st) < 0 || (st.st_uid != geteuid() && (!pw || st.st_uid != pw->pw_uid)))
                return false;
        return process_runs(pid, program, word);
}

bool process_runs(pid_t pid, const char *program, const char *word)
{
        char path[64], exe[4096];
        _cleanup_free_ char *words = NULL;
        ssize_t n;
        size_t size;

        snprintf(path, sizeof path, "/proc/%d/exe", (int) pid);
        n = readlink(path, exe, sizeof exe - 1);
        if (n < 0)
                return false;
        exe[n] = '\0';
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int) pid);
        if (!streq(exe, program) || read_file(path, 64 * KIB, &words, &size) < 0)
                return false;
        for (const char *w = words; w < words + size; w += strlen(w) + 1)
                if (streq(w, word))
                        return true;
        return false;
}

int daemon_find(const Stack *s, DaemonId id, DaemonRecord *ret)
{
        const char *program = spawn_program_path(daemon_table[id].program);
        _cleanup_free_ char *word = identifying_word(s, id);
        int fd = daemon_record_open(&s->paths, id, ret);
        struct dirent *e;
        DIR *dir;

        if (fd >= 0 || id == DAEMON_SUPERVISOR || !program || !word)
                return fd;
        dir = opendir("/proc");
        while (dir && fd < 0 && (e = readdir(dir))) {
                DaemonRecord r = { .since = (int64_t) time(NULL), .ready = true };
                int64_t pid;

                if (parse_i64(e->d_name, &pid) < 0 || !process_is((pid_t) pid, s, &daemon_table[id], program, word))
                        continue;
                r.pid = (pid_t) pid;
                if (process_start_time(r.pid, &r.start) < 0)
                        continue;
                fd = process_open(r.pid, r.start);
                if (fd >= 0)
                        *ret = r;
        }
        if (dir)
                closedir(dir);
        return fd;
}

/*
 * A directory that others could have made before us, as they can in /tmp, must be ours and closed to
 * others for writing.
 */
static int make_root_dir(const char *path, mode_t mode)
{
        struct stat st;
        int r;

        r = mkdir_parents(path, mode);
        if (r < 0)
                return log_errno(r, "Cannot make the directory %s", path);
        if (lstat(path, &st) < 0)
                return log_errno(errno, "Cannot look at %s", path);
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
                log_error("%s must be a directory of this user that nobody else can write to", path);
                return -EPERM;
        }
        return 0;
}

static int make_dir(const Paths *p, PathId id, mode_t mode, gid_t gid)
{
        const char *path = paths_get(p, id);
        int r = mkdir_parents(path, mode);

        if (r >= 0 && (chown(path, (uid_t) -1, gid) < 0 || chmod(path, mode) < 0))
                r = -errno;
        return r < 0 ? log_errno(r, "Cannot make the directory %s", path) : 0;
}

int stack_prepare(const Stack *s)
{
        gid_t gid = (gid_t) -1;
        mode_t mode = s->root ? 0755 : 0700;
        int r;

        if (s->root) {
                struct group *gr = getgrnam("oxt");

                for (DaemonId id = 0; gr && id < _DAEMON_MAX; id++)
                        if (daemon_table[id].user && !getpwnam(daemon_table[id].user))
                                gr = NULL;
                if (!gr) {
                        log_error("The users of oxt do not exist. Make them with: systemd-sysusers %s/sysusers.d/oxt.conf",
                                  data_dir());
                        return -ENOENT;
                }
                gid = gr->gr_gid;
        }
        r = make_root_dir(paths_get(&s->paths, PATH_STATE), mode);
        if (r >= 0)
                r = make_root_dir(paths_get(&s->paths, PATH_RUNTIME), mode);
        if (r >= 0)
                r = make_dir(&s->paths, PATH_DAEMONS, mode, (gid_t) -1);
        if (r >= 0)
                r = make_dir(&s->paths, PATH_LOGS, 0750, gid);
        if (r >= 0 && s->private_bus)
                r = busconf_write(s);
        return r;
}

int daemon_start(const Stack *s, DaemonId id, int64_t restarts, DaemonRecord *ret, int *ret_ready_fd)
{
        static const char *const bus_args[] = { "--nofork", "--nopidfile", "--nosyslog", "--print-address=3" };
        const DaemonRow *row = &daemon_table[id];
        DaemonRecord record = { .since = (int64_t) time(NULL), .restarts = restarts };
        SpawnOptions o = SPAWN_OPTIONS_INIT;
        _cleanup_strv_ char **args = NULL, **env = NULL;
        _cleanup_free_ char *address = stack_bus_address(s), *word = identifying_word(s, id);
        _cleanup_close_ int log_fd = -EBADF, ready_fd = -EBADF, child_fd = -EBADF;
        int fds[2], r = 0;

        if (!address || !word)
                return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(row->args) && row->args[i]; i++)
                r = strv_extend(&args, row->args[i]);
        if (r >= 0 && id == DAEMON_BUS) {
                r = strv_extend(&args, word);
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(bus_args); i++)
                        r = strv_extend(&args, bus_args[i]);
                if (r >= 0 && pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                        r = -errno;
                if (r >= 0) {
                        ready_fd = fds[0];
                        child_fd = fds[1];
                        o.fds = &child_fd;
                        o.n_fds = 1;
                }
        } else if (r >= 0) {
                r = strv_extendf(&args, "--state-dir=%s", paths_get(&s->paths, PATH_STATE));
                if (r >= 0)
                        r = strv_extend(&args, word);
                if (r >= 0)
                        r = strv_extendf(&args, "--bus=%s", s->private_bus ? "private" : "system");
        }
        if (r >= 0 && log_get_level() >= LOG_DEBUG && id != DAEMON_BUS)
                r = strv_extend(&args, "--debug");
        if (r >= 0)
                r = strv_extendf(&env, "DBUS_SYSTEM_BUS_ADDRESS=%s", address);
        if (r >= 0)
                r = strv_extendf(&env, "NOTIFY_SOCKET=%s", paths_get(&s->paths, PATH_NOTIFY));
        /* sd_event gives the signs of life by itself. */
        if (r >= 0 && id != DAEMON_BUS && setting_int(SETTING_WATCHDOG) > 0)
                r = strv_extendf(&env, "WATCHDOG_USEC=%llu", (unsigned long long) setting_int(SETTING_WATCHDOG) * USEC_PER_SEC);
        if (r < 0)
                return r;
        log_fd = daemon_log_open(&s->paths, row->name);
        if (log_fd < 0)
                return log_fd;
        o.stdout_fd = o.stderr_fd = log_fd;
        o.env_extra = env;
        o.new_session = true;
        r = spawn(row->program, args, &o, &record.pid, NULL);
        if (r < 0)
                return r;
        if (process_start_time(record.pid, &record.start) < 0)
                record.start = 0; /* has ended already; we are told */
        r = daemon_record_write(&s->paths, id, &record);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Cannot write the record of %s", row->name);
        *ret = record;
        *ret_ready_fd = TAKE_FD(ready_fd);
        return 0;
}

void bus_socket_restrict(const Stack *s)
{
        const char *path = paths_get(&s->paths, PATH_BUS_SOCKET);
        struct group *gr = s->root ? getgrnam("oxt") : NULL;

        /* dbus-daemon opens its socket to everybody; its policy refuses them too. */
        if ((gr && chown(path, (uid_t) -1, gr->gr_gid) < 0) || chmod(path, s->root ? 0660 : 0600) < 0)
                log_errno_full(LOG_WARNING, errno, "Cannot set the owner of %s", path);
}

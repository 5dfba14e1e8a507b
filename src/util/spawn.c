/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "paths.h"
#include "strbuf.h"

/* Descriptors that a child can be given, besides its first three. */
#define FDS_MAX 240

extern char **environ;

static const struct {
        const char *paths[3];
        const char *own; /* one of our programs */
} program_table[_SPAWN_MAX] = {
        [SPAWN_QEMU] = { { "/usr/bin/qemu-system-x86_64" }, NULL },
        [SPAWN_QEMU_IMG] = { { "/usr/bin/qemu-img" }, NULL },
        [SPAWN_PASST] = { { "/usr/bin/passt" }, NULL },
        [SPAWN_SWTPM] = { { "/usr/bin/swtpm" }, NULL },
        [SPAWN_SWTPM_SETUP] = { { "/usr/bin/swtpm_setup" }, NULL },
        [SPAWN_TAR] = { { "/usr/bin/tar", "/bin/tar" }, NULL },
        [SPAWN_DBUS_DAEMON] = { { "/usr/bin/dbus-daemon" }, NULL },
        [SPAWN_XENVM] = { { NULL }, "xenvm" },
        [SPAWN_DBD] = { { NULL }, "dbd" },
        [SPAWN_RPC_PROXY] = { { NULL }, "rpc-proxy" },
        [SPAWN_RPC_PROXY_WEB] = { { NULL }, "rpc-proxy-web" },
        [SPAWN_XENMGR] = { { NULL }, "xenmgr" },
        [SPAWN_HELPER] = { { NULL }, "oxt-helper" },
        [SPAWN_EXTRACT] = { { NULL }, "oxt-extract" },
        [SPAWN_HOOK] = { { NULL }, NULL },
};

static bool is_program(const char *path)
{
        struct stat st;

        return access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

const char *spawn_program_path(SpawnProgram program)
{
        static const char *const folders[] = { "bin", "libexec/oxt" };
        static char own[_SPAWN_MAX][4300];

        if (program_table[program].own) {
                snprintf(own[program], sizeof own[program], "%s/%s", programs_dir(), program_table[program].own);
                if (is_program(own[program]))
                        return own[program];
                for (size_t i = 0; installed_prefix() && i < ELEMENTSOF(folders); i++) {
                        snprintf(own[program], sizeof own[program], "%s/%s/%s", installed_prefix(), folders[i],
                                 program_table[program].own);
                        if (is_program(own[program]))
                                return own[program];
                }
                return NULL;
        }
        for (size_t i = 0; i < ELEMENTSOF(program_table[program].paths); i++) {
                const char *p = program_table[program].paths[i];

                if (p && is_program(p))
                        return p;
        }
        return NULL;
}

static bool has_variable(char *const *env, const char *variable)
{
        size_t n = strcspn(variable, "=") + 1;

        for (; env && *env; env++)
                if (strncmp(*env, variable, n) == 0)
                        return true;
        return false;
}

static int make_environment(char *const *whole, char *const *extra, char ***ret)
{
        static const char *const keep[] = { "PATH=", "HOME=", "LANG=", "TMPDIR=", "XDG_RUNTIME_DIR=", "DISPLAY=", "WAYLAND_DISPLAY=", "XAUTHORITY=", "OXT_",
                                            "DBUS_", "XENVM_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=" };
        _cleanup_strv_ char **l = NULL;
        int r;

        for (char *const *e = extra; e && *e; e++) {
                r = strv_extend(&l, *e);
                if (r < 0)
                        return r;
        }
        for (char *const *e = whole; e && *e; e++) {
                if (has_variable(extra, *e))
                        continue;
                r = strv_extend(&l, *e);
                if (r < 0)
                        return r;
        }
        for (char **e = whole ? NULL : environ; e && *e; e++)
                for (size_t i = 0; i < ELEMENTSOF(keep); i++)
                        if (startswith(*e, keep[i]) && !has_variable(extra, *e)) {
                                r = strv_extend(&l, *e);
                                if (r < 0)
                                        return r;
                        }
        *ret = TAKE_PTR(l);
        return 0;
}

static int move_fd(int fd, int target)
{
        if (fd == target) /* dup2 would leave close-on-exec on */
                return fcntl(fd, F_SETFD, 0);
        return dup2(fd, target);
}

/* What a device model may use of the host; open files are images and connections. */
#define FILES_MAX 4096
#define PROCESSES_MAX 1024

static int set_limit(__rlimit_resource_t what, rlim_t value)
{
        struct rlimit l;

        if (getrlimit(what, &l) < 0)
                return -errno;
        if (value <= l.rlim_max || geteuid() == 0)
                l.rlim_cur = l.rlim_max = value;
        else
                l.rlim_cur = l.rlim_max;
        return setrlimit(what, &l) < 0 ? -errno : 0;
}

/* Runs in the child, in front of everything that makes files or opens them. */
static int become(const SpawnUser *u)
{
        gid_t gid = (gid_t) u->uid;
        char number[24];
        int n = snprintf(number, sizeof number, "%d\n", (int) getpid());

        (void) umask(0007);
        if (write(u->pid_fd, number, (size_t) n) != n || fchdir(u->folder_fd) < 0 || set_limit(RLIMIT_NPROC, PROCESSES_MAX) < 0 ||
            (u->pinned && set_limit(RLIMIT_MEMLOCK, RLIM_INFINITY) < 0) || setgroups(u->group != (gid_t) -1, &u->group) < 0 ||
            setresgid(gid, gid, gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
                return -errno;
        return 0;
}

/* Runs in the child. Only async-signal-safe calls. Reports errno through error_fd. */
static void exec_child(const char *path, char *const argv[], char *const env[], const SpawnOptions *o, int error_fd)
{
        int std[3] = { o->stdin_fd, o->stdout_fd, o->stderr_fd };
        int base = 3 + (int) o->n_fds, out = base + 8, copies[FDS_MAX], null;
        sigset_t none;

        if (o->user || o->bare) {
                errno = 0;
                if (set_limit(RLIMIT_CORE, 0) < 0 || set_limit(RLIMIT_NOFILE, FILES_MAX) < 0 || (o->user && become(o->user) < 0) ||
                    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                        goto fail;
        }
        /* First move everything out of the way of the final numbers. */
        error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, out);
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        null = fcntl(null, F_DUPFD_CLOEXEC, out);
        if (error_fd < 0 || null < 0)
                goto fail;
        for (int i = 0; i < 3; i++) {
                if (std[i] >= 0)
                        std[i] = fcntl(std[i], F_DUPFD_CLOEXEC, out);
                else
                        std[i] = i == 2 ? fcntl(2, F_DUPFD_CLOEXEC, out) : null;
                if (std[i] < 0)
                        goto fail;
        }
        for (size_t i = 0; i < o->n_fds; i++) {
                copies[i] = fcntl(o->fds[i], F_DUPFD_CLOEXEC, out);
                if (copies[i] < 0)
                        goto fail;
        }
        for (int i = 0; i < 3; i++)
                if (move_fd(std[i], i) < 0)
                        goto fail;
        for (int i = 0; i < (int) o->n_fds; i++)
                if (move_fd(copies[i], 3 + i) < 0)
                        goto fail;
        if (move_fd(error_fd, base) < 0 || fcntl(base, F_SETFD, FD_CLOEXEC) < 0)
                goto fail;
        error_fd = base;
        (void) close_range((unsigned) base + 1, ~0U, 0);
        if (o->new_session)
                (void) setsid();
        for (int s = 1; s < _NSIG; s++)
                (void) signal(s, SIG_DFL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        execve(path, argv, env);
fail:
        {
                int e = errno;

                if (error_fd < 0 || write(error_fd, &e, sizeof e) < 0)
                        _exit(126);
                _exit(127);
        }
}

/* Made in the group: to move there later takes the kernel ten milliseconds, in which no process anywhere may fork or end. */
static pid_t fork_into(int group_fd)
{
        struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t) group_fd };

        return (pid_t) syscall(SYS_clone3, &args, sizeof args);
}

int spawn(SpawnProgram program, char *const args[], const SpawnOptions *options, pid_t *ret_pid, int *ret_pidfd)
{
        const char *path = program == SPAWN_HOOK ? options->path : spawn_program_path(program);
        _cleanup_free_ char **argv = NULL;
        _cleanup_strv_ char **env = NULL;
        _cleanup_close_ int read_fd = -EBADF, write_fd = -EBADF, pidfd = -EBADF;
        size_t n = strv_length(args);
        int pipe_fds[2], error = 0, r;
        pid_t pid;

        if (!path)
                return -ENOENT;
        if (options->n_fds > FDS_MAX)
                return -E2BIG;
        argv = calloc(n + 2, sizeof(char *));
        if (!argv)
                return -ENOMEM;
        argv[0] = (char *) path;
        memcpy(argv + 1, args, n * sizeof(char *));
        r = make_environment(options->env, options->env_extra, &env);
        if (r < 0)
                return r;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = pipe_fds[0];
        write_fd = pipe_fds[1];
        pid = options->user && options->user->group_fd >= 0 ? fork_into(options->user->group_fd) : fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                exec_child(path, argv, env, options, write_fd);
        write_fd = safe_close(write_fd);
        /* End of file means that exec closed the other end. */
        if (read(read_fd, &error, sizeof error) == sizeof error && error) {
                (void) waitpid(pid, NULL, 0);
                return -error;
        }
        if (ret_pidfd) {
                pidfd = pidfd_open(pid, 0);
                if (pidfd < 0)
                        return -errno;
                *ret_pidfd = TAKE_FD(pidfd);
        }
        if (ret_pid)
                *ret_pid = pid;
        return 0;
}

int spawn_read(SpawnProgram program, char *const args[], int *ret_pidfd)
{
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        in = fds[0];
        options.stdout_fd = out = fds[1];
        r = spawn(program, args, &options, NULL, ret_pidfd);
        return r < 0 ? r : TAKE_FD(in);
}

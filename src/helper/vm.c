/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "fs.h"
#include "launch.h"
#include "log.h"
#include "settings.h"
#include "daemon.h"
#include "strbuf.h"
#include "vfio.h"

#define ARGS_MAX 2048
#define RELEASE_TRIES 100
#define RELEASE_USEC (100 * USEC_PER_MSEC)
#define PCI_NOT_NAMED "the setting helper.pci does not name this device (nor any)"
#define SYSTEM_BUS "unix:path=/run/dbus/system_bus_socket"

static bool pci_allowed(const char *devices)
{
        const char *allowed = setting_text(SETTING_HELPER_PCI);
        _cleanup_free_ char *text = strdup(devices);
        char *state = NULL;
        bool all = text != NULL;

        for (char *w = text ? strtok_r(text, " ", &state) : NULL; w; w = strtok_r(NULL, " ", &state))
                all &= words_contain(allowed, w) || words_contain(allowed, "any");
        return all;
}

/* One that we have started, until it ends. When we end first, init reaps it, and the next helper removes its group. */
typedef struct Child {
        char uuid[37];
        int pidfd;
        sd_event_source *io;
} Child;

static int on_child_end(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        Child *c = userdata;

        (void) waitid(P_PIDFD, (id_t) c->pidfd, &(siginfo_t) { 0 }, WEXITED);
        cgroup_remove(c->uuid);
        sd_event_source_disable_unref(c->io);
        safe_close(c->pidfd);
        free(c);
        return 0;
}

static int watch(sd_event *event, const char *uuid, int pidfd)
{
        Child *c = calloc(1, sizeof *c);
        int r;

        if (!c)
                return -ENOMEM;
        snprintf(c->uuid, sizeof c->uuid, "%s", uuid);
        c->pidfd = dup(pidfd);
        r = c->pidfd < 0 ? -errno : sd_event_add_io(event, &c->io, c->pidfd, EPOLLIN, on_child_end, c);
        if (r < 0) {
                safe_close(c->pidfd);
                free(c);
        }
        return r;
}

bool helper_has_systemd(void)
{
        return access("/run/systemd/system", F_OK) == 0;
}

/* It takes milliseconds, so this waits for it. */
int helper_scope(const char *uuid, pid_t pid, unsigned weight)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *unit = strformat("oxt-vm-%s-%d.scope", uuid, (int) pid);
        int r;

        if (!unit)
                return -ENOMEM;
        r = bus_open(SYSTEM_BUS, &bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, 2 * USEC_PER_SEC);
        if (r >= 0)
                r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                                       "StartTransientUnit", NULL, NULL, "ssa(sv)a(sa(sv))", unit, "fail", 4, "PIDs", "au", 1, (uint32_t) pid,
                                       "Slice", "s", "oxt.slice", "CollectMode", "s", "inactive-or-failed", "CPUWeight", "t",
                                       weight == 0 ? UINT64_MAX : (uint64_t) weight, 0);
        return r;
}

/* Texts, each ended by a NUL. They are read once: what becomes of the file afterwards is no matter. */
static int read_args(int fd, char **ret_text, char ***ret)
{
        _cleanup_free_ char *text = malloc(HELPER_VM_ARGS_MAX + 1);
        _cleanup_free_ char **args = calloc(ARGS_MAX + 1, sizeof *args);
        struct stat st;
        size_t n = 0, k = 0;
        ssize_t size;

        if (!text || !args)
                return -ENOMEM;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -EINVAL;
        size = pread(fd, text, HELPER_VM_ARGS_MAX + 1, 0);
        if (size <= 0 || (size_t) size > HELPER_VM_ARGS_MAX || text[size - 1] != '\0')
                return -EINVAL;
        for (; k < (size_t) size; k += strlen(text + k) + 1) {
                if (n == ARGS_MAX)
                        return -E2BIG;
                args[n++] = text + k;
        }
        *ret_text = TAKE_PTR(text);
        *ret = TAKE_PTR(args);
        return 0;
}

int helper_vm_start(sd_event *event, const HelperRequest *q, uid_t caller, const int *fds, size_t n_fds, pid_t *ret_pid, int *ret_pidfd,
                    const char **ret_why)
{
        const size_t n_own = HELPER_VM_OWN_FDS + _LAUNCH_FD_MAX;
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ char **args = NULL;
        _cleanup_close_ int pidfd = -EBADF;
        bool systemd = helper_has_systemd();
        Launch l = { .uuid = q->uuid, .owner = caller, .weight = q->weight, .kvm = q->kvm, .pci = q->pci, .no_group = systemd };
        pid_t pid;
        int r;

        *ret_why = PCI_NOT_NAMED;
        if (!pci_allowed(q->pci))
                return -EPERM;
        *ret_why = "the descriptors that go with it are not those that a VM needs";
        if (n_fds < n_own)
                return -EINVAL;
        r = read_args(fds[HELPER_VM_ARGS_FD], &text, &args);
        if (r < 0)
                return r;
        l.args = args;
        memcpy(l.own, fds + HELPER_VM_OWN_FDS, sizeof l.own);
        l.fds = fds + n_own;
        l.n_fds = n_fds - n_own;
        r = launch(&l, &pid, &pidfd, ret_why);
        if (r < 0)
                return r;
        if (watch(event, q->uuid, pidfd) < 0)
                log_warning("The end of %s will not be noticed", q->uuid);
        if (systemd && helper_scope(q->uuid, pid, q->weight) < 0)
                log_warning("systemd makes no scope for %s: it stays in the group of this daemon", q->uuid);
        *ret_pid = pid;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}

/* QEMU is about to end when its device is asked back; until then the kernel would make us wait. */
typedef struct Release {
        char device[16];
        unsigned tries;
        sd_event_source *timer;
} Release;

static int on_release(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Release *l = userdata;
        const char *why = "";
        int r = vfio_release("", l->device, &why);

        if (r == -EBUSY && l->tries++ < RELEASE_TRIES && sd_event_source_set_time_relative(s, RELEASE_USEC) >= 0 &&
            sd_event_source_set_enabled(s, SD_EVENT_ONESHOT) >= 0)
                return 0;
        if (r < 0)
                log_warning("The PCI device %s stays with vfio-pci: %s", l->device, why);
        sd_event_source_disable_unref(l->timer);
        free(l);
        return 0;
}

int helper_pci_release(sd_event *event, const HelperRequest *q, const char **ret_why)
{
        Release *l = calloc(1, sizeof *l);
        int r;

        *ret_why = "out of memory";
        if (!l)
                return -ENOMEM;
        snprintf(l->device, sizeof l->device, "%.15s", q->pci);
        r = sd_event_add_time_relative(event, &l->timer, CLOCK_MONOTONIC, 0, 0, on_release, l);
        if (r < 0)
                free(l);
        return r;
}

int helper_pci_bind(const HelperRequest *q, const char **ret_why)
{
        *ret_why = PCI_NOT_NAMED;
        return pci_allowed(q->pci) ? vfio_bind("", q->pci, ret_why) : -EPERM;
}

/* The number that a pidfd stands for, from /proc: -1 once the process is reaped. */
static pid_t pid_of(int pidfd)
{
        _cleanup_free_ char *path = strformat("/proc/self/fdinfo/%d", pidfd), *text = NULL;
        const char *line;

        if (!path || read_file(path, 4096, &text, NULL) < 0)
                return -1;
        line = strstr(text, "\nPid:\t");
        return line ? (pid_t) atoi(line + strlen("\nPid:\t")) : -1;
}

int helper_vm_end(const HelperRequest *q, const int *fds, size_t n_fds, const char **ret_why)
{
        if (n_fds > 0) {
                pid_t pid = pid_of(fds[0]);

                *ret_why = "there is no such process of a VM's user";
                /* The signal goes by the descriptor: were the number another's by now, nobody would get it. */
                if (pid > 1 && (!launch_is_process(pid) || pidfd_send_signal(fds[0], SIGKILL, NULL, 0) < 0))
                        return -EPERM;
        }
        cgroup_remove(q->uuid);
        return 0;
}

int helper_console_give(const HelperRequest *q, uid_t caller, int64_t *ret, const char **ret_why)
{
        int64_t terminal = launch_is_process(q->pid) ? process_terminal(q->pid) : -1;
        _cleanup_free_ char *path = strformat("/dev/pts/%lld", (long long) terminal);
        struct stat st;

        *ret_why = "there is no such process of a VM's user with a terminal";
        if (terminal < 0 || !path)
                return -ENOENT;
        /* Only one that was a VM's, or is the caller's already. */
        if (lstat(path, &st) < 0 || !S_ISCHR(st.st_mode) || (st.st_uid != caller && !launch_is_user(st.st_uid)) ||
            lchown(path, caller, (gid_t) -1) < 0)
                return -EPERM;
        *ret = terminal;
        return 0;
}

int helper_cpu_bind(const HelperRequest *q, const char **ret_why)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        for (int i = 0; i < 64; i++)
                if (q->cpus & UINT64_C(1) << i)
                        CPU_SET(i, &set);
        *ret_why = "there is no such thread of a VM's user";
        if (!launch_is_process(q->pid))
                return -EPERM;
        *ret_why = "the host has none of the CPUs named";
        return sched_setaffinity(q->pid, sizeof set, &set) < 0 ? -errno : 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sweep.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "busconf.h"
#include "cgroup.h"
#include "daemons.h"
#include "fs.h"
#include "runtime.h"
#include "spawn.h"
#include "strbuf.h"

#define END_TIMEOUT_USEC (5 * USEC_PER_SEC)

static bool wait_end(int pidfd, uint64_t timeout_usec)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        uint64_t end = now_usec() + timeout_usec;

        for (;;) {
                uint64_t now = now_usec();

                if (poll(&p, 1, now >= end ? 0 : (int) ((end - now + 999) / 1000)) > 0)
                        return true;
                if (now >= end)
                        return false;
        }
}

int process_end(int pidfd, uint64_t timeout_usec)
{
        bool killed = false;

        if (pidfd_send_signal(pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
                return -errno;
        if (!wait_end(pidfd, timeout_usec)) {
                killed = true;
                if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                        return -errno;
                if (!wait_end(pidfd, timeout_usec))
                        return -EBUSY;
        }
        (void) waitid(P_PIDFD, (id_t) pidfd, &(siginfo_t) { 0 }, WEXITED | WNOHANG);
        return killed;
}

static void report_end(SweepReport *report, const char *what, int r)
{
        if (report->ended)
                report->ended(what, r > 0 ? "killed" : r == 0 ? "ended" : strerror(-r), report->userdata);
}

static int end_daemon(const Stack *s, DaemonId id, SweepReport *report)
{
        _cleanup_close_ int pidfd = -EBADF;
        DaemonRecord record;
        int r = 0;

        pidfd = daemon_find(s, id, &record);
        if (pidfd >= 0) {
                r = process_end(pidfd, END_TIMEOUT_USEC);
                report->n_daemons++;
                report_end(report, daemon_table[id].name, r);
        }
        if (r >= 0)
                daemon_record_remove(&s->paths, id);
        return MIN2(r, 0);
}

/*
 * The records of VMs are written by the monitors' user. Root must not end just anything that such a
 * record names: only what is not root's own, and on Xen the monitor of that VM, which root has started for that user.
 */
static bool may_end(const Stack *s, pid_t pid, const char *uuid)
{
        _cleanup_free_ char *config = paths_format(&s->paths, PATH_VM, "%s/xenvm.conf", uuid);
        const char *program = spawn_program_path(SPAWN_XENVM);
        char path[64];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d", (int) pid);
        return !s->root || (stat(path, &st) == 0 && st.st_uid != 0) ||
               (config && program && process_runs(pid, program, config));
}

static int end_process(const Stack *s, const ProcessRef *p, const char *what, const char *uuid, SweepReport *report)
{
        _cleanup_free_ char *text = strformat("%s %s", what, uuid);
        _cleanup_close_ int pidfd = -EBADF;
        int r;

        if (p->pid <= 1)
                return 0;
        pidfd = process_open(p->pid, p->start);
        if (pidfd < 0)
                return 0;
        r = may_end(s, p->pid, uuid) ? process_end(pidfd, END_TIMEOUT_USEC) : -EPERM;
        report->n_vms++;
        report_end(report, text ? text : what, r);
        return MIN2(r, 0);
}

/* The monitor first, so that it does not take the end of its VM for a crash. */
static int end_vms(const Stack *s, SweepReport *report)
{
        _cleanup_strv_ char **uuids = NULL;
        int result = 0, r;

        r = monitor_record_list(&s->paths, &uuids);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (size_t i = 0; uuids && uuids[i]; i++) {
                MonitorRecord m;

                if (monitor_record_read(&s->paths, uuids[i], &m) < 0)
                        continue;
                r = end_process(s, &m.monitor, "monitor of", uuids[i], report);
                if (r >= 0)
                        r = end_process(s, &m.vm, "VM", uuids[i], report);
                result = MIN2(result, r);
                monitor_record_done(&m);
        }
        return result;
}

static void remove_runtime_files(const Stack *s)
{
        static const PathId files[] = { PATH_UP_SOCKET, PATH_NOTIFY, PATH_HELPER_SOCKET, PATH_DBD_PIDFILE };
        static const PathId folders[] = { PATH_VM, PATH_CHANNELS, PATH_XENVM_SOCKETS, PATH_DAEMONS };
        _cleanup_free_ char *conf = paths_format(&s->paths, PATH_RUNTIME, BUSCONF_NAME);

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                (void) unlink(paths_get(&s->paths, files[i]));
        if (s->private_bus) {
                (void) unlink(paths_get(&s->paths, PATH_BUS_SOCKET));
                if (conf)
                        (void) unlink(conf);
        }
        for (size_t i = 0; i < ELEMENTSOF(folders); i++)
                (void) remove_tree(paths_get(&s->paths, folders[i]));
}

int stack_sweep(const Stack *s, SweepReport *report)
{
        int result, r;

        /* xenmgr first: it would start its monitors again. */
        result = end_daemon(s, DAEMON_XENMGR, report);
        r = end_vms(s, report);
        result = MIN2(result, r);
        for (DaemonId id = DAEMON_XENMGR; id-- > 0;) {
                r = end_daemon(s, id, report);
                result = MIN2(result, r);
        }
        if (result >= 0)
                remove_runtime_files(s);
        if (s->root)
                cgroup_sweep();
        return result;
}

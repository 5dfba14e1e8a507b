/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "launch.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "fs.h"
#include "log.h"
#include "parse.h"
#include "settings.h"
#include "spawn.h"
#include "vfio.h"

#define PIDFILE "qemu.pid"

static int user_range(uint64_t *ret_first, uint64_t *ret_n)
{
        _cleanup_free_ char *text = strdup(setting_text(SETTING_VM_USERS));
        char *dash = text ? strchr(text, '-') : NULL;
        uint64_t first, last;

        if (!dash)
                return -EINVAL;
        *dash = '\0';
        /* Below 1000 are the host's own users; the last numbers mean "none". */
        if (parse_u64(text, &first) < 0 || parse_u64(dash + 1, &last) < 0 || first < 1000 || last < first || last > UINT32_MAX - 2)
                return -EINVAL;
        *ret_first = first;
        *ret_n = last - first + 1;
        return 0;
}

int launch_check_users(void)
{
        _cleanup_free_ char *text = NULL;
        uint64_t first, n;
        char *state = NULL;

        if (user_range(&first, &n) < 0)
                return -EINVAL;
        if (read_file("/proc/self/uid_map", 64 * KIB, &text, NULL) < 0)
                return 0;
        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                unsigned long long inside, outside, count;

                if (sscanf(line, "%llu %llu %llu", &inside, &outside, &count) == 3 && first >= inside && first + n <= inside + count)
                        return 0;
        }
        return -ERANGE;
}

bool launch_is_user(uid_t uid)
{
        uint64_t first, n;

        return user_range(&first, &n) >= 0 && uid >= first && uid - first < n;
}

bool launch_is_process(pid_t pid)
{
        char path[40];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d", (int) pid);
        return pid > 1 && stat(path, &st) >= 0 && launch_is_user(st.st_uid);
}

/* The kernel counts every process of its table for this, also one that has ended and is not reaped yet. */
static bool user_taken(uid_t uid)
{
        errno = 0;
        (void) getpriority(PRIO_USER, uid);
        return errno != ESRCH;
}

/* From the uuid, so that it mostly stays the same; the next one where that runs already. */
static int pick_user(const char *uuid, uid_t *ret)
{
        uint64_t first, n, hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

        if (user_range(&first, &n) < 0)
                return -EINVAL;
        for (const char *p = uuid; *p; p++)
                hash = (hash ^ (uint8_t) *p) * UINT64_C(0x100000001b3);
        for (uint64_t i = 0; i < MIN2(n, 4096); i++) {
                uid_t uid = (uid_t) (first + (hash + i) % n);

                if (!user_taken(uid)) {
                        *ret = uid;
                        return 0;
                }
        }
        return -EUSERS;
}

/* Only what belongs to who asks, and is of the kind that a VM needs, is given away: root's word for anything else would be a hole. */
static int give(int fd, mode_t kind, uid_t owner, uid_t user, mode_t mode)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_mode & S_IFMT) != kind || st.st_uid != owner)
                return -EPERM;
        return fchown(fd, user, (gid_t) -1) < 0 || fchmod(fd, mode) < 0 ? -errno : 0;
}

static int give_devices(const char *words, uid_t uid, const char **ret_why)
{
        _cleanup_free_ char *text = strdup(words);
        char *state = NULL;
        int r = text ? 0 : -ENOMEM;

        for (char *w = text ? strtok_r(text, " ", &state) : NULL; w && r >= 0; w = strtok_r(NULL, " ", &state))
                r = vfio_give("", w, uid, ret_why);
        return r;
}

int launch(const Launch *l, pid_t *ret_pid, int *ret_pidfd, const char **ret_why)
{
        _cleanup_close_ int group_fd = -EBADF, pid_fd = -EBADF;
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        SpawnUser user = { .group = (gid_t) -1, .folder_fd = l->own[LAUNCH_FOLDER], .pinned = *l->pci != 0 };
        char *no_env[] = { NULL };
        struct stat st;
        int r;

        r = pick_user(l->uuid, &user.uid);
        *ret_why = r == -EINVAL ? "the setting vm.users is no range of user numbers, FIRST-LAST" : "there is no user for it";
        if (r < 0)
                return r;
        if (l->kvm && stat("/dev/kvm", &st) >= 0)
                user.group = st.st_gid;
        *ret_why = "its folder and FIFOs are not those of who asks";
        if (give(l->own[LAUNCH_FOLDER], S_IFDIR, l->owner, user.uid, 02770) < 0 ||
            give(l->own[LAUNCH_EVENTS_IN], S_IFIFO, l->owner, user.uid, 0660) < 0 ||
            give(l->own[LAUNCH_EVENTS_OUT], S_IFIFO, l->owner, user.uid, 0660) < 0)
                return -EPERM;
        r = give_devices(l->pci, user.uid, ret_why);
        if (r < 0)
                return r;
        if (!l->no_group) {
                group_fd = cgroup_make(l->uuid, l->weight);
                if (group_fd < 0)
                        log_debug("No control group for %s: this host has none of version 2 that could be written", l->uuid);
        }
        pid_fd = openat(l->own[LAUNCH_FOLDER], PIDFILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        *ret_why = "its folder cannot be written to";
        if (pid_fd < 0 || fchmod(pid_fd, 0640) < 0)
                return -errno;
        user.pid_fd = pid_fd;
        user.group_fd = group_fd;
        options.stdout_fd = options.stderr_fd = l->own[LAUNCH_MESSAGES];
        options.fds = l->fds;
        options.n_fds = l->n_fds;
        options.env = no_env;
        options.new_session = true;
        options.user = &user;
        options.path = l->program;
        r = spawn(l->program ? SPAWN_HOOK : SPAWN_QEMU, l->args, &options, ret_pid, ret_pidfd);
        *ret_why = r == -ENOENT   ? "QEMU is not installed"
                   : r == -EINVAL ? "the user of the VM (setting vm.users) does not exist in this user namespace"
                                  : "QEMU cannot be started";
        if (r < 0)
                cgroup_remove(l->uuid);
        return r;
}

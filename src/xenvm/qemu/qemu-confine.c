/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU as a user of its own, which each VM has: as root we start it so ourselves, else oxt-helper does, where there is one.
 * It then is not ours to signal either, and that too is asked of oxt-helper.
 */
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "fs.h"
#include "launch.h"
#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "settings.h"
#include "strbuf.h"
#include "vfio.h"

#define DAEMON_USER "oxt-mgr"

char *qemu_own_path(const Vm *vm, const char *name)
{
        return vm->confined ? strformat("%s/" FOLDER "/%s", vm->spec.dir, name) : path_join(vm->spec.dir, name);
}

Confinement qemu_confinement(const Vm *vm)
{
        const struct passwd *pw = getpwuid(geteuid());
        bool root = geteuid() == 0;
        int fd = root ? -ENOENT : unix_connect(paths_get(vm->spec.paths, PATH_HELPER_SOCKET));
        const char *why = NULL;

        safe_close(fd);
        if (streq(setting_text(SETTING_VM_USERS), "none"))
                return CONFINED_NOT;
        if (!root && fd < 0 && fd != -EAGAIN) {
                if (!pw || !streq(pw->pw_name, DAEMON_USER))
                        return CONFINED_NOT; /* the stack of an ordinary user */
                why = "oxt-helper does not answer";
        } else if (launch_check_users() == -ERANGE)
                why = "this user namespace has not all numbers of the setting vm.users";
        if (why)
                log_warning("QEMU runs as %s, not as a user of its own: %s", pw ? pw->pw_name : "we do", why);
        return why ? CONFINED_NOT : root ? CONFINED_BY_US : CONFINED_BY_HELPER;
}

int qemu_make_folder(Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, FOLDER), *aside = NULL;

        if (!path)
                return -ENOMEM;
        (void) remove_tree(path);
        if (mkdir(path, 0770) >= 0 || errno != EEXIST)
                return access(path, F_OK) < 0 ? -errno : 0;
        /* A guest that broke out can have made folders in it that only root can empty: they go when the stack is taken down. */
        aside = strformat("%s.%llu", path, (unsigned long long) now_usec());
        return !aside ? -ENOMEM : rename(path, aside) < 0 || mkdir(path, 0770) < 0 ? -errno : 0;
}

static void on_launched(void *userdata, int r, const char *why, const char *name, int fd)
{
        Vm *vm = userdata;
        int64_t pid;

        vm->host.call = NULL;
        vm->launching = false;
        if (r >= 0 && (fd < 0 || parse_i64(name, &pid) < 0 || pid <= 1))
                r = -EPROTO;
        if (r >= 0) {
                vm->process.pid = (pid_t) pid;
                vm->pidfd = fd;
        } else
                safe_close(fd);
        vm->host.launched(vm, r, why && *why ? why : strerror(-r));
}

/* The devices of the host, as the kernel names them. */
static char *pci_words(const VmConfig *c)
{
        StrBuf b = STRBUF_INIT;
        char name[16], *text;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->pci.n; i++)
                strbuf_addf(&b, "%s%s", i > 0 ? " " : "", qemu_pci_name(&c->pci.items[i], name));
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static int ask_helper(Vm *vm, char *const *args, const int own[static _LAUNCH_FD_MAX], const int *fds, size_t n_fds)
{
        _cleanup_free_ int *all = calloc(1 + _LAUNCH_FD_MAX + n_fds, sizeof *all);
        _cleanup_close_ int memory = memfd_create("arguments", MFD_CLOEXEC);
        _cleanup_free_ char *pci = pci_words(vm->spec.config);
        char weight[24];
        const char *const parameters[] = { "uuid", vm->spec.uuid, "weight", weight, "accel", vm->accel, "pci", strempty(pci), NULL };

        if (!all || !pci || memory < 0)
                return -ENOMEM;
        for (char *const *a = args; *a; a++)
                if (write(memory, *a, strlen(*a) + 1) != (ssize_t) strlen(*a) + 1)
                        return -EIO;
        snprintf(weight, sizeof weight, "%lld", (long long) vm->spec.config->cpu_weight);
        all[0] = memory;
        memcpy(all + 1, own, _LAUNCH_FD_MAX * sizeof *own);
        memcpy(all + 1 + _LAUNCH_FD_MAX, fds, n_fds * sizeof *fds);
        return helper_call_with(vm->spec.event, vm->spec.paths, "vm-start", parameters, all, 1 + _LAUNCH_FD_MAX + n_fds, on_launched, vm,
                                &vm->host.call);
}

int qemu_launch(Vm *vm, char *const *args, const int *fds, size_t n_fds, const char *program, void (*next)(Vm *vm, int r, const char *why))
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, FOLDER);
        _cleanup_close_ int folder = path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -EBADF;
        const VmConfig *c = vm->spec.config;
        _cleanup_free_ char *pci = pci_words(c);
        Launch l = { .uuid = vm->spec.uuid, .program = program, .args = args, .owner = geteuid(), .fds = fds, .n_fds = n_fds,
                     .weight = (unsigned) c->cpu_weight, .kvm = streq(vm->accel, "kvm"), .pci = strempty(pci) };
        const char *why = "";
        int r;

        if (folder < 0)
                return -errno;
        if (!pci)
                return -ENOMEM;
        l.own[LAUNCH_MESSAGES] = vm->error_fd;
        l.own[LAUNCH_FOLDER] = folder;
        journal_fds(vm->journal, &l.own[LAUNCH_EVENTS_IN], &l.own[LAUNCH_EVENTS_OUT]);
        vm->host.launched = next;
        if (vm->confined == CONFINED_BY_HELPER) {
                r = ask_helper(vm, args, l.own, fds, n_fds);
                vm->launching = r >= 0;
                return r;
        }
        r = launch(&l, &vm->process.pid, &vm->pidfd, &why);
        next(vm, r, why);
        return 0;
}

/* Where systemd makes the group, the weight is systemd's to keep. */
void qemu_check_weight(const Vm *vm)
{
        unsigned wanted = (unsigned) vm->spec.config->cpu_weight;

        if (wanted == CGROUP_WEIGHT_NONE || (vm->confined == CONFINED_BY_HELPER && access("/run/systemd/system", F_OK) == 0) ||
            (vm->confined && cgroup_weight(vm->spec.uuid) == wanted))
                return;
        log_warning("cpu-weight of %s has no effect: %s", vm->spec.uuid,
                    vm->confined ? "this host has no control groups of version 2 with the CPU controller"
                                 : "QEMU runs as its monitor's user, without a control group of its own");
}

int qemu_kill_process(Vm *vm)
{
        const char *const parameters[] = { "uuid", vm->spec.uuid, NULL };

        if (pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0) >= 0 || errno == ESRCH)
                return 0;
        return errno == EPERM ? helper_tell(vm->spec.paths, "vm-end", parameters, &vm->pidfd, 1) : -errno;
}

void qemu_unconfine(Vm *vm)
{
        const char *const parameters[] = { "uuid", vm->spec.uuid, NULL };

        if (vm->confined && geteuid() == 0)
                cgroup_remove(vm->spec.uuid);
        else if (vm->confined)
                (void) helper_tell(vm->spec.paths, "vm-end", parameters, NULL, 0);
}

/* Devices that vfio-pci did not have before; to the helper, or as root. */
void qemu_release_devices(Vm *vm)
{
        for (; vm->n_bound > 0; vm->n_bound--) {
                const char *const parameters[] = { "device", vm->bound[vm->n_bound - 1], NULL }, *why = "";
                int r = helper_tell(vm->spec.paths, "pci-release", parameters, NULL, 0);

                if (r < 0 && geteuid() == 0)
                        r = vfio_release("", parameters[1], &why);
                if (r < 0)
                        log_warning("The PCI device %s stays with vfio-pci: %s", parameters[1], *why ? why : strerror(-r));
        }
}

int qemu_bind_thread(Vm *vm, pid_t thread, uint64_t cpus)
{
        char pid[24], bits[24];
        const char *const parameters[] = { "pid", pid, "cpus", bits, NULL };
        cpu_set_t set;

        CPU_ZERO(&set);
        for (int i = 0; i < 64; i++)
                if (cpus & UINT64_C(1) << i)
                        CPU_SET(i, &set);
        if (sched_setaffinity(thread, sizeof set, &set) >= 0)
                return 0;
        if (errno != EPERM)
                return -errno;
        snprintf(pid, sizeof pid, "%d", (int) thread);
        snprintf(bits, sizeof bits, "%llu", (unsigned long long) cpus);
        return helper_tell(vm->spec.paths, "cpu-bind", parameters, NULL, 0);
}

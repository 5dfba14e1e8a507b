/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt doctor: what this host can do, and what to do about what it cannot. One function for each check. */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accel.h"
#include "backend.h"
#include "daemons.h"
#include "fs.h"
#include "json.h"
#include "launch.h"
#include "log.h"
#include "oxt.h"
#include "parse.h"
#include "settings.h"
#include "spawn.h"
#include "strbuf.h"
#include "units.h"
#include "xen-control.h"

#define HELPER_DROP_IN "/etc/systemd/system/oxt-helper.service.d/xen.conf"
#define BUS_DESCRIPTORS 4608 /* as many connections as org.oxt.limits.conf gives one user, and some more */

typedef enum Verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_BAD } Verdict;

typedef struct Finding {
        Verdict verdict;
        char *text;   /* what was found */
        char *advice; /* what to do about it; NULL: nothing */
} Finding;

typedef struct Check {
        const char *name, *title;
        void (*run)(const Stack *s, Finding *f);
} Check;

static void found(Finding *f, Verdict verdict, const char *text, const char *advice)
{
        f->verdict = verdict;
        f->text = strdup(text);
        f->advice = advice ? strdup(advice) : NULL;
}

static int64_t count_entries(const char *path)
{
        DIR *dir = opendir(path);
        struct dirent *e;
        int64_t n = 0;

        if (!dir)
                return -1;
        while ((e = readdir(dir)))
                n += e->d_name[0] != '.';
        closedir(dir);
        return n;
}

static bool file_has(const char *path, const char *word)
{
        _cleanup_free_ char *text = NULL;

        return read_file(path, 64 * KIB, &text, NULL) >= 0 && strstr(text, word);
}

static void check_kvm(const Stack *s, Finding *f)
{
        _cleanup_close_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        if (fd >= 0) {
                _cleanup_free_ char *why = NULL;
                int r = accel_find_out(&s->paths, &why);

                f->verdict = r > 0 ? VERDICT_OK : VERDICT_NOTE;
                f->text = strformat(r > 0 ? "a small guest ran well: %s" : "/dev/kvm opens, but VMs run slowly, under TCG: %s",
                                    why ? why : strerror(-r));
                if (r == 0)
                        f->advice = strdup("nested virtualisation on the host of this machine; `oxt config set accel kvm` insists on KVM");
        } else if (errno == EACCES)
                found(f, VERDICT_NOTE, "this user may not open /dev/kvm: VMs run slowly, under TCG", "add the user to the group kvm");
        else
                found(f, VERDICT_NOTE, "there is no /dev/kvm: VMs run slowly, under TCG",
                      "switch virtualisation on in the firmware, or nested virtualisation in the host of this machine");
}

static bool any_exists(const char *const paths[])
{
        for (; *paths; paths++)
                if (access(*paths, F_OK) == 0)
                        return true;
        return false;
}

/* What the back end for Xen and the guests' channel need on a Xen host, in the order in which one misses it. */
static void check_xen_host(const Stack *s, Finding *f)
{
        static const char *const store[] = { "/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", NULL };
        const char *setting = setting_text(SETTING_BACKEND), *why = "";
        _cleanup_close_ int helper = -EBADF;
        const Backend *xen;

        if (!xen_control_access(F_OK)) {
                found(f, VERDICT_BAD, "a Xen host without the hypervisor's control device", "modprobe xen-privcmd");
                return;
        }
        if (!any_exists(store)) {
                found(f, VERDICT_BAD, "a Xen host on which xenstored does not run", "start Xen's own services (xencommons, or xen-init-dom0)");
                return;
        }
        xen = backend_choose("xen", &why);
        if (!xen && s->root) {
                f->verdict = VERDICT_BAD;
                f->text = strformat("a Xen host, but not for VMs: %s", why);
                f->advice = strdup("install Xen's libraries, of the hypervisor's version, and oxt's module for Xen");
                return;
        }
        if (!s->root) {
                found(f, VERDICT_NOTE, "a Xen host; VMs of a user's own stack use QEMU", "VMs on Xen need a stack that root starts");
                return;
        }
        if (access("/dev/xen/evtchn", F_OK) < 0 || access("/dev/xen/gntdev", F_OK) < 0) {
                found(f, VERDICT_BAD, "VMs run on Xen, but their guests cannot reach the host", "modprobe xen-evtchn xen-gntdev");
                return;
        }
        if (words_contain("qemu", setting)) {
                found(f, VERDICT_NOTE, "a Xen host, but the setting backend says qemu", "oxt config set backend auto");
                return;
        }
        if (units_used(s) && access(HELPER_DROP_IN, F_OK) < 0) {
                f->verdict = VERDICT_BAD;
                f->text = strdup("a Xen host, but oxt-helper's unit does not let it start monitors");
                f->advice = strformat("install -D -m 644 %s/systemd/oxt-helper-xen.conf " HELPER_DROP_IN, data_dir());
                return;
        }
        helper = unix_connect(paths_get(&s->paths, PATH_HELPER_SOCKET));
        if (helper < 0)
                found(f, VERDICT_NOTE, "VMs run on Xen; their monitors are started by oxt-helper, which does not run now", "oxt up");
        else
                found(f, VERDICT_OK, "VMs run on Xen; control device, xenstored, module and helper are there", NULL);
}

static void check_xen(const Stack *s, Finding *f)
{
        if (file_has("/proc/xen/capabilities", "control_d"))
                check_xen_host(s, f);
        else if (file_has("/sys/hypervisor/type", "xen"))
                found(f, VERDICT_NOTE, "this runs on Xen, but not as its control domain", NULL);
        else
                found(f, VERDICT_NOTE, "no Xen", NULL);
}

/* Which back end a VM gets whose config (key backend) and monitor (--backend) do not ask for one, and why. */
static void check_backend(_unused_ const Stack *s, Finding *f)
{
        const char *setting = setting_text(SETTING_BACKEND), *why = NULL, *no_xen = NULL;
        const Backend *b = backend_choose(setting, &why);

        if (!b) {
                f->verdict = VERDICT_BAD;
                f->text = strformat("no VM can be started: the setting backend is %s, but %s", setting, strempty(why));
                f->advice = strdup("`oxt config set backend auto` takes what the host has");
                return;
        }
        f->verdict = VERDICT_OK;
        if (!streq(setting, "auto"))
                f->text = strformat("VMs run on %s, as the setting backend says", b->name);
        else if (backend_choose("xen", &no_xen))
                f->text = strdup("VMs run on xen: the setting backend is auto, and this host has it");
        else
                f->text = strformat("VMs run on %s: the setting backend is auto, and xen cannot be used: %s", b->name, strempty(no_xen));
}

static void check_vsock(_unused_ const Stack *s, Finding *f)
{
        if (access("/dev/vhost-vsock", F_OK) == 0)
                found(f, VERDICT_OK, "/dev/vhost-vsock is there", NULL);
        else
                found(f, VERDICT_NOTE, "no /dev/vhost-vsock: guests' channels use virtio-serial, which does the same",
                      "modprobe vhost_vsock, where the kernel has it");
}

static void check_iommu(_unused_ const Stack *s, Finding *f)
{
        int64_t n = count_entries("/sys/kernel/iommu_groups");

        if (n > 0) {
                f->verdict = VERDICT_OK;
                f->text = strformat("%lld groups: PCI devices can be given to VMs", (long long) n);
        } else
                found(f, VERDICT_NOTE, "no IOMMU: PCI devices cannot be given to VMs",
                      "switch VT-d or AMD-Vi on in the firmware and start the kernel with intel_iommu=on");
}

static void check_memory(_unused_ const Stack *s, Finding *f)
{
        _cleanup_free_ char *text = NULL;
        unsigned long long kib = 0;
        const char *p;

        if (read_file("/proc/meminfo", 64 * KIB, &text, NULL) >= 0 && (p = strstr(text, "MemAvailable:")))
                (void) sscanf(p, "MemAvailable: %llu", &kib);
        f->verdict = kib < 1024 * 1024 ? VERDICT_NOTE : VERDICT_OK;
        f->text = strformat("%llu MiB are available", kib / 1024);
        if (f->verdict != VERDICT_OK)
                f->advice = strdup("a small Linux guest takes 250 MiB with its device model");
}

/* Tried in a child, since it cannot be undone. */
static bool child_can(int (*try)(void))
{
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(try() == 0 ? 0 : 1);
        return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int try_namespaces(void)
{
        return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET);
}

static void check_sandbox(_unused_ const Stack *s, Finding *f)
{
        long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        bool namespaces = child_can(try_namespaces), seccomp = file_has("/proc/self/status", "\nSeccomp:");

        f->verdict = namespaces && seccomp ? VERDICT_OK : VERDICT_NOTE;
        f->text = strformat("namespaces %s, seccomp %s, Landlock %s", namespaces ? "yes" : "no", seccomp ? "yes" : "no",
                            landlock > 0 ? "yes" : "no");
        if (!namespaces)
                f->advice = strdup("device models run with fewer walls around them; in a container allow it nested namespaces");
}

/* Adds the users that are not in a group where the list for systemd-sysusers ("m USER GROUP") puts them. */
static void add_outsiders(const char *list, StrBuf *b)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;

        if (read_file(list, 64 * KIB, &text, NULL) < 0 || strv_split(text, '\n', &lines) < 0)
                return;
        for (char **l = lines; l && *l; l++) {
                char user[32], group[32];
                const struct group *g;
                char **member;

                if (sscanf(*l, "m %31s %31s", user, group) != 2)
                        continue;
                g = getgrnam(group);
                for (member = g ? g->gr_mem : NULL; member && *member && !streq(*member, user);)
                        member++;
                if (!member || !*member)
                        strbuf_addf(b, " %s in %s", user, group);
        }
}

static void check_users(const Stack *s, Finding *f)
{
        _cleanup_strbuf_ StrBuf missing = STRBUF_INIT, outsiders = STRBUF_INIT;
        _cleanup_free_ char *list = strformat("%s/sysusers.d/oxt.conf", data_dir());

        for (DaemonId id = 0; id < _DAEMON_MAX; id++)
                if (daemon_table[id].user && !getpwnam(daemon_table[id].user))
                        strbuf_addf(&missing, " %s", daemon_table[id].user);
        if (!getgrnam("oxt"))
                strbuf_add(&missing, " oxt");
        if (missing.len == 0)
                add_outsiders(strempty(list), &outsiders);
        if (missing.len + outsiders.len == 0) {
                found(f, VERDICT_OK, "the daemons' users are there", NULL);
                return;
        }
        f->verdict = s->root && missing.len > 0 ? VERDICT_BAD : VERDICT_NOTE;
        f->text = strformat("missing %s:%s%s", missing.len > 0 ? "users or groups" : "members of groups",
                            missing.len > 0 ? missing.data : outsiders.data, s->root ? "" : " (a stack of one user needs none)");
        f->advice = strformat("as root: systemd-sysusers %s, then start the stack anew", strempty(list));
}

/* As whom QEMU runs. */
static void check_vm_users(const Stack *s, Finding *f)
{
        int r = launch_check_users();

        if (!s->root)
                found(f, VERDICT_OK, "QEMU runs as the user whose stack it is", NULL);
        else if (streq(setting_text(SETTING_VM_USERS), "none"))
                found(f, VERDICT_NOTE, "vm.users = none: QEMU runs as oxt-mgr, and a guest that breaks out of it is that", "remove the setting");
        else if (r == -EINVAL)
                found(f, VERDICT_BAD, "the setting vm.users is no range of user numbers", "oxt config set vm.users 1879048192-2147352575");
        else if (r < 0)
                found(f, VERDICT_NOTE, "the numbers of the setting vm.users are not all there in this user namespace: QEMU runs as oxt-mgr",
                      "oxt config set vm.users FIRST-LAST, with numbers of /proc/self/uid_map that nobody else has");
        else
                found(f, VERDICT_OK, "each QEMU can have a user of its own", NULL);
}

static void check_bus_limits(const Stack *s, Finding *f)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0) {
                found(f, VERDICT_NOTE, "the limit of open files cannot be read", NULL);
                return;
        }
        if (l.rlim_max != RLIM_INFINITY && l.rlim_max < BUS_DESCRIPTORS) {
                f->verdict = VERDICT_BAD;
                f->text = strformat("a process may have %llu open files, too few for a bus with many guests' connections",
                                    (unsigned long long) l.rlim_max);
                f->advice = strformat("raise the hard limit of open files (ulimit -Hn) to %d", BUS_DESCRIPTORS);
        } else if (!s->private_bus && access("/usr/share/dbus-1/system.d/org.oxt.limits.conf", F_OK) < 0 &&
                   access("/etc/dbus-1/system.d/org.oxt.limits.conf", F_OK) < 0 &&
                   access("/usr/local/share/dbus-1/system.d/org.oxt.limits.conf", F_OK) < 0) {
                f->verdict = VERDICT_BAD;
                f->text = strdup("the system bus has its own limits: 256 connections of one user, 128 calls without a reply");
                f->advice = strformat("install %s/dbus-1/org.oxt.conf and org.oxt.limits.conf in /usr/share/dbus-1/system.d", data_dir());
        } else
                found(f, VERDICT_OK, "4096 connections of one user, 8192 calls without a reply", NULL);
}

/* dpkg keeps a list of files for each package that is installed. */
static bool package_installed(const char *name)
{
        _cleanup_free_ char *plain = strformat("/var/lib/dpkg/info/%s.list", name);
        _cleanup_free_ char *multi = strformat("/var/lib/dpkg/info/%s:amd64.list", name);

        return plain && multi && (access(plain, F_OK) == 0 || access(multi, F_OK) == 0);
}

static void check_packages(_unused_ const Stack *s, Finding *f)
{
        _cleanup_free_ char *path = path_join(data_dir(), "packages"), *text = NULL;
        _cleanup_strbuf_ StrBuf missing = STRBUF_INIT, features = STRBUF_INIT;
        char *save = NULL;

        if (access("/var/lib/dpkg/info", F_OK) < 0) {
                found(f, VERDICT_NOTE, "not a Debian host: packages are not checked", NULL);
                return;
        }
        if (!path || read_file(path, 64 * KIB, &text, NULL) < 0) {
                found(f, VERDICT_NOTE, "the list of packages is not installed", NULL);
                return;
        }
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *name = startswith(line, "run "), *feature = startswith(line, "feature ");

                if (name && !package_installed(name))
                        strbuf_addf(&missing, " %s", name);
                if (feature && !package_installed(feature))
                        strbuf_addf(&features, " %s", feature);
        }
        if (missing.len == 0 && features.len > 0) {
                f->verdict = VERDICT_NOTE;
                f->text = strformat("all that the stack needs are installed; some VMs could ask for what comes with:%s", features.data);
        } else if (missing.len == 0)
                found(f, VERDICT_OK, "all that the stack needs are installed", NULL);
        else {
                f->verdict = VERDICT_BAD;
                f->text = strformat("missing:%s", missing.data);
                f->advice = strformat("apt-get install --no-install-recommends%s", missing.data);
        }
}

static void check_programs(const Stack *s, Finding *f)
{
        _cleanup_strbuf_ StrBuf missing = STRBUF_INIT;

        for (DaemonId id = 0; id < DAEMON_SUPERVISOR; id++)
                if (daemon_wanted(s, id) && !spawn_program_path(daemon_table[id].program))
                        strbuf_addf(&missing, " %s", daemon_table[id].name);
        if (!spawn_program_path(SPAWN_XENVM))
                strbuf_add(&missing, " xenvm");
        if (!spawn_program_path(SPAWN_QEMU))
                strbuf_add(&missing, " qemu-system-x86_64");
        f->verdict = missing.len ? VERDICT_BAD : VERDICT_OK;
        f->text = missing.len ? strformat("missing:%s", missing.data) : strdup("all daemons and QEMU are there");
        if (missing.len)
                f->advice = strformat("our own belong in %s", programs_dir());
}

/* Of path, or of the nearest folder above it that exists. */
static int free_mib(const char *path, uint64_t *ret)
{
        _cleanup_free_ char *p = strdup(path);
        struct statvfs st;

        while (p && statvfs(p, &st) < 0) {
                char *slash = strrchr(p, '/');

                if (!slash || slash == p)
                        return -errno;
                *slash = '\0';
        }
        if (!p)
                return -ENOMEM;
        *ret = (uint64_t) st.f_bavail * st.f_frsize / MIB;
        return 0;
}

static void check_disk(const Stack *s, Finding *f)
{
        uint64_t mib = 0;

        if (free_mib(paths_get(&s->paths, PATH_STATE), &mib) < 0) {
                found(f, VERDICT_NOTE, "free space cannot be told", NULL);
                return;
        }
        f->verdict = mib < 512 ? VERDICT_BAD : VERDICT_OK;
        f->text = strformat("%llu MiB are free for %s", (unsigned long long) mib, paths_get(&s->paths, PATH_STATE));
        if (f->verdict != VERDICT_OK)
                f->advice = strdup("make room, or choose another --state-dir");
}

static void check_network(const Stack *s, Finding *f)
{
        if (access("/dev/net/tun", F_OK) < 0)
                found(f, VERDICT_NOTE, "no /dev/net/tun: VMs have networks in user space only", "modprobe tun");
        else if (!s->root && access(paths_get(&s->paths, PATH_HELPER_SOCKET), F_OK) < 0)
                found(f, VERDICT_NOTE, "without oxt-helper VMs have networks in user space only: no bridges",
                      "bridges need a stack that root starts");
        else
                found(f, VERDICT_OK, "tap devices on bridges can be made", NULL);
}

static const Check checks[] = {
        { "kvm", "KVM", check_kvm },
        { "xen", "Xen", check_xen },
        { "backend", "Back end", check_backend },
        { "vsock", "vsock", check_vsock },
        { "iommu", "IOMMU", check_iommu },
        { "memory", "Memory", check_memory },
        { "disk", "Disk", check_disk },
        { "sandbox", "Sandboxing", check_sandbox },
        { "network", "Network", check_network },
        { "users", "Users", check_users },
        { "vm-users", "VMs' users", check_vm_users },
        { "bus-limits", "Bus limits", check_bus_limits },
        { "packages", "Packages", check_packages },
        { "programs", "Programs", check_programs },
};

static bool arg_json;

int oxt_doctor(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = { { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print one JSON value, for scripts", NULL }, { 0 } };
        static const Program program = { .name = "oxt doctor", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Shows what this host can do, and what to do about the rest.",
                                         .footer = "The exit status is 1 when something is missing that the stack needs." };
        static const char *const words[] = { [VERDICT_OK] = "ok", [VERDICT_NOTE] = "note", [VERDICT_BAD] = "bad" };
        _cleanup_json_ json_object *all = json_object_new_object();
        json_object *list = json_object_new_array();
        int status, bad = 0;
        Stack s;

        json_object_object_add(all, "version", json_object_new_int(1));
        json_object_object_add(all, "checks", list);
        if (stack_open(&s, &program, argc, argv, &status) < 0)
                return status;
        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                Finding f = { 0 };
                json_object *o = json_object_new_object();

                checks[i].run(&s, &f);
                bad += f.verdict == VERDICT_BAD;
                json_object_object_add(o, "name", json_object_new_string(checks[i].name));
                json_object_object_add(o, "verdict", json_object_new_string(words[f.verdict]));
                json_object_object_add(o, "text", json_object_new_string(strempty(f.text)));
                json_object_object_add(o, "advice", f.advice ? json_object_new_string(f.advice) : NULL);
                json_object_array_add(list, o);
                if (!arg_json) {
                        printf("%-5s %-11s %s\n", words[f.verdict], checks[i].title, strempty(f.text));
                        if (f.advice)
                                printf("%18s-> %s\n", "", f.advice);
                }
                free(f.text);
                free(f.advice);
        }
        if (arg_json)
                puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
        stack_done(&s);
        return bad ? 1 : 0;
}

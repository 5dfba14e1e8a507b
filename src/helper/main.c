/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt-helper: does for the VMs' user what only root can do, and nothing else. It listens on a socket
 * that the group oxt-mgr alone may write to, looks at who called, and takes the few requests of
 * request.c. It starts no program but QEMU, as a user of its own (vm.h), and the monitor on a Xen host
 * (monitor.h), reads no file that a caller names, and keeps no state.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"
#include "daemon.h"
#include "fs.h"
#include "json.h"
#include "log.h"
#include "limit.h"
#include "monitor.h"
#include "net-bridge.h"
#include "parse.h"
#include "request.h"
#include "settings.h"
#include "strbuf.h"
#include "usb.h"
#include "vm.h"

#define CLIENTS_MAX 512 /* each start of a VM is one for a moment; more wait until others are done */
#define USB_MAJOR 189 /* Documentation/admin-guide/devices.txt of Linux */
#define CALLER_GROUP "oxt-mgr"
#define CALLER_USER "oxt-mgr"

typedef struct Helper Helper;

typedef struct Client {
        Helper *helper;
        int fd;
        uid_t uid;
        char line[HELPER_LINE_MAX + 1];
        size_t n;
        int fds[HELPER_FDS_MAX]; /* that came with what was heard since the last request */
        size_t n_fds;
        sd_event_source *io;
        MonitorStart *starting; /* it is answered when that has ended, and not heard before */
} Client;

struct Helper {
        Daemon *daemon;
        int listen_fd, links_fd; /* which tells of network devices that come and go */
        sd_event_source *links;
        uid_t caller_uid;
        Client *clients[CLIENTS_MAX];
        sd_event_source *io;
};

typedef struct Answer {
        const char *error; /* NULL: success */
        bool already;      /* the error is that there is such a one */
        bool later;        /* there is no answer yet */
        char name[16];     /* of a device that was made */
        int fd;            /* to be handed over, or -EBADF */
} Answer;

static const char *check_bridge(const char *bridge)
{
        if (!words_contain(setting_text(SETTING_HELPER_BRIDGES), bridge))
                return "the setting helper.bridges does not name this bridge";
        return bridge_exists(bridge) ? NULL : "there is no such bridge";
}

/* The device lives as long as its descriptor is open somewhere, so that nothing is left behind. */
static void tap_create(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "oxt%d" };
        _cleanup_close_ int fd = -EBADF;

        a->error = check_bridge(q->bridge);
        if (a->error)
                return;
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                a->error = "/dev/net/tun does not open";
        else if (ioctl(fd, TUNSETIFF, &r) < 0 || ioctl(fd, TUNSETOWNER, (unsigned long) c->uid) < 0)
                a->error = "the kernel makes no tap device";
        else if (bridge_move(r.ifr_name, q->bridge) < 0)
                a->error = "the tap device cannot be added to the bridge";
        else {
                limit_forget(r.ifr_name);
                snprintf(a->name, sizeof a->name, "%s", r.ifr_name);
                a->fd = TAKE_FD(fd);
        }
}

/* Of the device's owner, as tap_create() set it. */
static bool tap_belongs_to(const char *tap, uid_t uid)
{
        _cleanup_free_ char *path = strformat("/sys/class/net/%s/owner", tap), *text = NULL;
        uint64_t owner;

        return path && read_file(path, 64, &text, NULL) >= 0 && parse_u64(strstrip(text), &owner) >= 0 && owner == uid;
}

static void tap_limit(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        int r = tap_belongs_to(q->tap, c->uid) ? limit_device(q->tap, q->rate) : -ENODEV;

        if (r < 0)
                a->error = r == -ENODEV       ? "there is no such tap device of this user"
                           : r == -EOPNOTSUPP ? "this kernel cannot limit a network device (nftables for netdev, limit, tbf)"
                                              : "the network device cannot be limited";
}

static void tap_move(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        a->error = check_bridge(q->bridge);
        if (!a->error && !tap_belongs_to(q->tap, c->uid))
                a->error = "there is no such tap device of this user";
        if (!a->error && bridge_move(q->tap, q->bridge) < 0)
                a->error = "the tap device cannot be added to the bridge";
}

static void device_open(_unused_ Helper *h, _unused_ Client *c, const HelperRequest *q, Answer *a)
{
        a->fd = open(helper_device_path(q->device), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (a->fd < 0)
                a->error = "the device does not open";
}

static void pci_bind(_unused_ Helper *h, _unused_ Client *c, const HelperRequest *q, Answer *a)
{
        int r = helper_pci_bind(q, &a->error);

        if (r >= 0) {
                a->error = NULL;
                snprintf(a->name, sizeof a->name, "%s", r > 0 ? "bound" : "");
        }
}

static void pci_release(Helper *h, _unused_ Client *c, const HelperRequest *q, Answer *a)
{
        if (helper_pci_release(h->daemon->event, q, &a->error) >= 0)
                a->error = NULL;
}

static void usb_open(_unused_ Helper *h, _unused_ Client *c, const HelperRequest *q, Answer *a)
{
        const char *allowed = setting_text(SETTING_HELPER_USB);
        _cleanup_close_ int fd = -EBADF;
        char name[16], node[40];
        struct stat st;
        UsbDevice d;

        a->error = "there is no such USB device";
        if (usb_read(USB_SYSFS, q->usb, &d) < 0 || d.hub)
                return;
        snprintf(name, sizeof name, "%04x:%04x", d.vendor, d.product);
        a->error = "the setting helper.usb does not name this device (nor any)";
        if (!words_contain(allowed, name) && !words_contain(allowed, "any"))
                return;
        fd = open(usb_node(&d, node), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
        a->error = "the device does not open";
        /* The node must be that of the device: bus and number are in its device number. */
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(USB_MAJOR, (d.bus - 1) * 128 + d.number - 1))
                return;
        a->error = NULL;
        a->fd = TAKE_FD(fd);
}

static void vm_scope(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        _cleanup_free_ char *proc = strformat("/proc/%d", (int) q->pid);
        struct stat st;

        if (!proc || stat(proc, &st) < 0 || st.st_uid != c->uid)
                a->error = "there is no such process of this user";
        else if (!helper_has_systemd())
                a->error = "systemd does not run this host";
        else if (helper_scope(q->uuid, q->pid, 0) < 0)
                a->error = "systemd makes no scope";
}

static void vm_start(Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        pid_t pid;

        if (helper_vm_start(h->daemon->event, q, c->uid, c->fds, c->n_fds, &pid, &a->fd, &a->error) >= 0) {
                a->error = NULL;
                snprintf(a->name, sizeof a->name, "%d", (int) pid);
        }
}

static void vm_end(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        if (helper_vm_end(q, c->fds, c->n_fds, &a->error) >= 0)
                a->error = NULL;
}

static void console_give(_unused_ Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        int64_t terminal;

        if (helper_console_give(q, c->uid, &terminal, &a->error) >= 0) {
                a->error = NULL;
                snprintf(a->name, sizeof a->name, "%lld", (long long) terminal);
        }
}

static void cpu_bind(_unused_ Helper *h, _unused_ Client *c, const HelperRequest *q, Answer *a)
{
        if (helper_cpu_bind(q, &a->error) >= 0)
                a->error = NULL;
}

static void host_info(Helper *h, _unused_ Client *c, _unused_ const HelperRequest *q, Answer *a)
{
        a->fd = monitor_host_info(h->daemon->event);
        if (a->fd < 0)
                a->error = a->fd == -EOPNOTSUPP ? "this is no Xen host: its kernel knows it all" : "xenvm cannot be started";
}

static void client_free(Client *c);
static int send_answer(Client *c, const Answer *a);
static int serve_lines(Client *c);

static void on_monitor_started(void *userdata, const char *error, bool already)
{
        const Answer a = { .error = error, .already = already, .fd = -EBADF };
        Client *c = userdata;

        c->starting = NULL;
        if (send_answer(c, &a) < 0 || sd_event_source_set_enabled(c->io, SD_EVENT_ON) < 0 || serve_lines(c) < 0)
                client_free(c);
}

static void start_monitor(Helper *h, Client *c, const HelperRequest *q, Answer *a)
{
        int r = monitor_start(h->daemon->event, &h->daemon->paths, CALLER_USER, q->uuid, on_monitor_started, c, &c->starting);

        if (r < 0)
                a->error = r == -EOPNOTSUPP ? "this is no Xen host: the monitor needs no root" : "the monitor cannot be started";
        else
                a->later = true;
}

static void (*const request_functions[_HELPER_REQUEST_MAX])(Helper *, Client *, const HelperRequest *, Answer *) = {
        [HELPER_PCI_BIND] = pci_bind,
        [HELPER_PCI_RELEASE] = pci_release,
        [HELPER_TAP_CREATE] = tap_create,
        [HELPER_TAP_LIMIT] = tap_limit,
        [HELPER_TAP_MOVE] = tap_move,
        [HELPER_DEVICE_OPEN] = device_open,
        [HELPER_USB_OPEN] = usb_open,
        [HELPER_VM_SCOPE] = vm_scope,
        [HELPER_VM_START] = vm_start,
        [HELPER_VM_END] = vm_end,
        [HELPER_CONSOLE_GIVE] = console_give,
        [HELPER_CPU_BIND] = cpu_bind,
        [HELPER_HOST_INFO] = host_info,
        [HELPER_MONITOR_START] = start_monitor,
};

static void close_fds(Client *c)
{
        for (size_t i = 0; i < c->n_fds; i++)
                safe_close(c->fds[i]);
        c->n_fds = 0;
}

static void client_free(Client *c)
{
        close_fds(c);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (c->helper->clients[i] == c)
                        c->helper->clients[i] = NULL;
        (void) sd_event_source_set_enabled(c->helper->io, SD_EVENT_ON);
        monitor_start_forget(c->starting);
        sd_event_source_disable_unref(c->io);
        safe_close(c->fd);
        free(c);
}

static int send_answer(Client *c, const Answer *a)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        _cleanup_json_ json_object *o = json_object_new_object();
        _cleanup_free_ char *text = NULL;
        struct iovec iov;
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        json_object_object_add(o, a->error ? "error" : "ok", a->error ? json_object_new_string(a->error) : json_object_new_boolean(true));
        if (a->already)
                json_object_object_add(o, "already", json_object_new_boolean(true));
        if (a->name[0])
                json_object_object_add(o, "name", json_object_new_string(a->name));
        text = strformat("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        if (!text)
                return -ENOMEM;
        iov = (struct iovec) { text, strlen(text) };
        if (a->fd >= 0) {
                m.msg_control = &control;
                m.msg_controllen = sizeof control;
                control.header = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
                memcpy(CMSG_DATA(&control.header), &a->fd, sizeof(int));
        }
        return sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* One request after the other; a client that breaks the protocol is let go. */
static int serve(Client *c, size_t n)
{
        Answer a = { .fd = -EBADF };
        HelperRequest q;
        int r;

        if (helper_request_parse(c->line, n, &q, &a.error) >= 0) {
                a.error = NULL;
                request_functions[q.id](c->helper, c, &q, &a);
                log_info("%s for uid %u: %s%s", helper_request_name(q.id), (unsigned) c->uid, a.error ? a.error : a.later ? "begun" : "done ",
                         a.name);
        } else
                log_warning("A request of uid %u was refused: %s", (unsigned) c->uid, a.error);
        r = a.later ? sd_event_source_set_enabled(c->io, SD_EVENT_OFF) : send_answer(c, &a);
        safe_close(a.fd);
        close_fds(c);
        return r;
}

static int serve_lines(Client *c)
{
        char *end;
        int r;

        while (!c->starting && (end = memchr(c->line, '\n', c->n))) {
                size_t l = (size_t) (end - c->line);

                r = serve(c, l);
                if (r < 0)
                        return r;
                c->n -= l + 1;
                memmove(c->line, end + 1, c->n);
        }
        return !c->starting && c->n == sizeof c->line ? -E2BIG : 0;
}

static int on_client(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Client *c = userdata;
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(HELPER_FDS_MAX * sizeof(int))];
        } control;
        struct iovec iov = { c->line + c->n, sizeof c->line - c->n };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        for (struct cmsghdr *k = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL; k; k = CMSG_NXTHDR(&m, k)) {
                if (k->cmsg_level != SOL_SOCKET || k->cmsg_type != SCM_RIGHTS)
                        continue;
                close_fds(c); /* those of one request come with it, and at once */
                c->n_fds = (k->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(c->fds, CMSG_DATA(k), c->n_fds * sizeof(int));
        }
        if (n <= 0 || m.msg_flags & MSG_CTRUNC) {
                client_free(c);
                return 0;
        }
        c->n += (size_t) n;
        if (serve_lines(c) < 0)
                client_free(c);
        return 0;
}

static int on_connect(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
        Helper *h = userdata;
        _cleanup_close_ int client_fd = -EBADF;
        struct ucred cred;
        socklen_t size = sizeof cred;
        size_t slot = 0;
        Client *c;

        while (slot < CLIENTS_MAX && h->clients[slot])
                slot++;
        if (slot == CLIENTS_MAX)
                return sd_event_source_set_enabled(h->io, SD_EVENT_OFF); /* client_free() puts it on again */
        client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client_fd < 0)
                return 0;
        if (getsockopt(client_fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 || (cred.uid != 0 && cred.uid != h->caller_uid)) {
                log_warning("A connection of uid %u was refused", (unsigned) cred.uid);
                return 0;
        }
        c = calloc(1, sizeof *c);
        if (!c)
                return 0;
        *c = (Client) { .helper = h, .fd = TAKE_FD(client_fd), .uid = cred.uid };
        h->clients[slot] = c;
        if (sd_event_add_io(h->daemon->event, &c->io, c->fd, EPOLLIN, on_client, c) < 0)
                client_free(c);
        return 0;
}

static int on_links(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, _unused_ void *userdata)
{
        if (links_gone(fd))
                limit_sweep();
        return 0;
}

static int helper_start(Daemon *d, void *userdata, _unused_ char *words[])
{
        const char *path = paths_get(&d->paths, PATH_HELPER_SOCKET);
        struct passwd *pw = getpwnam(CALLER_USER);
        struct group *gr = getgrnam(CALLER_GROUP);
        Helper *h = userdata;
        int r;

        h->daemon = d;
        cgroup_sweep();
        limit_sweep();
        if (geteuid() != 0) {
                log_error("oxt-helper does what needs root, and so only works as root");
                return -EPERM;
        }
        if (!pw || !gr) {
                log_error("The user and group %s do not exist. Make them with: systemd-sysusers %s/sysusers.d/oxt.conf", CALLER_USER, data_dir());
                return -ENOENT;
        }
        h->caller_uid = pw->pw_uid;
        h->listen_fd = unix_listen(path, 0600);
        if (h->listen_fd < 0)
                return log_errno(h->listen_fd, "Cannot listen on %s", path);
        if (chown(path, (uid_t) -1, gr->gr_gid) < 0 || chmod(path, 0660) < 0)
                return log_errno(errno, "Cannot give %s to the group %s", path, CALLER_GROUP);
        h->links_fd = links_watch();
        if (h->links_fd < 0 || sd_event_add_io(d->event, &h->links, h->links_fd, EPOLLIN, on_links, h) < 0)
                log_warning("Limits of network devices that are gone are removed at the next start only");
        r = sd_event_add_io(d->event, &h->io, h->listen_fd, EPOLLIN, on_connect, h);
        return r < 0 ? log_errno(r, "Cannot watch %s", path) : 0;
}

static void helper_end(_unused_ Daemon *d, void *userdata)
{
        Helper *h = userdata;

        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (h->clients[i])
                        client_free(h->clients[i]);
        sd_event_source_unref(h->io);
        safe_close(h->listen_fd);
        sd_event_source_unref(h->links);
        safe_close(h->links_fd);
}

int main(int argc, char *argv[])
{
        static const DaemonSpec spec = {
                .program = { .name = "oxt-helper", .synopsis = "[OPTIONS]", .flags = PROGRAM_PERMUTE,
                             .summary = "Does for the VMs' user what only root can do: a fixed list of requests." },
                .no_bus = true,
                .start = helper_start,
                .end = helper_end,
        };
        Helper h = { .listen_fd = -EBADF, .links_fd = -EBADF };

        return daemon_run(&spec, &h, argc, argv);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "port.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "fs.h"
#include "log.h"
#include "loop.h"
#include "parse.h"
#include "strbuf.h"

#define VSOCK_PORT 5555
#define RETRY_FIRST (100 * USEC_PER_MSEC)
#define RETRY_LAST (1 * USEC_PER_SEC)
#define ASK_AFTER (500 * USEC_PER_MSEC)
#define ASK_LAST (4 * USEC_PER_SEC)

static struct {
        const char *where;
        Mux *mux;
        Source source;   /* fd -EBADF: not open */
        bool connected;  /* the host's end is */
        bool ring;       /* of Xen, a new one for each connection: nobody else can have read the hello, so asking has time */
        bool device;     /* a virtio port: stays open while the host's end is away, which comes back there */
        Timer retry, ask, flush;
        uint64_t retry_usec, ask_usec;
} port = { .source.fd = -EBADF };

/*
 * A virtio port is known by its name in sysfs, since an initramfs has no udev to make links. Returns
 * the path of its device, or NULL.
 */
static char *find_virtio_port(void)
{
        DIR *d = opendir("/sys/class/virtio-ports");
        char *found = NULL;

        for (struct dirent *e; d && !found && (e = readdir(d));) {
                _cleanup_free_ char *path = NULL, *name = NULL;

                if (e->d_name[0] == '.')
                        continue;
                path = strformat("/sys/class/virtio-ports/%s/name", e->d_name);
                if (path && read_file(path, 4096, &name, NULL) >= 0 && streq(strstrip(name), PORT_NAME))
                        found = strformat("/dev/%s", e->d_name);
        }
        if (d)
                closedir(d);
        return found;
}

static int open_vsock(const char *where)
{
        struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = VSOCK_PORT };
        struct timeval patience = { .tv_usec = 200 * 1000 }; /* a host without vsock never answers */
        _cleanup_close_ int fd = -EBADF;
        const char *number = startswith(where, "vsock:");
        uint64_t n;

        if (number && (parse_u64(number, &n) < 0 || n >= UINT32_MAX))
                return -EINVAL;
        if (number)
                a.svm_port = (uint32_t) n;
        fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience) < 0 ||
            connect(fd, (struct sockaddr *) &a, sizeof a) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int open_path(const char *path)
{
        struct stat st;
        int fd;

        port.ring = streq(path, VCHAN_SOCKET);
        if (stat(path, &st) >= 0 && S_ISSOCK(st.st_mode))
                return unix_connect(path);
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

static int open_channel(void)
{
        _cleanup_free_ char *found = NULL;

        if (port.where[0] == '/')
                return open_path(port.where);
        if (startswith(port.where, "vsock"))
                return open_vsock(port.where);
        found = find_virtio_port();
        if (found)
                return open_path(found);
        if (access(VCHAN_SOCKET, F_OK) == 0)
                return open_path(VCHAN_SOCKET);
        /* A port that is still to come is likelier than vsock without a host: both are tried each time. */
        return open_vsock("vsock");
}

static void try_again(void)
{
        loop_after(&port.retry, port.retry_usec);
        port.retry_usec = MIN2(port.retry_usec * 2, RETRY_LAST);
}

/* The host's end is away, or (broken) the descriptor is of no more use. */
static void disconnected(const char *why, bool broken)
{
        if (port.connected)
                log_info("The host's end is away: %s", why);
        port.connected = false;
        loop_cancel(&port.ask);
        (void) loop_watch(&port.source, 0);
        if (broken || !port.device)
                port.source.fd = safe_close(port.source.fd);
        mux_detach(port.mux, why);
        try_again();
}

static void write_out(void)
{
        while (port.connected) {
                size_t n;
                const void *p = mux_output(port.mux, &n);
                ssize_t k;

                if (n == 0)
                        break;
                k = write(port.source.fd, p, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno == EAGAIN) {
                        (void) loop_watch(&port.source, EPOLLIN | EPOLLOUT);
                        return;
                }
                if (k < 0) {
                        disconnected(strerror(errno), errno != EPIPE);
                        return;
                }
                mux_written(port.mux, (size_t) k);
        }
        if (port.connected)
                (void) loop_watch(&port.source, EPOLLIN);
}

static void on_flush(Timer *t _unused_)
{
        write_out();
}

void port_flush(void)
{
        /* At the end of this round: writing can end streams, and the caller is in the middle of one. */
        loop_after(&port.flush, 0);
}

static void on_port(Source *s, uint32_t events)
{
        uint8_t untrusted_data[65536];
        ssize_t n;

        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                n = read(s->fd, untrusted_data, sizeof untrusted_data);
                if (n > 0)
                        mux_input(port.mux, untrusted_data, (size_t) n);
                else if (n == 0)
                        return disconnected("end of file", false);
                else if (errno != EAGAIN && errno != EINTR)
                        return disconnected(strerror(errno), true);
                else if (events & EPOLLHUP)
                        return disconnected("hung up", false);
        }
        write_out();
}

static void on_ask(Timer *t)
{
        if (!port.connected || mux_attached(port.mux))
                return;
        mux_ask(port.mux);
        write_out();
        port.ask_usec = MIN2(port.ask_usec * 2, ASK_LAST);
        loop_after(t, port.ask_usec);
}

static void on_retry(Timer *t _unused_)
{
        struct pollfd p;

        if (port.source.fd < 0) {
                int fd = open_channel(), flags;
                struct stat st;

                if (fd < 0) {
                        log_debug("No channel to the host yet: %s", strerror(-fd));
                        return try_again();
                }
                flags = fcntl(fd, F_GETFL);
                if (flags >= 0)
                        (void) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
                port.source.fd = fd;
                port.device = fstat(fd, &st) >= 0 && S_ISCHR(st.st_mode);
                mux_detach(port.mux, "a new channel");
        }
        /* While the host's end is away a virtio port hangs up all the time, which would keep epoll busy. */
        p = (struct pollfd) { .fd = port.source.fd, .events = POLLIN };
        if (poll(&p, 1, 0) < 0 || p.revents & (POLLHUP | POLLERR | POLLNVAL))
                return try_again();
        port.connected = true;
        port.retry_usec = RETRY_FIRST;
        port.ask_usec = port.ring ? ASK_LAST : ASK_AFTER;
        loop_after(&port.ask, port.ask_usec);
        (void) loop_watch(&port.source, EPOLLIN);
}

int port_start(const char *where, const MuxEvents *events, void *userdata)
{
        int r = mux_new(MUX_GUEST, NULL, events, userdata, &port.mux);

        if (r < 0)
                return r;
        port.where = where;
        port.source.run = on_port;
        port.retry.run = on_retry;
        port.ask.run = on_ask;
        port.flush.run = on_flush;
        port.retry_usec = RETRY_FIRST;
        loop_after(&port.retry, 0);
        return 0;
}

Mux *port_mux(void)
{
        return port.mux;
}

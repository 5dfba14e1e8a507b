/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "runtime.h"
#include "vchan-bridge.h"
#include "xen-ids.h"

struct XenChannel {
        sd_event *event;
        uint32_t domid;
        int listener;
        sd_event_source *accept, *ring, *socket, *more;
        VchanBridge *bridge; /* one at a time: rpc-proxy */
};

static void channel_drop(XenChannel *c)
{
        c->ring = sd_event_source_disable_unref(c->ring);
        c->socket = sd_event_source_disable_unref(c->socket);
        c->more = sd_event_source_disable_unref(c->more);
        c->bridge = vchan_bridge_free(c->bridge);
}

static void channel_pump(XenChannel *c, bool ring_ready)
{
        int r = vchan_bridge_pump(c->bridge, ring_ready);

        if (r >= 0)
                r = sd_event_source_set_enabled(c->more, r > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_io_events(c->socket, vchan_bridge_wanted(c->bridge));
        if (r < 0) {
                log_debug("The channel of domain %u ended: %s", c->domid, strerror(-r));
                channel_drop(c);
        }
}

static int on_ring(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        channel_pump(userdata, true);
        return 0;
}

static int on_socket(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        channel_pump(userdata, false);
        return 0;
}

static int on_more(_unused_ sd_event_source *s, void *userdata)
{
        channel_pump(userdata, false);
        return 0;
}

static int on_connect(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        XenChannel *c = userdata;
        _cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct libxenvchan *ring;
        char path[64];
        uint64_t begin;
        int r;
        AS_ROOT;

        if (peer < 0)
                return 0;
        /* The newest is the one that counts: an old proxy may not know yet that it is dead. */
        channel_drop(c);
        snprintf(path, sizeof path, "/local/domain/%u/" VCHAN_PATH, c->domid);
        begin = now_usec();
        ring = libxenvchan_client_init(NULL, (int) c->domid, path);
        if (!ring)
                return 0; /* the guest offers none yet: the proxy sees end-of-file and comes again */
        log_info("The ring of domain %u is mapped, after %llu us", c->domid, (unsigned long long) (now_usec() - begin));
        r = vchan_bridge_new(ring, peer, &c->bridge);
        if (r < 0) {
                libxenvchan_close(ring);
                return 0;
        }
        TAKE_FD(peer);
        r = sd_event_add_io(c->event, &c->ring, vchan_bridge_ring_fd(c->bridge), EPOLLIN, on_ring, c);
        if (r >= 0)
                r = sd_event_add_io(c->event, &c->socket, vchan_bridge_socket_fd(c->bridge), EPOLLIN, on_socket, c);
        if (r >= 0)
                r = sd_event_add_defer(c->event, &c->more, on_more, c);
        if (r < 0)
                channel_drop(c);
        else
                channel_pump(c, false);
        return 0;
}

int xenchannel_new(sd_event *event, const char *dir, uint32_t domid, XenChannel **ret)
{
        XenChannel *c = calloc(1, sizeof *c);
        int r;
        AS_USER; /* it is in that user's folder */

        if (!c)
                return -ENOMEM;
        *c = (XenChannel) { .event = sd_event_ref(event), .domid = domid, .listener = -EBADF };
        r = c->listener = channel_listen(dir);
        if (r >= 0)
                r = sd_event_add_io(event, &c->accept, c->listener, EPOLLIN, on_connect, c);
        if (r < 0) {
                xenchannel_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

XenChannel *xenchannel_free(XenChannel *c)
{
        if (!c)
                return NULL;
        channel_drop(c);
        sd_event_source_disable_unref(c->accept);
        safe_close(c->listener); /* the file stays: a monitor that comes back takes its place */
        sd_event_unref(c->event);
        free(c);
        return NULL;
}

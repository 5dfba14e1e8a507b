/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bridge against a ring in plain memory, whose other end keeps the rules, breaks them, or never pauses. */
#include <assert.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vchan-bridge.h"

#define PAGE 4096
#define WRITE_ORDER 10 /* ours, at 1024 of the page */
#define READ_ORDER 11  /* the other end's, at 2048 */

typedef struct Bed {
        struct libxenvchan *ring;
        struct vchan_interface *page;
        VchanBridge *bridge;
        int far; /* the socket's other end */
} Bed;

/* The host's end of it: a client. No event channel is behind, so the other end never asks for a notification. */
static Bed bed_new(void)
{
        struct libxenvchan *ring = calloc(1, sizeof *ring);
        uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        Bed b = { .ring = ring, .page = (struct vchan_interface *) page };
        int fds[2];

        assert(ring && page != MAP_FAILED && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        b.page->cli_live = b.page->srv_live = 1;
        *ring = (struct libxenvchan) {
                .ring = b.page,
                .write = { &b.page->left, page + 1024, WRITE_ORDER },
                .read = { &b.page->right, page + 2048, READ_ORDER },
        };
        b.far = fds[1];
        assert(vchan_bridge_new(ring, fds[0], &b.bridge) == 0);
        return b;
}

/* The page is ours, not one that the hypervisor shares. */
static void bed_done(Bed *b)
{
        b->ring->ring = NULL;
        vchan_bridge_free(b->bridge);
        (void) munmap(b->page, PAGE);
        (void) close(b->far);
}

static uint8_t *far_ring(const Bed *b)
{
        return (uint8_t *) b->page + 2048;
}

static ssize_t far_read(const Bed *b, char *buf, size_t n)
{
        ssize_t k = recv(b->far, buf, n, MSG_DONTWAIT);

        return k < 0 ? 0 : k;
}

static void test_both_ways(void)
{
        Bed b = bed_new();
        char buf[64];

        memcpy(far_ring(&b), "to the host", 11);
        b.page->right.prod = 11;
        assert(vchan_bridge_pump(b.bridge, false) == 0);
        assert(far_read(&b, buf, sizeof buf) == 11 && memcmp(buf, "to the host", 11) == 0 && b.page->right.cons == 11);

        assert(send(b.far, "to the guest", 12, 0) == 12);
        assert(vchan_bridge_pump(b.bridge, false) == 0);
        assert(b.page->left.prod == 12 && memcmp((uint8_t *) b.page + 1024, "to the guest", 12) == 0);

        /* A full ring holds up the socket, and nothing is lost. */
        for (int i = 0; i < 3; i++) {
                static const char block[1024];

                assert(send(b.far, block, sizeof block, 0) == sizeof block);
                assert(vchan_bridge_pump(b.bridge, false) == 0);
        }
        assert(b.page->left.prod == 1024 && !(vchan_bridge_wanted(b.bridge) & EPOLLIN));
        for (uint32_t prod = 1024; prod < 12 + 3 * 1024; prod = b.page->left.prod) {
                b.page->left.cons = prod;
                assert(vchan_bridge_pump(b.bridge, false) == 0 && b.page->left.prod > prod);
        }
        assert(b.page->left.prod == 12 + 3 * 1024);

        b.page->srv_live = 0;
        assert(vchan_bridge_pump(b.bridge, false) == -ECONNRESET);
        bed_done(&b);

        b = bed_new();
        assert(shutdown(b.far, SHUT_WR) == 0);
        assert(vchan_bridge_pump(b.bridge, false) == -EPIPE);
        bed_done(&b);
}

/* Counters that cannot be: nothing is read or written where it should not, and the bridge comes back. */
static void test_counters(void)
{
        static const uint32_t lies[] = { 2049, 4096, 0x7fffffff, 0x80000000, 0xfffff800, 0xffffffff };
        uint8_t before[2048];
        char buf[8192];

        for (size_t i = 0; i < ELEMENTSOF(lies); i++) {
                Bed b = bed_new();

                b.page->right.prod = lies[i];
                assert(vchan_bridge_pump(b.bridge, false) == 0);
                assert(far_read(&b, buf, sizeof buf) == 0 && b.page->right.cons == 0);
                bed_done(&b);

                b = bed_new();
                memset(far_ring(&b), 0x55, 2048);
                memcpy(before, far_ring(&b), sizeof before);
                b.page->left.cons = lies[i]; /* it says to have taken what we never wrote */
                memset(buf, 'x', sizeof buf);
                assert(send(b.far, buf, 4096, 0) == 4096);
                assert(vchan_bridge_pump(b.bridge, false) >= -ECONNRESET);
                assert(memcmp(before, far_ring(&b), sizeof before) == 0);
                bed_done(&b);
        }
}

static volatile bool over;

static void *talk(void *userdata)
{
        const Bed *b = userdata;

        while (!over)
                b->page->right.prod = b->page->right.cons + 2048;
        return NULL;
}

static void *listen_all(void *userdata)
{
        const Bed *b = userdata;
        char buf[65536];

        while (read(b->far, buf, sizeof buf) > 0)
                ;
        return NULL;
}

/* An end that has always more to say does not keep the owner in the bridge. */
static void test_endless(void)
{
        Bed b = bed_new();
        pthread_t talker, listener;
        unsigned more = 0;

        (void) alarm(60);
        assert(pthread_create(&talker, NULL, talk, &b) == 0 && pthread_create(&listener, NULL, listen_all, &b) == 0);
        for (int i = 0; i < 20 || more == 0; i++) {
                int r = vchan_bridge_pump(b.bridge, false);

                assert(r >= 0);
                more += r == 1;
        }
        over = true;
        pthread_join(talker, NULL);
        (void) shutdown(b.far, SHUT_RDWR); /* ends the listener */
        pthread_join(listener, NULL);
        bed_done(&b);
}

int main(void)
{
        test_both_ways();
        test_counters();
        test_endless();
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The raw client of bench/rpc-proxy: measures one way to a bus over sockets, without a D-Bus library.
 *
 *     bench-rpc-proxy serve ADDRESS NAME             owns NAME and answers every call; prints "ready"
 *     bench-rpc-proxy echo PATH                      a socket that sends back what it gets ("bare")
 *     bench-rpc-proxy hop PATH TARGET                a relay: one more socket between two others
 *     bench-rpc-proxy line PATH PATH                 what QEMU is to a guest channel: bytes of one socket go to the other
 *     bench-rpc-proxy latency WAY NAME SECONDS [BYTES]   round trips one by one: median in µs
 *     bench-rpc-proxy pipeline WAY NAME SECONDS DEPTH    calls with DEPTH in flight: calls/s
 *     bench-rpc-proxy idle WAY COUNT                 opens COUNT connections, prints "ready", waits
 *     bench-rpc-proxy busy WAY NAME SECONDS COUNT    COUNT connections, one call each at a time: calls/s
 *
 * WAY is the socket of a bus, proxy or echo; NAME "-" sends the messages without a bus behind.
 */
#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define SAMPLES_MAX 4000000

typedef struct Conn {
        int fd;
        uint8_t *buf;
        size_t used, size;
        uint32_t serial;
} Conn;

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static void pin(const char *variable)
{
        const char *cpu = getenv(variable);
        cpu_set_t set;

        if (!cpu)
                return;
        CPU_ZERO(&set);
        CPU_SET(atoi(cpu), &set);
        (void) sched_setaffinity(0, sizeof set, &set);
}

static int connect_to(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof sa) < 0)
                die(path);
        return fd;
}

static int listen_at(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, 64) < 0)
                die(path);
        return fd;
}

static void send_all(int fd, const void *data, size_t n)
{
        while (n > 0) {
                ssize_t w = send(fd, data, n, MSG_NOSIGNAL);

                if (w < 0)
                        die("send");
                data = (const uint8_t *) data + w;
                n -= (size_t) w;
        }
}

static void receive_more(Conn *c)
{
        ssize_t n;

        if (c->size - c->used < 65536) {
                c->size = c->used + 262144;
                c->buf = realloc(c->buf, c->size);
        }
        n = recv(c->fd, c->buf + c->used, c->size - c->used, 0);
        if (n <= 0)
                die("the connection ended");
        c->used += (size_t) n;
}

/* Waits for one whole message; its size. */
static size_t receive(Conn *c)
{
        const char *why;

        for (;;) {
                ssize_t n = c->used ? wire_size(c->buf, c->used, &why) : 0;

                if (n > 0 && (size_t) n <= c->used)
                        return (size_t) n;
                if (n < 0)
                        die("bytes that are no message");
                receive_more(c);
        }
}

static void drop(Conn *c, size_t n)
{
        memmove(c->buf, c->buf + n, c->used - n);
        c->used -= n;
}

static size_t make(uint8_t *out, size_t size, WireMessage m, WireBody *body)
{
        ssize_t n;

        m.signature = m.signature ? m.signature : "";
        m.body_size = body ? (uint32_t) body->used : 0;
        n = wire_encode(&m, out, size);
        assert(n > 0 && size - (size_t) n >= m.body_size);
        if (body)
                memcpy(out + n, body->data, body->used);
        return (size_t) n + m.body_size;
}

static size_t bus_call(uint8_t *out, size_t size, uint32_t serial, const char *member, const char *name)
{
        uint8_t data[512];
        WireBody body = { .data = data, .size = sizeof data };

        if (name) {
                wire_put_text(&body, name);
                wire_put_u32(&body, 0);
        }
        return make(out, size, (WireMessage) { .type = WIRE_CALL, .serial = serial, .path = "/org/freedesktop/DBus",
                                               .interface = "org.freedesktop.DBus", .member = member,
                                               .destination = "org.freedesktop.DBus", .signature = name ? "su" : "" },
                    &body);
}

static Conn open_bus(const char *way)
{
        Conn c = { .fd = connect_to(way), .serial = 1 };
        uint8_t out[512];
        char auth[80], id[16];
        int n, k;

        n = snprintf(id, sizeof id, "%u", (unsigned) getuid());
        auth[0] = '\0';
        k = 1 + snprintf(auth + 1, sizeof auth - 1, "AUTH EXTERNAL ");
        for (int i = 0; i < n; i++)
                k += snprintf(auth + k, sizeof auth - (size_t) k, "%02x", (unsigned) id[i]);
        k += snprintf(auth + k, sizeof auth - (size_t) k, "\r\n");
        send_all(c.fd, auth, (size_t) k);
        while (c.used < 2 || memcmp(c.buf + c.used - 2, "\r\n", 2) != 0)
                receive_more(&c);
        c.used = 0;
        send_all(c.fd, "BEGIN\r\n", 7);
        send_all(c.fd, out, bus_call(out, sizeof out, c.serial++, "Hello", NULL));
        drop(&c, receive(&c));
        return c;
}

static uint8_t message[1 << 20];

/* A call of M with bytes of payload; its size. The serial is written by the sender. */
static size_t make_call(const char *name, size_t bytes)
{
        uint8_t *data = malloc(bytes + 16);
        WireBody body = { .data = data, .size = bytes + 16 };
        char *text = calloc(1, bytes + 1);
        size_t n;

        memset(text, 'x', bytes);
        wire_put_text(&body, text);
        n = make(message, sizeof message, (WireMessage) { .type = WIRE_CALL, .serial = 1, .path = "/a", .interface = "test.i",
                                                          .member = "M", .destination = name, .signature = "s" },
                 &body);
        free(text);
        free(data);
        return n;
}

static void set_serial(uint8_t *m, uint32_t serial)
{
        memcpy(m + 8, &serial, 4); /* little-endian, as the rest */
}

_Noreturn static void serve(const char *way, const char *name)
{
        Conn c = open_bus(way);
        uint8_t *out = malloc(1 << 21);

        pin("BENCH_SERVER_CPU");
        send_all(c.fd, out, bus_call(out, 512, c.serial++, "RequestName", name));
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                size_t at = 0, used = 0;
                const char *why;

                receive(&c);
                for (;;) { /* answers all that is there in one write */
                        ssize_t n = c.used > at ? wire_size(c.buf + at, c.used - at, &why) : 0;
                        WireMessage m, reply;
                        WireBody body;

                        if (n <= 0 || (size_t) n > c.used - at || used > (1 << 20))
                                break;
                        if (wire_parse(c.buf + at, (size_t) n, &m, &why) < 0)
                                die(why);
                        at += (size_t) n;
                        if (m.type != WIRE_CALL)
                                continue;
                        reply = (WireMessage) { .type = WIRE_RETURN, .serial = c.serial++, .reply_serial = m.serial,
                                                .destination = m.sender, .signature = m.signature };
                        body = (WireBody) { .data = (uint8_t *) m.body, .used = m.body_size };
                        used += make(out + used, (1u << 21) - used, reply, &body);
                }
                if (used > 0)
                        send_all(c.fd, out, used);
                drop(&c, at);
        }
}

_Noreturn static void echo(const char *path)
{
        int fd = listen_at(path);
        static uint8_t buf[1 << 18];

        (void) signal(SIGCHLD, SIG_IGN);
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                int client = accept(fd, NULL, NULL);

                if (client < 0)
                        die("accept");
                if (fork() > 0) {
                        close(client);
                        continue;
                }
                pin("BENCH_SERVER_CPU");
                for (;;) {
                        ssize_t n = recv(client, buf, sizeof buf, 0);

                        if (n <= 0)
                                _exit(0);
                        send_all(client, buf, (size_t) n);
                }
        }
}

/* Copies both ways until one side ends. */
static void copy_between(int a, int b)
{
        static uint8_t buf[1 << 18];
        struct pollfd p[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };

        while (poll(p, 2, -1) > 0)
                for (int i = 0; i < 2; i++) {
                        ssize_t n;

                        if (!p[i].revents)
                                continue;
                        n = recv(p[i].fd, buf, sizeof buf, 0);
                        if (n <= 0)
                                exit(0);
                        send_all(p[1 - i].fd, buf, (size_t) n);
                }
}

_Noreturn static void hop(const char *path, const char *target)
{
        int fd = listen_at(path);

        (void) signal(SIGCHLD, SIG_IGN);
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                int client = accept(fd, NULL, NULL);

                if (client < 0)
                        die("accept");
                if (fork() == 0) {
                        pin("BENCH_PROXY_CPU");
                        copy_between(client, connect_to(target));
                }
                close(client);
        }
}

static int line(const char *host, const char *guest)
{
        int a = listen_at(host), b = listen_at(guest);

        (void) chmod(host, 0666);
        printf("ready\n");
        fflush(stdout);
        a = accept(a, NULL, NULL);
        b = accept(b, NULL, NULL);
        copy_between(a, b);
        return 0;
}

static double now(void)
{
        return (double) now_usec();
}

static double now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
        float x = *(const float *) a, y = *(const float *) b;

        return x < y ? -1 : x > y;
}

/* The way: a bus, or "-": an echo, which gives back the message itself. */
static Conn open_way(const char *way, const char *name)
{
        return streq(name, "-") ? (Conn) { .fd = connect_to(way), .serial = 2 } : open_bus(way);
}

/* Takes messages until a reply or, from an echo, anything comes. */
static void take_reply(Conn *c)
{
        for (;;) {
                size_t n = receive(c);
                uint8_t type = c->buf[1];

                if (type == WIRE_ERROR) {
                        fprintf(stderr, "The call was refused\n");
                        exit(1);
                }
                drop(c, n);
                if (type != WIRE_SIGNAL)
                        return;
        }
}

static int latency(const char *way, const char *name, double seconds, size_t bytes)
{
        Conn c = open_way(way, name);
        size_t size = make_call(streq(name, "-") ? "test.echo" : name, bytes);
        float *samples = malloc(SAMPLES_MAX * sizeof *samples);
        double end = now() + seconds * 1e6;
        int n = 0;

        pin("BENCH_CLIENT_CPU");
        while (n < SAMPLES_MAX && now() < end) {
                double start = now_ns();

                set_serial(message, c.serial++);
                send_all(c.fd, message, size);
                take_reply(&c);
                samples[n++] = (float) ((now_ns() - start) / 1000);
        }
        qsort(samples, (size_t) n, sizeof *samples, compare);
        printf("%.2f\n", n ? (double) samples[n / 2] : 0.0);
        free(samples);
        return 0;
}

static int pipeline(const char *way, const char *name, double seconds, int depth)
{
        Conn c = open_way(way, name);
        size_t size = make_call(streq(name, "-") ? "test.echo" : name, 8);
        uint8_t *batch = malloc(size * (size_t) depth);
        double start, end;
        long done = 0;
        int flying = 0;

        pin("BENCH_CLIENT_CPU");
        start = now();
        end = start + seconds * 1e6;
        for (;;) {
                size_t at = 0, used = 0;
                const char *why;

                for (; flying < depth; flying++, used += size) {
                        memcpy(batch + used, message, size);
                        set_serial(batch + used, c.serial++);
                }
                send_all(c.fd, batch, used);
                if (now() > end)
                        break;
                receive(&c);
                for (;;) {
                        ssize_t n = c.used > at ? wire_size(c.buf + at, c.used - at, &why) : 0;

                        if (n <= 0 || (size_t) n > c.used - at)
                                break;
                        if (c.buf[at + 1] != WIRE_SIGNAL) {
                                flying--;
                                done++;
                        }
                        at += (size_t) n;
                }
                drop(&c, at);
        }
        printf("%.0f\n", (double) done * 1e6 / (now() - start));
        return 0;
}

static int idle(const char *way, int count)
{
        for (int i = 0; i < count; i++)
                open_bus(way);
        printf("ready\n");
        fflush(stdout);
        pause();
        return 0;
}

static int busy(const char *way, const char *name, double seconds, int count)
{
        Conn *c = calloc((size_t) count, sizeof *c);
        struct pollfd *p = calloc((size_t) count, sizeof *p);
        size_t size = make_call(name, 8);
        double start, end;
        long done = 0;

        for (int i = 0; i < count; i++) {
                c[i] = open_bus(way);
                p[i] = (struct pollfd) { .fd = c[i].fd, .events = POLLIN };
        }
        pin("BENCH_CLIENT_CPU");
        start = now();
        end = start + seconds * 1e6;
        for (int i = 0; i < count; i++) {
                set_serial(message, c[i].serial++);
                send_all(c[i].fd, message, size);
        }
        while (now() < end && poll(p, (nfds_t) count, 1000) >= 0)
                for (int i = 0; i < count; i++) {
                        if (!p[i].revents)
                                continue;
                        take_reply(&c[i]);
                        done++;
                        set_serial(message, c[i].serial++);
                        send_all(c[i].fd, message, size);
                }
        printf("%.0f\n", (double) done * 1e6 / (now() - start));
        return 0;
}

int main(int argc, char *argv[])
{
        const char *verb = argc > 1 ? argv[1] : "";

        if (streq(verb, "serve") && argc == 4)
                serve(argv[2], argv[3]);
        if (streq(verb, "echo") && argc == 3)
                echo(argv[2]);
        if (streq(verb, "hop") && argc == 4)
                hop(argv[2], argv[3]);
        if (streq(verb, "line") && argc == 4)
                return line(argv[2], argv[3]);
        if (streq(verb, "latency") && argc >= 5)
                return latency(argv[2], argv[3], atof(argv[4]), argc > 5 ? (size_t) atol(argv[5]) : 8);
        if (streq(verb, "pipeline") && argc == 6)
                return pipeline(argv[2], argv[3], atof(argv[4]), atoi(argv[5]));
        if (streq(verb, "idle") && argc == 4)
                return idle(argv[2], atoi(argv[3]));
        if (streq(verb, "busy") && argc == 6)
                return busy(argv[2], argv[3], atof(argv[4]), atoi(argv[5]));
        fprintf(stderr, "usage: see the head of bench/bench-rpc-proxy.c\n");
        return 2;
}

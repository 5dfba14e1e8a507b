/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Load for bench/dbd: a number of connections that each have one request under way all the time.
 *
 *     oxt-bench-db-load MODES CLIENTS SECONDS VMS KEYS [COPY]
 *
 * MODES are one or more of, separated by commas: read and write, of random keys /vm/<i>/k<j> of that many VMs
 * and keys; echo, which asks oxt-bench-echo with the same texts; sqlite, which commits the rows of a write in
 * this process on COPY, a copy of the database. With several, each client takes them in turn, so that all see
 * the same load of the machine. Prints for each mode a line: its name, how many a second, and the median, 99th
 * percentile and longest time of one in microseconds.
 */
#include <assert.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bench-rows.h"
#include "daemon.h"
#include "db-client.h"
#include "strbuf.h"

#define ECHO_SERVICE "org.oxt.BenchEcho"
#define SAMPLES_MAX 1000000

typedef struct Mode {
        const char *name;
        uint32_t *samples;
        size_t n;
} Mode;

typedef struct Client {
        sd_bus *bus;
        uint64_t begin;
        Mode *mode; /* what is under way */
} Client;

static Mode modes[4];
static size_t n_modes, n_errors;
static uint32_t n_vms, n_keys, random_state = 1;
static uint64_t end_time, warm_until;
static Rows *rows;

static uint32_t rnd(uint32_t n)
{
        random_state = random_state * 1664525 + 1013904223;
        return (uint32_t) (((uint64_t) random_state * n) >> 32);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error);

static void note(Client *c)
{
        uint64_t now = now_usec();

        if (now > warm_until && c->mode->n < SAMPLES_MAX)
                c->mode->samples[c->mode->n++] = (uint32_t) (now - c->begin);
}

static void request(Client *c)
{
        char path[80], value[24];
        int r;

        c->mode = c->mode ? modes + (size_t) (c->mode - modes + 1) % n_modes : modes;
        if (streq(c->mode->name, "sqlite")) {
                c->begin = now_usec();
                rows_commit(rows);
                note(c);
                c->mode = modes + (size_t) (c->mode - modes + 1) % n_modes;
        }
        snprintf(path, sizeof path, "/vm/%08x-0000-4000-8000-000000000000/k%u", rnd(n_vms), rnd(n_keys));
        snprintf(value, sizeof value, "%llu", (unsigned long long) now_usec());
        c->begin = now_usec();
        if (streq(c->mode->name, "write"))
                r = sd_bus_call_method_async(c->bus, NULL, DB_SERVICE, "/", DB_INTERFACE, "write", on_reply, c, "ss", path, value);
        else
                r = sd_bus_call_method_async(c->bus, NULL, streq(c->mode->name, "echo") ? ECHO_SERVICE : DB_SERVICE, "/",
                                             DB_INTERFACE, "read", on_reply, c, "s", path);
        assert(r >= 0);
}

static int on_reply(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        Client *c = userdata;

        n_errors += sd_bus_message_is_method_error(m, NULL) > 0;
        note(c);
        if (now_usec() > end_time)
                return sd_event_exit(sd_bus_get_event(c->bus), 0);
        request(c);
        return 0;
}

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
        _cleanup_strv_ char **names = NULL;
        sd_event *event = NULL;
        Client *clients;
        double seconds;
        int n;

        if (argc < 6) {
                fprintf(stderr, "Usage: oxt-bench-db-load MODES CLIENTS SECONDS VMS KEYS [COPY]\n");
                return 2;
        }
        assert(strv_split(argv[1], ',', &names) >= 0 && strv_length(names) <= ELEMENTSOF(modes));
        for (char **name = names; *name; name++) {
                modes[n_modes] = (Mode) { .name = *name, .samples = calloc(SAMPLES_MAX, sizeof(uint32_t)) };
                assert(modes[n_modes++].samples);
        }
        n = atoi(argv[2]);
        seconds = atof(argv[3]);
        n_vms = (uint32_t) atoi(argv[4]);
        n_keys = (uint32_t) atoi(argv[5]);
        rows = argc > 6 ? rows_open(argv[6]) : NULL;
        clients = calloc((size_t) n, sizeof *clients);
        assert(clients && sd_event_default(&event) >= 0);
        for (int i = 0; i < n; i++)
                assert(bus_open(NULL, &clients[i].bus) >= 0 && sd_bus_attach_event(clients[i].bus, event, 0) >= 0);
        warm_until = now_usec() + (uint64_t) (seconds * 0.2e6);
        end_time = warm_until + (uint64_t) (seconds * 1e6);
        for (int i = 0; i < n; i++)
                request(clients + i);
        (void) sd_event_loop(event);
        for (size_t i = 0; i < n_modes; i++) {
                Mode *m = modes + i;

                qsort(m->samples, m->n, sizeof *m->samples, compare);
                if (m->n == 0 || n_errors > 0) {
                        fprintf(stderr, "%s: %zu answers; %zu errors\n", m->name, m->n, n_errors);
                        return 1;
                }
                printf("%s %.0f %u %u %u\n", m->name, (double) m->n / seconds, m->samples[m->n / 2],
                       m->samples[m->n * 99 / 100], m->samples[m->n - 1]);
        }
        return 0;
}

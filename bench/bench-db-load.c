/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Load for bench/dbd: a number of connections that each have one request under way all the time.
 *
 *     oxt-bench-db-load read|write|echo CLIENTS SECONDS VMS KEYS
 *
 * read and write use random keys /vm/<i>/k<j> of that many VMs and keys; echo calls oxt-bench-echo with the
 * same texts. Prints: requests a second, median, 99th percentile and longest time of one in microseconds.
 */
#include <assert.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon.h"
#include "db-client.h"

#define ECHO_SERVICE "org.oxt.BenchEcho"
#define SAMPLES_MAX 4000000

typedef struct Client {
        sd_bus *bus;
        uint64_t begin;
} Client;

static const char *mode;
static uint32_t n_vms, n_keys, random_state = 1;
static uint32_t *samples;
static size_t n_samples, n_errors;
static uint64_t end_time, warm_until;

static uint32_t rnd(uint32_t n)
{
        random_state = random_state * 1664525 + 1013904223;
        return (uint32_t) (((uint64_t) random_state * n) >> 32);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error);

static void request(Client *c)
{
        char path[80], value[24];
        int r;

        snprintf(path, sizeof path, "/vm/%08x-0000-4000-8000-000000000000/k%u", rnd(n_vms), rnd(n_keys));
        snprintf(value, sizeof value, "%llu", (unsigned long long) now_usec());
        c->begin = now_usec();
        if (streq(mode, "write"))
                r = sd_bus_call_method_async(c->bus, NULL, DB_SERVICE, "/", DB_INTERFACE, "write", on_reply, c, "ss", path, value);
        else
                r = sd_bus_call_method_async(c->bus, NULL, streq(mode, "echo") ? ECHO_SERVICE : DB_SERVICE, "/", DB_INTERFACE,
                                             "read", on_reply, c, "s", path);
        assert(r >= 0);
}

static int on_reply(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        Client *c = userdata;
        uint64_t now = now_usec();

        n_errors += sd_bus_message_is_method_error(m, NULL) > 0;
        if (now > end_time)
                return sd_event_exit(sd_bus_get_event(c->bus), 0);
        if (now > warm_until && n_samples < SAMPLES_MAX)
                samples[n_samples++] = (uint32_t) (now - c->begin);
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
        sd_event *event = NULL;
        Client *clients;
        double seconds;
        int n;

        if (argc != 6) {
                fprintf(stderr, "Usage: oxt-bench-db-load read|write|echo CLIENTS SECONDS VMS KEYS\n");
                return 2;
        }
        mode = argv[1];
        n = atoi(argv[2]);
        seconds = atof(argv[3]);
        n_vms = (uint32_t) atoi(argv[4]);
        n_keys = (uint32_t) atoi(argv[5]);
        clients = calloc((size_t) n, sizeof *clients);
        samples = calloc(SAMPLES_MAX, sizeof *samples);
        assert(clients && samples && sd_event_default(&event) >= 0);
        for (int i = 0; i < n; i++)
                assert(bus_open(NULL, &clients[i].bus) >= 0 && sd_bus_attach_event(clients[i].bus, event, 0) >= 0);
        warm_until = now_usec() + (uint64_t) (seconds * 0.2e6);
        end_time = warm_until + (uint64_t) (seconds * 1e6);
        for (int i = 0; i < n; i++)
                request(clients + i);
        (void) sd_event_loop(event);
        qsort(samples, n_samples, sizeof *samples, compare);
        if (n_samples == 0 || n_errors > 0) {
                fprintf(stderr, "%zu answers, %zu errors\n", n_samples, n_errors);
                return 1;
        }
        printf("%.0f %u %u %u\n", (double) n_samples / seconds, samples[n_samples / 2], samples[n_samples * 99 / 100],
               samples[n_samples - 1]);
        return 0;
}

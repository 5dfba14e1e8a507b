/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What every daemon has in common: the shared options, settings and paths, giving up root, one
 * sd_event loop, signals, readiness, and a bus connection that comes back when the bus does.
 */
#include <systemd/sd-event.h>

#include "options.h"
#include "paths.h"
#include "service.h"

typedef struct Daemon Daemon;

typedef struct DaemonSpec {
        Program program;     /* more_options is filled in by daemon_run */
        const char *user;    /* the user it becomes when started by root; NULL: keeps root */
        struct {
                PathId id;
                unsigned mode; /* 0: end of list */
                const char *owner; /* another user; NULL: the daemon's */
        } dirs[12];          /* made at start; where root starts it, owned by that user */
        bool no_bus;         /* it never connects to a bus */
        const char *bus_name;      /* requested each time the bus is up, after bus_up; NULL: none */
        const ServiceSpec *service; /* NULL: no objects */
        bool service_has_guests;   /* a CallerMap is kept */

        /* All get the userdata of daemon_run(); each may be NULL; negative errno ends the daemon. */
        int (*start)(Daemon *d, void *userdata, char *words[]); /* once, after the options; words: what is no option */
        int (*bus_up)(Daemon *d, void *userdata);    /* each time: matches, watches. May call the bus synchronously */
        int (*ready)(Daemon *d, void *userdata);     /* each time, after the name is owned */
        void (*bus_down)(Daemon *d, void *userdata); /* each time: drop what belonged to the bus */
        int (*reload)(Daemon *d, void *userdata);    /* SIGHUP */
        int (*stop)(Daemon *d, void *userdata);      /* SIGTERM, SIGINT: 1: end now; 0: daemon_exit() comes later */
        void (*end)(Daemon *d, void *userdata);      /* last, whatever happened */
} DaemonSpec;

struct Daemon {
        const DaemonSpec *spec;
        void *userdata;
        Paths paths;
        sd_event *event;
        sd_bus *bus;         /* NULL while the bus is away */
        CallerMap *callers;  /* with service_has_guests */
        Service *service;
        struct DaemonState *state;
};

/* Runs to the end. Returns the exit status: 0, 1 (failure, logged), 2 (usage). */
int daemon_run(const DaemonSpec *spec, void *userdata, int argc, char *argv[]);
/* Ends the loop; daemon_run() then returns status. */
void daemon_exit(Daemon *d, int status);

/*
 * The address that tools and daemons connect to: DBUS_SYSTEM_BUS_ADDRESS if set, else the stack's
 * private socket if it exists or the stack is to have one, else the host's system bus. NULL on out of memory.
 */
char *bus_address(const Paths *p);

/* Connects a tool. address NULL: bus_address() of the default stack. Returns a started connection. */
int bus_open(const char *address, sd_bus **ret);
/* For tools: handles what comes until *waiting, which the callbacks count down, is 0. Returns 0 or negative errno. */
int bus_wait_answers(sd_bus *bus, const size_t *waiting);

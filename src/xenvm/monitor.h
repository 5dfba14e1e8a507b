/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The monitor of one VM: its state, what is written down of it, and at most one long operation at a time.
 * The state machine is that of the monitor contract; transports (D-Bus, socket) and the back end are
 * outside.
 */
#include <systemd/sd-event.h>

#include "backend.h"
#include "notify.h"
#include "request.h"
#include "runtime.h"
#include "savefile.h"

typedef struct Monitor Monitor;

typedef enum VmState {
        STATE_SHUTDOWN,
        STATE_CREATING_DOMAIN,
        STATE_CREATING_DEVICES,
        STATE_CREATED,
        STATE_RUNNING,
        STATE_PAUSED,
        STATE_SHUTDOWNING,
        STATE_REBOOTING,
        STATE_REBOOTED,
        STATE_SUSPENDING,
        STATE_SUSPENDED,
        STATE_RESTORING,
        _STATE_MAX,
} VmState;

const char *vm_state_to_text(VmState s);

typedef enum OpKind {
        OP_START,
        OP_HALT,
        OP_REBOOT,
        OP_DESTROY,
        OP_SUSPEND,
        OP_RESTORE,
        OP_CHECKPOINT,
        OP_S3,
        OP_S4,
        OP_AFTER, /* what follows the end of the guest: on_halt, on_reboot, on_crash */
} OpKind;

/* A long operation. Freed when it is finished; what the back end still has to say to one that was given up is not heard. */
typedef struct Op {
        OpKind kind;
        VmDone awaits;     /* the answer of the back end with which it goes on (op_await) */
        Request *request; /* NULL: nobody waits */
        bool paused, forced, auto_start, live, delete_file;
        bool acknowledged; /* the guest listens */
        bool asked_agent;
        VmState then;      /* after the kill: STATE_SHUTDOWN, or STATE_REBOOTED and so on */
        bool restart;      /* start again after that */
        bool then_shutdown; /* from rebooted on to shutdown */
        char *file, *tmp_file; /* tmp_file is removed with the Op, if it is still there */
        int fd;
        SaveHeader header;
        SaveSum sum;
        struct Flush *flush; /* while the file is written to the disk */
        VmState before;
        char *why;         /* of the failure that is told once the VM runs again */
        bool cancelled;
        uint64_t begin, done, total;
        int64_t timeout; /* seconds */
        sd_event_source *timer, *deadline;
} Op;

struct Monitor {
        Paths paths;
        sd_event *event;
        char uuid[37];
        char *dir;            /* <runtime>/vm/<uuid> */
        int lock_fd;
        VmConfig *config;     /* of the VM that runs, or ran last */
        VmConfig *next;       /* for the next start; NULL: the same */
        bool strict;
        const Backend *backend;
        Vm *vm;               /* NULL: none */
        VmState state;
        int64_t domid;        /* -1: none */
        int acpi_state;       /* 5: none */
        int64_t memory_target_kib, memory_actual_kib; /* 0: none */
        char start[33];       /* of this start of the VM; "": none */
        char intent[16];
        char **changes;       /* of its devices while it ran (devices.c) */
        char **usb;           /* names of USB devices that were plugged in */
        Op *op;
        uint64_t started_at;  /* monotonic; of the last start */
        int64_t restarts;     /* automatic ones in a row */
        Timeline timeline;
        Notify *notify;
        int exit_status;
        struct BusLink *bus;      /* monitor-dbus.c */
        struct SocketServer *socket; /* monitor-socket.c */
        void (*adopted)(Monitor *m); /* while a VM is being taken on */
        bool serving;
        bool quitting;        /* as soon as m->op has ended */
        bool failed_start;    /* the start at start-up failed: the monitor ends once that was told */
};

int monitor_new(const Paths *paths, const char *uuid, VmConfig *config, Monitor **ret); /* takes config */
Monitor *monitor_free(Monitor *m);
DEFINE_CLEANUP(Monitor *, monitor_free)

/* Takes on the VM that the record tells of, if it still runs. done: userdata is the monitor. Returns 1 if it was begun, 0: no VM. */
int monitor_adopt(Monitor *m, const MonitorRecord *record, void (*done)(Monitor *m));

void monitor_set_state(Monitor *m, VmState s);
void monitor_save_record(Monitor *m);
void monitor_set_intent(Monitor *m, const char *intent); /* "": none */
/* The guest's own part of the timeline: its agent, its boot sentinel. The first time of each start counts. */
void monitor_guest_reached(Monitor *m, TimelinePhase phase);
void monitor_announce(Monitor *m);   /* the guest channel */
void monitor_drop_vm(Monitor *m);    /* after it is gone: forgets it */
/* What the VM is started with, for a monitor that takes it on; until it is dropped. */
void monitor_keep_config(const Monitor *m);
void monitor_forget_config(const Monitor *m);
/* The configuration for the next start becomes the current one. */
void monitor_switch_config(Monitor *m);
const VmConfig *monitor_next_config(const Monitor *m);
/* A copy to change; becomes the next configuration with monitor_take_next(). */
int monitor_copy_next(Monitor *m, VmConfig **ret);
void monitor_take_next(Monitor *m, VmConfig *c);
/* Reads the config file (path NULL: the one it came from). 0, or -errno with *ret_why (to free). */
int monitor_read_config(Monitor *m, const char *path, char **ret_why);
void monitor_quit(Monitor *m, int status);

/* operations.c */
extern const VmEvents monitor_vm_events;
void op_start(Monitor *m, Request *q, bool paused);
void op_halt(Monitor *m, Request *q, bool forced);
void op_reboot(Monitor *m, Request *q, bool forced, bool auto_start);
void op_destroy(Monitor *m, Request *q);
void op_suspend(Monitor *m, Request *q, const char *file, bool live);
void op_restore(Monitor *m, Request *q, const char *file, bool paused, bool delete_file);
void op_checkpoint(Monitor *m, Request *q, const char *file);
void op_sleep(Monitor *m, Request *q, OpKind kind, int64_t timeout);
/* Brings to its end what a former monitor was killed in: m->intent says what. */
void op_resume(Monitor *m);
void op_cancel(Monitor *m, Request *q);
/* Ends the monitor, and leaves the VM as it is; one that is being saved goes on first. */
void op_quit(Monitor *m);
const char *op_name(OpKind kind);
/* One is under way that others must not interfere with; while a halt or sleep waits for the guest, that goes on as before. */
bool op_holds_vm(const Monitor *m);
/* The agent's answer to a request that monitor_bus_ask_agent() carried. */
void op_agent_answered(Monitor *m, bool accepted);

/* commands.c: finds, checks and runs a command. arguments: "name=value" texts, NULL-terminated. */
void command_run(Monitor *m, Request *q, const char *name, char *const *arguments);

/* monitor-dbus.c */
int monitor_bus_start(Monitor *m, const char *address);
void monitor_bus_stop(Monitor *m);
int monitor_bus_emit(void *userdata, int code, const char *message);
/* Asks the guest's agent: "request_shutdown" and so on. Negative: there is no bus. */
int monitor_bus_ask_agent(Monitor *m, const char *member);

/* monitor-socket.c */
int monitor_socket_start(Monitor *m);
void monitor_socket_stop(Monitor *m);

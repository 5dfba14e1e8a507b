/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Runtime files: what a monitor (xenvm) tells the rest of the stack about its VM, so that everything can
 * be found again after any process was killed. All are JSON with a "version", and are replaced whole by
 * rename: a reader sees the old or the new one. They live in the runtime directory and need not survive
 * the host.
 *
 *     <runtime>/vm/<uuid>/monitor.json     MonitorRecord, as long as there is a monitor or a VM
 *     <runtime>/channel/<uuid>.json        ChannelRecord, exactly while the VM exists
 */
#include <sys/types.h>

#include "paths.h"

#define RUNTIME_VERSION 1

/* A process, named by pid and start time (fs.h). pid 0: none. */
typedef struct ProcessRef {
        pid_t pid;
        uint64_t start;
} ProcessRef;

typedef struct MonitorRecord {
        char uuid[37];
        char *name;    /* of the VM; may be NULL */
        char *backend; /* "qemu", "xen" */
        char *state;   /* state word of the monitor contract */
        char *intent;  /* what the monitor was about to do to the VM ("halt", "destroy", …); NULL: nothing */
        char *config;  /* path of the config file; NULL: none */
        char *start;   /* random hex of this start of the VM; NULL: no VM */
        char *saving;  /* file that is being written and is worth nothing until it is whole; NULL: none */
        char *timeline; /* of this start; the monitor's own business; NULL: none */
        int64_t domid; /* -1: no VM */
        int64_t acpi_state;
        int64_t memory_target_kib, memory_actual_kib; /* what the guest is to have, and what it is known to have; 0: no VM */
        int64_t serial_restarts; /* automatic restarts in a row, for the throttle */
        ProcessRef monitor, vm;
        char *details; /* JSON object that is the back end's own business; NULL: none */
} MonitorRecord;

typedef struct ChannelRecord {
        char uuid[37];
        int64_t domid;
        int64_t cid; /* of this start, on AF_VSOCK; 0: none */
        bool stubdom;
        char *socket;
        char *start; /* random hex of this start of the VM */
} ChannelRecord;

/*
 * Makes <runtime>/vm/<uuid> with its parents: for its owner alone, and for the proxy to pass through to the guest's channel,
 * where that is another user. Returns 0 or negative errno.
 */
int runtime_make_vm_dir(const Paths *p, const char *uuid);

/* Writing and removing return 0 or negative errno; removing one that is not there is fine. */
int monitor_record_write(const Paths *p, const MonitorRecord *r);
/* Returns 0, -ENOENT, -EBADMSG (damaged, or of a newer version) or another errno. Free with _done. */
int monitor_record_read(const Paths *p, const char *uuid, MonitorRecord *ret);
int monitor_record_remove(const Paths *p, const char *uuid);
void monitor_record_done(MonitorRecord *r);

/*
 * Listens on <vm_dir>/rpc.sock, the host's end of a guest channel. rpc-proxy runs as a user of its own and is let in by
 * group: where we are root, or xenmgr's user, which belongs to that group. In the stack of an ordinary user all are
 * the same user. Returns the descriptor or negative errno.
 */
int channel_listen(const char *vm_dir);
/* The directory (0755) is made when missing. */
int channel_record_write(const Paths *p, const ChannelRecord *r);
int channel_record_read(const Paths *p, const char *uuid, ChannelRecord *ret);
int channel_record_remove(const Paths *p, const char *uuid);
void channel_record_done(ChannelRecord *r);

/* The uuids that have a record: sorted, NULL-terminated, to be freed with strv_free. */
int monitor_record_list(const Paths *p, char ***ret);
int channel_record_list(const Paths *p, char ***ret);

/* The uuid in the file name of a channel record ("<uuid>.json"); NULL if it is none. */
char *channel_record_uuid(const char *file_name, char buf[static 37]);

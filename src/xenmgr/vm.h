/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One VM: what is configured (read from the mirror), what its monitor says, and what is being done
 * with it. See lifecycle.h for the operations.
 */
#include "manager.h"
#include "vm-keys.h"

/* The monitor's state words; the internal state is one of these. */
typedef enum VmState {
        VM_SHUTDOWN,
        VM_CREATING_DOMAIN,
        VM_CREATING_DEVICES,
        VM_CREATED,
        VM_RUNNING,
        VM_PAUSED,
        VM_SHUTDOWNING,
        VM_REBOOTING,
        VM_REBOOTED,
        VM_SUSPENDING,
        VM_SUSPENDED,
        VM_RESTORING,
        _VM_STATE_MAX,
} VmState;

typedef enum ShutdownReason {
        REASON_CREATION_FAILURE,
        REASON_HALT,
        REASON_REBOOT,
        REASON_RESTARTING,
        REASON_HIBERNATE,
        REASON_ACPI_POWEROFF,
} ShutdownReason;

typedef struct Job Job;
typedef struct MonitorCall MonitorCall;
typedef struct VmEvent VmEvent;
typedef struct Look Look;

struct Vm {
        Manager *manager;
        char uuid[37];
        char path[48]; /* /vm/<uuid, '-' as '_'> */

        const DbNode *node; /* cache, see vm_node() */
        uint64_t node_generation;
        uint64_t slot_generation; /* 0, or that of what vm_taken_slot() found */
        int taken_slot;

        VmState state;
        int64_t domid, stubdomid, acpi_state;
        ShutdownReason reason;
        bool unknown_state; /* the monitor has not told its state yet: `state` is what was known before */
        bool fresh;         /* was there before this manager, which has not heard of it yet: what it hears first is no news */
        bool building;      /* it was told to build the VM, and has not answered: what it will tell is on the way */

        /* The monitor process: see monitor-client.h */
        char *monitor;         /* its unique bus name, or NULL */
        bool monitor_quitting; /* was told to end */
        bool spawn_over;       /* no monitor is to come of the process that brings one up: it came already, or was killed */
        bool spawn_again;      /* another one is wanted as soon as that process has ended */
        MonitorCall *calls;    /* waiting for answers */
        int monitor_pidfd, monitor_errors; /* of a monitor that is coming up */
        struct HelperCall *monitor_helper; /* which starts it, on a Xen host */
        sd_event_source *monitor_exit, *monitor_retry, *monitor_watch;
        MonitorCall *probe; /* whether it answers at all */
        unsigned monitor_deaths; /* in a row, for the back-off */
        unsigned spawn_attempts; /* in a row, that met one which was ending */

        VmEvent *events, **events_end; /* not handled yet, oldest first */
        bool event_waits;              /* the first one waits for the domid */

        Look *looks; /* questions of those who look at it: vm-look.c */

        Job *job;   /* the running one; others wait behind it */
        bool deleting;
        int64_t memory_mib;  /* that it may take, see memory.h; 0: none */
        int64_t target_mib;  /* see memory_target_mib(); 0: not known yet */
        int memory_pid;      /* who takes it; 0: not known yet */
        bool memory_reduced; /* started with memory-min */
        uint64_t started_usec;
        unsigned quick_reboots; /* in a row */
        unsigned quick_deaths; /* keep-alive: ends soon after a start, in a row */
        sd_event_source *keep_alive;
        struct Timeline *timeline;
        struct Reconnect *reconnects;   /* of its network cards, see network-backends.h */
        struct GuestNodes *guest_nodes; /* see guest-nodes.h */

        uint64_t config_changed_at; /* vm_config_changed is due then; 0: not */
        bool agent;                 /* the guest's agent is on the bus */
        bool own_create;            /* vm_created is sent by who makes it */
        bool asked_down;            /* by shutdown-all.c */
        bool mark;                  /* for manager_sync_vms */
};

int vm_new(Manager *m, const char *uuid, Vm **ret);
Vm *vm_free(Vm *vm);

/* Reading. Paths are relative to /vm/<uuid>/; fallback is what a missing node gives. */
const DbNode *vm_node(Vm *vm); /* NULL: gone from the database */
const DbNode *vm_find(Vm *vm, const char *path);
bool vm_has(Vm *vm, const char *path);
const char *vm_text(Vm *vm, const char *path, const char *fallback);
bool vm_bool(Vm *vm, const char *path, bool fallback);
int64_t vm_int(Vm *vm, const char *path, int64_t fallback);
/* The items of a list, by their numbers, whatever order the database has them in. Adds to *ret; 0 or -ENOMEM. */
int vm_list(Vm *vm, const char *path, char ***ret);
/* "/vm/<uuid>/<formatted>"; buf is returned. */
#define VM_PATH_MAX 512
char *vm_db_path(const Vm *vm, char buf[static VM_PATH_MAX], const char *fmt, ...) _printf_(3, 4);

/*
 * Writing. A transaction for that part of the VM ("" is all of it, "config/disk/3" a disk): it does nothing once that is gone, whoever
 * removed it, so that a write which crosses a deletion brings nothing back. All that is written below /vm/<uuid> goes this way.
 */
DbTx *vm_tx_new(const Vm *vm, const char *record);
/* Commit such a one (used up), as manager_commit() does. What is gone is a success that did nothing, or for a record 206 or 222. */
int vm_commit(Vm *vm, DbTx *tx, Call *c);
int vm_commit_record(Vm *vm, DbTx *tx, const char *kind /* disk, nic */, Call *c, const char *object_path);
/* The same; once it is durable (done) or refused, and before c hears of it, then is called. Not if this fails. */
int vm_commit_then(Vm *vm, DbTx *tx, const char *kind, Call *c, void (*then)(bool done, void *userdata), void *userdata);
void vm_commit_quietly(Vm *vm, DbTx *tx, const char *what);
/* Stores one value that nobody waits for, if it is another. */
void vm_write_quietly(Vm *vm, const char *key, const char *value);

/* Values that need more than the node: the contract's overrides. */
bool vm_is_service(Vm *vm);
bool vm_is_hvm(Vm *vm);
bool vm_native(Vm *vm);
bool vm_autostarts(Vm *vm);
bool vm_stubdom(Vm *vm);
bool vm_has_amt(Vm *vm); /* Intel AMT is passed through to it */
bool vm_vault_closed(Vm *vm); /* its user's vault is not mounted */
int64_t vm_acpi_state(Vm *vm);
int vm_taken_slot(Vm *vm); /* the switcher's slot that this VM has as a guest; 0: none */
bool vm_is_running(const Vm *vm); /* neither shutdown nor rebooted */
bool vm_may_run(const Vm *vm);    /* or nobody can tell at present: what must not be done to a running VM is not done */

const char *vm_state_word(VmState s);
const char *vm_state_public(VmState s);
VmState vm_state_from_word(const char *word); /* _VM_STATE_MAX: unknown */
/* The `state` property: locked in place of stopped when the vault is closed. */
const char *vm_public_state(Vm *vm);

/* vm_config_changed is due half a second after the last change of a burst. */
void vm_config_touched(Vm *vm);

/* What a VM has by number, below "config/<kind>". Ends with a row without kind. */
typedef struct RecordKind {
        const char *kind;
        size_t max;
} RecordKind;
enum { RECORD_DISK, RECORD_NIC };
extern const RecordKind record_kinds[];
int fail_too_many(Call *c, const RecordKind *k); /* as call_fail() */
/* Records: ids of the children of "config/disk" or "config/nic" that are numbers, ascending. */
size_t vm_record_ids(Vm *vm, const char *kind, unsigned *ret, size_t max);
/* The MAC address that a nic has: the configured or the derived one; buf has room for 18 bytes. */
char *vm_nic_mac(Vm *vm, unsigned id, char buf[static 18]);
/* The VM that serves the nic, by backend-uuid, backend-name or default; NULL: none. *ret_explicit: it is named. */
Vm *vm_nic_backend(Vm *vm, unsigned id, bool *ret_explicit);

/* D-Bus: the interfaces of a VM object and of its records, ended by NULL. */
extern const BusInterface *const vm_interfaces[];
extern const BusInterface *const disk_interfaces[];
extern const BusInterface *const nic_interfaces[];
void vm_properties_init(void); /* fills the property tables from vm_keys; once */
void record_properties_init(void);
extern BusProperty vm_properties_restricted[], vm_properties_unrestricted[];
/* Fails with 202 when the VM's policy forbids changes; true: it did. */
bool vm_refuse_by_policy(Vm *vm, Call *c);
/* Fails when the caller is a guest; what: for the text. true: it did. */
bool refuse_guest(Call *c, const char *what);
/* The same, but for the guest that is the host's user interface (type uivm), or the synchroniser (syncvm). */
bool refuse_guest_but_ui(Call *c, const char *what);
bool refuse_guest_but_synchroniser(Call *c, const char *what);
/* Fails when a VM's name is longer than it may be. true: it did. */
bool refuse_long_name(Call *c, const char *name);

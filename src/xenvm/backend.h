/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the monitor needs of that which runs virtual machines. All policy (states, notifications, on_*
 * actions, limits) is above this line; a back end knows nothing of it.
 *
 * A Vm is one start of the VM: from create() or adopt() until free(). Everything is asynchronous: where
 * there is a VmDone, it is called exactly once, never from within the call that was given it (but for vnc_port and
 * usage, which may answer at once), unless that call fails. At the latest free() calls it, with -ECANCELED, but for those
 * of create(), adopt(), save() and kill(), which may come no more.
 */
#include <systemd/sd-event.h>

#include "config.h"
#include "runtime.h"
#include "timeline.h"
#include "usage.h"
#include "usb.h"

typedef struct Vm Vm;

/* r: 0 or negative errno; text: the failure in words (never NULL then), or a result. */
typedef void (*VmDone)(void *userdata, int r, const char *text);

typedef enum VmEnd { VM_END_POWEROFF, VM_END_REBOOT, VM_END_CRASH, VM_END_WATCHDOG } VmEnd;

typedef enum VmStatus {
        VM_STATUS_CREATED, /* complete, never ran */
        VM_STATUS_RUNNING,
        VM_STATUS_PAUSED,
        VM_STATUS_ENDED,   /* the guest is no more, the device model waits to be killed */
        VM_STATUS_OTHER,   /* in the middle of being made, saved or restored */
} VmStatus;

typedef enum VmDeviceKind { VM_DEVICE_DISK, VM_DEVICE_NIC, VM_DEVICE_PCI, VM_DEVICE_USB } VmDeviceKind;

typedef struct VmEvents {
        void (*phase)(void *userdata, TimelinePhase phase);
        /* The guest ended. The VM is still there, stopped, until kill(). Can come again after an adoption. */
        void (*ended)(void *userdata, VmEnd end);
        /* The VM is gone though nobody asked for it: a crash, but see Backend.end_stays. Only free() is left to do. */
        void (*gone)(void *userdata, const char *why);
        /* In adopt(): it does not answer for now, and is kept. done comes when it answers; until then kill() alone can do something. */
        void (*silent)(void *userdata);
        /* The guest has let go of a device that nobody was waiting for; id as for detach(). It may not be one that is known. */
        void (*unplugged)(void *userdata, VmDeviceKind kind, const char *id);
        void (*power_state)(void *userdata, int acpi_state);
        void (*node)(void *userdata, const char *untrusted_node, const char *untrusted_value); /* as in xenstore */
        void (*clock_changed)(void *userdata, int64_t offset); /* seconds against UTC */
        void (*stopped)(void *userdata, const char *why);      /* by itself, on a disk error */
        void (*progress)(void *userdata, uint64_t done, uint64_t total); /* of save() */
} VmEvents;

typedef struct VmSpec {
        const Paths *paths;
        sd_event *event;
        const VmConfig *config; /* valid as long as the Vm */
        const char *uuid;
        const char *dir;        /* the VM's own runtime directory, exists */
        int64_t domid;
        int restore_fd;         /* a saved state to begin with, or -EBADF; taken over */
        bool runs_at_once;      /* run() follows as soon as create() is done: a back end may prepare for that */
        const char *restore_shape; /* what shape() said when it was saved; only looked at in create() */
        const VmConfig *shape_config; /* then: the config at the VM's start, if devices were changed since; or NULL */
        uint32_t plugged_nics;     /* then: cards (a bit for each id) that were plugged in */
        const VmEvents *events;
        void *userdata;         /* of the events */
} VmSpec;

/* What a request to the guest asks for. */
typedef enum VmAsk { VM_ASK_POWEROFF, VM_ASK_REBOOT, VM_ASK_SLEEP, VM_ASK_HIBERNATE, VM_ASK_WAKE } VmAsk;

/* Texts of a success: the guest listens; it never will, so that only its end is left. */
#define ASK_ACKNOWLEDGED "acknowledged"
#define ASK_DEAF "deaf"

typedef struct VmDevice {
        VmDeviceKind kind;
        union {
                const VmDisk *disk;
                const VmNic *nic;
                const VmPci *pci;
                const UsbDevice *usb;
        };
} VmDevice;

/* What who waits for the answer to a command is told when the Vm goes before it. */
#define VM_GIVEN_UP "given up: the VM, or its monitor, has ended"

typedef struct HostFacts {
        uint64_t total_kib, free_kib;
        unsigned cpus;
} HostFacts;

typedef struct Backend {
        const char *name;
        /* 0, or negative errno with *ret_why (static): what this host lacks. */
        int (*available)(const char **ret_why);
        /* What would be run, a line for each argument, and all that the config asks for in vain. */
        int (*describe)(const VmSpec *spec, char **ret, char **ret_why);

        /* Builds it, stopped before its first instruction. On failure nothing is left behind. */
        int (*create)(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why); /* why: to free, may be NULL */
        /* Takes on one that runs, as the record says. Pending events are delivered before done. -ESRCH: it is gone. */
        int (*adopt)(const VmSpec *spec, const MonitorRecord *record, VmDone done, void *userdata, Vm **ret);
        /* Ends the handle, not the VM. After it no callback is called any more. */
        Vm *(*free)(Vm *vm);
        VmStatus (*status)(const Vm *vm); /* from memory */
        ProcessRef (*process)(const Vm *vm);
        bool end_stays; /* a guest's own end, a crash too, leaves the VM there: one that is gone was destroyed by somebody else */
        /*
         * Where the hypervisor gives the numbers: that of the VM once it is created (else -1). NULL: the
         * monitor gives them, in VmSpec.
         */
        int64_t (*domid)(const Vm *vm);
        /* The number of a VM with that uuid, whoever made it, or -1. NULL: the host cannot be asked. */
        int64_t (*find)(const char *uuid);
        /* Shows the monitor's state to other programs of the host; NULL as state: there is no monitor any more. May be NULL itself. */
        void (*publish)(const char *uuid, const char *name, int64_t domid, const char *state);
        /* The domain in which the device model runs, or -1. NULL: there are none. */
        int64_t (*stubdomid)(const Vm *vm);
        /*
         * The same of what the manager knows of the VM that runs. Returns 0 or negative errno (-EINVAL: it is
         * not one of those that may be shown). NULL: there is no such place.
         */
        int (*show)(Vm *vm, const char *name, const char *value);
        bool checks_memory; /* create() sees itself whether there is enough */
        /* What the hypervisor has in all. Returns 0 or negative errno. NULL: the host's kernel knows it. */
        int (*host)(HostFacts *ret);
        int64_t (*free_kib)(void); /* what the hypervisor has for new VMs, or -1. NULL: it is the host's own memory */
        char *(*details)(const Vm *vm);   /* for the record: JSON, or NULL */
        unsigned (*round_trips)(const Vm *vm);

        int (*run)(Vm *vm, VmDone done, void *userdata);   /* from created or paused */
        int (*pause)(Vm *vm, VmDone done, void *userdata);
        /* Asks the guest. Success says that it was told, or more: ASK_*. */
        int (*ask)(Vm *vm, VmAsk what, VmDone done, void *userdata);
        /*
         * Ends it, at any moment; gently: caches are written first (the guest is not asked). What else is
         * under way is given up: its VmDone comes with -ECANCELED, or at free(), or none as said above. done: all is gone;
         * -EBUSY: it lives on as before, and can be killed again.
         */
        int (*kill)(Vm *vm, bool gently, VmDone done, void *userdata);

        /* Writes the VM's state to fd (a copy is taken). The VM is stopped then; after a failure it is as before. */
        int (*save)(Vm *vm, int fd, bool live, VmDone done, void *userdata);
        void (*save_cancel)(Vm *vm);
        /* Why the VM cannot be saved (to free), or NULL. */
        char *(*cannot_save)(const Vm *vm);
        bool restores_plugging; /* a VM into which devices were plugged while it ran can be saved, and restored with those */
        /* After save(): what the saved state depends on, as text (to free). May be NULL itself: the back end checks that alone. */
        char *(*shape)(const Vm *vm);

        int (*attach)(Vm *vm, const VmDevice *device, VmDone done, void *userdata);
        int (*detach)(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata);
        int (*set_medium)(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata); /* NULL: eject */
        int (*set_link)(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata);
        /* Gives the card another back end. NULL: there are no driver domains. */
        int (*set_nic_backend)(Vm *vm, const VmNic *nic, int64_t domid, VmDone done, void *userdata);
        int (*set_memory)(Vm *vm, uint64_t kib, VmDone done, void *userdata);
        int (*vnc_port)(Vm *vm, VmDone done, void *userdata);

        /* To look at it. NULL: this back end cannot. */
        /* Where its serial console is: a terminal's path, or "unix:" and a socket's (to free); NULL with *ret_why. */
        char *(*console)(const Vm *vm, char **ret_why);
        int (*screenshot)(Vm *vm, const char *path, VmDone done, void *userdata); /* a PNG file, written by the device model */
        int (*usage)(Vm *vm, VmDone done, void *userdata);                        /* text: see usage.h */
} Backend;

extern const Backend backend_qemu;

/* XENVM_TIMEOUT_SCALE: a factor for the contract's time limits. */
uint64_t monitor_scaled(uint64_t usec);
/* The same for what a process takes that does its best: never less than a busy machine needs. */
uint64_t backend_scaled(uint64_t usec);

/*
 * The back end of that name ("xen" and "libxl" are the same; "auto": Xen on a Xen host, else QEMU). The one
 * for Xen is a module beside the program. NULL with *ret_why (static): it is not to be had.
 */
const Backend *backend_choose(const char *name, const char **ret_why);

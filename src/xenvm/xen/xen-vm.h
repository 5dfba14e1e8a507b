/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Private to the Xen back end: one domain, and the one operation on it that is under way. */
#include <xenstore.h>

#include "backend.h"
#include "xen-channel.h"
#include "xen-config.h"
#include "xen-hvm.h"
#include "xen-loop.h"

/* What a guest may make us read from its own nodes. */
#define XENSTORE_VALUE_MAX 64

/* A picture that the device model writes. */
typedef struct XenScreen {
        char *folder;           /* for it alone */
        char *file;             /* where the picture is to be in the end */
        char *untrusted_output; /* what the device model said */
} XenScreen;

/* A node of xenstore that is watched; its number is the watch's token. */
typedef enum StoreKind { STORE_NODE, STORE_CLOCK, STORE_POWER, STORE_ACPI } StoreKind;

typedef struct StoreWatch {
        StoreKind kind;
        const char *node; /* as the config or we call it */
        char *path;
        bool fired;
} StoreWatch;

struct Vm {
        VmSpec spec;
        XenHost *host;
        struct xs_handle *store;
        sd_event_source *store_source;
        StoreWatch *watches;
        size_t n_watches;
        XenChannel *channel;
        XenHvm *watch; /* NULL: no HVM guest */
        libxl_domain_config config;
        bool config_made;
        FirmwareTables tables;
        libxl_evgen_domain_death *death;
        uint32_t domid;
        bool exists;
        bool suspended; /* saved: run() resumes it */
        bool saving;    /* a save is under way */
        bool saved_paused; /* the last save found it so: to resume it is not enough to run it */
        bool saved;     /* adopted: a former monitor had saved it, and was about to end it */
        bool killing;      /* from here on no end of the domain is news */
        bool kill_waiting; /* until the operation under way has ended */
        bool hvm;
        union { /* what the operation under way is about */
                libxl_device_disk disk;
                libxl_device_nic nic;
                libxl_device_pci pci;
                XenScreen screen;
        } device;
        void (*held)(void *device); /* how to dispose of it; NULL: there is none */
        int next_drive; /* of config.disks: the drives before it are emptied */
        VmNic moving; /* a card on its way to another back end */
        int64_t moving_from; /* its former one */
        uint64_t memory_kib; /* the target that is being set */
        int state_fd; /* of a saved state, ours as long as libxl reads or writes it */
        struct { /* to build it: xen-create.c */
                int fd;
                sd_event_source *timer;
                uint64_t until;
                void (*go)(Vm *vm);
                char *why; /* not */
        } turn;
        VmStatus status;
        unsigned round_trips;
        /* The one operation that the monitor has asked for. */
        XenOp *op;
        XenOpDone then;
        VmDone done;
        void *userdata;
        const char *what;
        char *why; /* it fails for this reason of ours, as soon as libxl is through */
};

/* The back end itself; xenvm has it through xen-entry.c. */
extern const Backend xen_functions;

bool vm_busy(const Vm *vm);
/* Begins an operation: give the result to libxl. NULL: -EBUSY or -ENOMEM in *ret_r. */
XenOp *vm_begin(Vm *vm, const char *what, VmDone done, void *userdata, XenOpDone on_done, int *ret_r);
/* The same where libxl has nothing to do: on_done is called from the event loop. Returns 0, -EBUSY or -ENOMEM. */
int vm_soon(Vm *vm, const char *what, VmDone done, void *userdata, XenOpDone on_done);
/* The step that follows within the same operation; NULL: no memory. */
XenOp *vm_continue(Vm *vm, XenOpDone then);
/* The same where we refuse, with why (taken) or with what r says. */
int vm_refuse(Vm *vm, const char *what, VmDone done, void *userdata, int r, char *why);
/* Hands a refusal of libxl to the operation, so that failures always come through done. Returns 0. */
int vm_started(XenOp *op, int rc);
/* Ends it: 0 with a result, or libxl's code. */
void vm_finish(Vm *vm, int rc, const char *text);
void vm_fail(Vm *vm, const char *why); /* for a reason of ours */
/* Answers beside whatever is under way, from within the call: for what libxl has not to be waited for. */
void vm_answer(VmDone done, void *userdata, const char *text);
/* The same for operations that have nothing to add. */
void vm_on_plain_done(void *userdata, int rc);

int xen_ask(Vm *vm, VmAsk what, VmDone done, void *userdata); /* xen-ask.c */

int vm_new(const VmSpec *spec, Vm **ret, const char **ret_why);
int vm_make_config(Vm *vm, char **ret_why);
/* From here on the domain is known, watched and reachable. Returns libxl's code. */
int vm_follow(Vm *vm);
Vm *xen_free(Vm *vm);
DEFINE_CLEANUP(Vm *, xen_free)

/* xen-create.c */
int xen_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why);
/* It is built: the next domain may be. True: its turn was still being waited for, and never comes. */
bool vm_turn_over(Vm *vm);

/* xen-store.c */
int vm_store_open(Vm *vm); /* -ENODEV: nobody answers */
void vm_store_close(Vm *vm);
/* A short value of xenstore, to free; NULL: none, or longer than a guest needs. */
char *vm_store_read(Vm *vm, const char *path);
int vm_store_write(Vm *vm, const char *node, const char *value); /* below the domain's own node */
void vm_store_watch(Vm *vm);
/* What OpenXT's guests and tools look for in a new domain's part of xenstore. */
void vm_store_make_nodes(Vm *vm);
/* Backend.show and Backend.publish */
int xen_show(Vm *vm, const char *name, const char *value);
void xen_publish(const char *uuid, const char *name, int64_t domid, const char *state);

/* xen-devices.c */
void vm_let_go(Vm *vm); /* of vm->device */
int vm_hold(Vm *vm, void (*dispose)(void *device)); /* vm->device can be filled in, and is disposed of by that */
/*
 * Begins the operation on vm->device, if it could be filled in (made; else why, which is taken, or NULL): give the result to
 * libxl. NULL: *ret_r is the result of the call.
 */
XenOp *vm_begin_held(Vm *vm, const char *what, VmDone done, void *userdata, int made, char *why, XenOpDone then, int *ret_r);
void xen_fill_drives(Vm *vm); /* before a domain is made */
/* Begins to empty the next of them, with `then` at the end; false: there is none left. */
bool xen_empty_next_drive(Vm *vm, XenOpDone then);

int xen_attach(Vm *vm, const VmDevice *device, VmDone done, void *userdata);
int xen_detach(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata);
int xen_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata);
int xen_set_link(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata);
int xen_set_nic_backend(Vm *vm, const VmNic *nic, int64_t domid, VmDone done, void *userdata);
int xen_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata);
int xen_vnc_port(Vm *vm, VmDone done, void *userdata);

/* xen-look.c */
/* One that is dying is none: it may take long to go, or stay for ever, and must not keep the VM from its next start. */
bool xen_domain_is(const libxl_dominfo *info, const char *uuid);
int xen_host(HostFacts *ret);
int64_t xen_find(const char *uuid);
int64_t xen_free_kib(void);
char *xen_console(const Vm *vm, char **ret_why);
int xen_usage(Vm *vm, VmDone done, void *userdata);
int xen_screenshot(Vm *vm, const char *path, VmDone done, void *userdata); /* xen-screen.c */

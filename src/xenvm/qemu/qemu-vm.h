/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The inside of a Vm of the QEMU back end, shared by its source files. */
#include "backend.h"
#include "helper-client.h"
#include "journal.h"
#include "linebuf.h"
#include "qemu-args.h"
#include "qmp.h"

#define QMP_TIMEOUT (10 * USEC_PER_SEC)
/* With one that was silent for so long while it was taken on. */
#define PATIENCE (3600 * USEC_PER_SEC)
/* How long a process may take to be gone after SIGKILL, and to end by itself after `quit`. */
#define KILL_TIMEOUT (30 * USEC_PER_SEC)
#define KILL_AGAIN (USEC_PER_SEC / 2)
#define QUIT_TIMEOUT (5 * USEC_PER_SEC)
#define ERROR_LINES 8
#define FOLDER "qemu"

/* As whom QEMU runs: as we do, or as a user of its own, started by us (root) or by oxt-helper. */
typedef enum Confinement { CONFINED_NOT, CONFINED_BY_US, CONFINED_BY_HELPER } Confinement;

typedef struct Operation {
        VmDone done; /* NULL: none runs */
        void *userdata;
} Operation;

/* Programs that serve one VM and end with it. */
typedef struct Helper {
        char *name;
        ProcessRef process;
        int pidfd;
        sd_event_source *watch;
        Vm *vm; /* for the watch */
} Helper;

#define HELPERS_MAX 40
/* Ids of cards are smaller (contract). */
#define NICS_MAX 32
#define PCI_MAX 32

/* A question to QEMU, or a wish; several can be under way. */
typedef struct QemuQuestion {
        Vm *vm;
        Operation operation;
        int64_t number; /* the set of a picture's file; the target of the memory */
} QemuQuestion;

typedef struct HostSide {
        QemuLink *links;      /* one for each nic */
        size_t n_links;       /* those that are done */
        int fds[48];          /* to hand to QEMU, in order, from descriptor first_fd on */
        size_t n_fds;
        int first_fd;
        QemuImage *images;    /* one for each disk */
        size_t n_images;
        char *tpm_socket, *firmware_code, *firmware_vars;
        HelperCall *call;     /* of oxt-helper, under way */
        void (*launched)(Vm *vm, int r, const char *why);
        void (*next)(Vm *vm, int r, const char *why);
        char **why;           /* of create(), while that is being called; NULL: it has returned */
        int failed;
} HostSide;

struct Vm {
        VmSpec spec;
        ProcessRef process;
        int pidfd;                  /* -EBADF: no process */
        sd_event_source *exit_source, *error_source, *deadline;
        int error_fd;               /* FIFO with QEMU's messages */
        LineBuf error_in;
        char *errors[ERROR_LINES];  /* the last ones, oldest first */
        unsigned n_errors;
        Qmp *qmp;
        Journal *journal;
        char *journal_prefix;
        VmStatus status;
        int acpi_state;
        int64_t clock_base;         /* time-offset of the config: RTC_CHANGE counts from there */
        bool suspend_disk;
        bool ending;                /* we have told it to end */
        bool gone, greeted;
        bool silent;                /* adopted, and does not answer */
        bool cont_sent;             /* it runs as soon as it is created; run() has only to wait for the answer */
        unsigned round_trips;       /* of connections that are closed */
        Operation create, kill, save;
        Operation go;               /* run() or pause() */
        Operation change;           /* of its devices */
        char *create_why;           /* why create failed, while its process is still being ended */
        uint64_t kill_until;        /* it is killed again and again: the helper that does it may be away for a moment */
        QemuQuestion questions[8];
        struct {
                int fd;
                bool was_running, cancelled;
                sd_event_source *poll;
                uint64_t delay;
                char *why;
                char *places;          /* of the devices on the bus, when it was saved: lines of shape() */
        } saving;
        struct {
                VmDeviceKind kind;
                char id[64];           /* of the device that is being plugged or unplugged */
                int64_t bps, iops;     /* of a disk */
                char tap[16], bridge[16]; /* of a card that changes networks */
                HelperCall *call;
                QemuImage image;       /* of a disk or CD that is being given, layer by layer */
                QemuFiles names;       /* their sets in QEMU */
                size_t n_sets;         /* those that have one */
                void (*image_next)(Vm *vm, int r, const char *text), (*dropped)(Vm *vm);
                char label[48];        /* of sets that are being taken back */
                bool drop_new, writable;
                bool unplugging;       /* the guest is to let go of it */
                char late[32][64];     /* ids of devices that the guest has let go of by itself, to be cleared up after */
                size_t n_late;
                sd_event_source *late_source;
                int result;
                json_object *controller; /* of a USB device, to add before it */
                char node[40];         /* of a USB device */
                json_object *device;   /* to add once the host's side is there */
                sd_event_source *deadline;
                char *why;
        } plug;
        QemuMachine machine;
        HostSide host;
        Confinement confined;       /* then its own files are in FOLDER of the VM's directory */
        int64_t terminal;           /* of the serial port, as oxt-helper says; -1: unknown */
        HelperCall *terminal_call;
        bool launching;             /* oxt-helper has been asked, and not answered */
        QemuFiles files;            /* what QEMU was given at its start */
        const char *accel;
        Helper helpers[HELPERS_MAX];
        unsigned n_helpers;
        char bound[PCI_MAX][16];    /* devices of the host that were taken from their drivers for this start */
        size_t n_bound, n_pci;      /* looked at so far */
        char taps[NICS_MAX][16];    /* the tap device of the card with this id, or "" */
        char **warnings;
};

/* Finishes an operation: calls its done once. The Vm may be freed by that. */
void operation_done(Operation *o, int r, const char *text);
/* The text of the failure that QEMU itself gave, or fallback. */
const char *vm_last_error(const Vm *vm, const char *fallback);
int vm_request(Vm *vm, const char *command, json_object *arguments, QmpDone done, void *userdata);

/* qemu.c: a Vm without a process yet; NULL: out of memory. done is that of its operation create. */
Vm *qemu_new(const VmSpec *spec, VmDone done, void *userdata);
Vm *qemu_free(Vm *vm);
DEFINE_CLEANUP(Vm *, qemu_free)
/* What the word of query-status means. */
VmStatus qemu_status_of_word(const char *word);
/* From now on the end of the process (vm->pidfd) is noticed. */
int qemu_watch(Vm *vm);
int qemu_connect(Vm *vm);
void qemu_close(Vm *vm);
/* All that a start leaves in the VM's directory. */
void qemu_remove_files(Vm *vm);

/*
 * qemu-confine.c: may QEMU have a user of its own here? Then its folder is made before it starts, and next is called, later
 * or at once, with the process in vm->process and vm->pidfd. The journal and the FIFO of messages must be there.
 */
Confinement qemu_confinement(const Vm *vm);
int qemu_make_folder(Vm *vm);
int qemu_launch(Vm *vm, char *const *args, const int *fds, size_t n_fds, const char *program, void (*next)(Vm *vm, int r, const char *why));
/* Warns where the VM does not have the share of the CPU that its config asks for. */
void qemu_check_weight(const Vm *vm);
/* Kills the process, whosoever it is; its end is noticed as any other. Returns 0 or negative errno. */
int qemu_kill_process(Vm *vm);
/*
 * qemu.c: the same, again and again until it is gone or KILL_TIMEOUT is over, which then ends what is under way: kill, else
 * create. Returns 0, or 1 if it could not be killed at once, or negative errno: nothing goes on.
 */
int qemu_end_process(Vm *vm);
/* After the end of the process: what its confinement left. */
void qemu_unconfine(Vm *vm);
/* qemu-look.c: once QEMU has opened it. */
void qemu_find_terminal(Vm *vm);
/* The host's PCI devices back to the host. */
void qemu_release_devices(Vm *vm);
/* Where a thread of QEMU runs, as sched_setaffinity(2) with a bit for each CPU. */
int qemu_bind_thread(Vm *vm, pid_t thread, uint64_t cpus);
/* What QEMU itself makes is there. NULL on out of memory. */
char *qemu_own_path(const Vm *vm, const char *name);

/* qemu-create.c; the second and third are the two ways in which create() ends. */
int qemu_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why);
void qemu_created(Vm *vm);
void qemu_create_failed(Vm *vm, const char *text);
int qemu_describe(const VmSpec *spec, char **ret, char **ret_why);

/* qemu-events.c: the FIFO that QEMU's messages go to, made with create; what they said so far is read by drain. */
int qemu_messages_open(Vm *vm, bool create);
void qemu_messages_drain(Vm *vm);
extern const JournalHandlers qemu_journal_handlers;

/* qemu-affinity.c: after the greeting, and done before the answer to what is asked next. Never fails a start. */
void qemu_bind_cpus(Vm *vm);

/* qemu-save.c */
int qemu_save(Vm *vm, int fd, bool live, VmDone done, void *userdata);
void qemu_save_cancel(Vm *vm);
char *qemu_cannot_save(const Vm *vm);
int qemu_restore_begin(Vm *vm); /* after the greeting; ends in operation create */
void qemu_save_release(Vm *vm);
int qemu_check_shape(Vm *vm, char *const *args, const QemuFiles *files, char **ret_why); /* and writes it down */
int qemu_keep_places(const Vm *vm, char **args); /* for a VM whose devices were changed: each where it was */
char *qemu_shape(const Vm *vm);

/* qemu-events.c */
void qemu_tell_number(Vm *vm, const char *node, int64_t value); /* as what a guest shows there */

/* qemu-run.c */
void qemu_on_running(void *userdata, int r, json_object *value, const char *text); /* the answer to cont */
int qemu_run(Vm *vm, VmDone done, void *userdata);
int qemu_pause(Vm *vm, VmDone done, void *userdata);
int qemu_ask(Vm *vm, VmAsk what, VmDone done, void *userdata);
int qemu_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata);
int qemu_vnc_port(Vm *vm, VmDone done, void *userdata);
/* Room for one more question; NULL: there is none. */
QemuQuestion *qemu_question_new(Vm *vm, VmDone done, void *userdata);
/* Puts it: answer gets it as userdata, and ends its operation. args is taken over. */
int qemu_ask_for(Vm *vm, const char *command, json_object *args, QmpDone answer, VmDone done, void *userdata);

/* qemu-hotplug.c */
int qemu_attach(Vm *vm, const VmDevice *device, VmDone done, void *userdata);
int qemu_detach(Vm *vm, VmDeviceKind kind, const char *id, VmDone done, void *userdata);
int qemu_set_medium(Vm *vm, const VmDisk *drive, const char *path, VmDone done, void *userdata);
void qemu_hotplug_release(Vm *vm);
/* Each change of devices ends here. */
void qemu_change_done(Vm *vm, int r, const char *text);
void qemu_hotplug_go_on(Vm *vm); /* with what waited for the end of a change, or for QEMU */
void qemu_hotplug_on_event(Vm *vm, const char *name, json_object *data);

/* qemu-link.c */
int qemu_set_link(Vm *vm, const VmNic *nic, const char *bridge, VmDone done, void *userdata);

/* qemu-look.c */
char *qemu_console(const Vm *vm, char **ret_why);
int qemu_screenshot(Vm *vm, const char *path, VmDone done, void *userdata);
int qemu_usage(Vm *vm, VmDone done, void *userdata);

/*
 * qemu-fdsets.c: opens an image and sends it; next is called later, with what came of it. Returns negative errno with
 * *ret_why (to free, may be NULL) when it cannot be opened or sent: then next is not called.
 */
int qemu_image_give(Vm *vm, const VmDisk *d, bool writable, void (*next)(Vm *vm, int r, const char *text), char **ret_why);
/* The same with a device node, which is open already; fd is taken over. */
int qemu_device_give(Vm *vm, const char *id, const char *path, int fd, void (*next)(Vm *vm, int r, const char *text));
/* The block node of what was given; NULL on out of memory. */
json_object *qemu_image_node(const Vm *vm);
/* Takes back the sets of the disk with that id: those that were just given, or the others. */
void qemu_image_drop(Vm *vm, const char *id, bool the_new, void (*next)(Vm *vm));
void qemu_image_forget(Vm *vm);

/*
 * qemu-helpers.c: what there must be on the host before QEMU starts. next is called once it is there, now or later:
 * r 0, or negative with a text. The descriptors for QEMU are then in vm->host.fds.
 */
int qemu_host_side(Vm *vm, int first_fd, void (*next)(Vm *vm, int r, const char *why));
void host_side_done(HostSide *h);
void qemu_helpers_kill(Vm *vm);
/* Warns when it ends before the VM does. */
void qemu_helper_watch(Vm *vm, Helper *h);
/* The first firmware that fits the machine, and what its variables begin as (to free). -ENOENT: none is installed. */
int qemu_find_firmware(QemuMachine machine, char **ret_code, char **ret_template);
/* Where the VM's own variables are kept (to free). */
char *qemu_firmware_variables(const VmSpec *spec);
/* The bridge that a card is to be on, which may be the first of the host; "" if there is none. */
void qemu_bridge(const VmNic *n, char *buf, size_t size);
/* Why oxt-helper made, or moved, no tap device: its own words, or what the call failed of. */
const char *qemu_no_bridge(int r, const char *why);

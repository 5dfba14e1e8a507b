/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The manager: the database's mirror, the VMs, and what goes out on D-Bus.
 *
 * Everything persistent is in dbd. Reads come from mirrors of the subtrees below; writes go as one
 * transaction and are answered once they are durable. A change, whoever made it, comes back through
 * the mirror, and only there the signals for it are sent.
 */
#include "daemon.h"
#include "db-client.h"
#include "errors.h"
#include "name-owners.h"
#include "service.h"

#define XENMGR_SERVICE "com.citrix.xenclient.xenmgr"
#define XENMGR_INTERFACE "com.citrix.xenclient.xenmgr"

/* Limits. A caller that asks for more gets a plain error that names the limit. */
#define SLOT_MAX 9 /* of the switcher; from 1 */
#define VMS_MAX 4096
#define VMS_OF_GUESTS_MAX 64 /* a guest may make VMs only while there are fewer than this */
#define DISKS_MAX 64
#define NICS_MAX 32
#define PCI_RULES_MAX 256
#define NAME_MAX_BYTES 256
#define VALUE_MAX_BYTES (64 * KIB)
#define JSON_MAX_BYTES (1 * MIB)
#define VM_OF_GUESTS_MAX "4096 524288" /* nodes and bytes of a VM's tree that a guest has written in */

typedef struct Vm Vm;
typedef struct Create Create;
typedef struct HostState HostState;
typedef struct Networks Networks;

/* The object of a disk or nic path; valid during one call. */
typedef struct Record {
        Vm *vm;
        const char *kind; /* "disk" or "nic" */
        unsigned id;
        bool exists;
} Record;

#define N_MIRRORS_MAX 20

typedef struct Manager {
        Daemon *daemon;
        sd_event *event;
        sd_bus *bus; /* NULL while it is away */
        DbMirror *mirrors[N_MIRRORS_MAX];
        uint64_t loaded; /* bits of the mirrors that are loaded */
        uint64_t generation; /* of the mirror of /vm as a whole; nodes of VMs that were found in another are stale */
        bool configured;     /* the service VMs are in the mirrors */
        bool serving;        /* the name is ours: changes are told */
        unsigned n_adopting; /* monitors that were asked what they do, at start */

        Vm **vms; /* sorted by uuid */
        size_t n_vms;
        Create *creates; /* those in progress */
        struct Import *imports; /* images that are no VM's yet */
        Record record;
        HostState *host;
        Networks *networks; /* of the network daemon; NULL: there is none */

        sd_bus_slot *slots[8]; /* matches */
        size_t n_slots;
        char **names;      /* bus names of services and agents that are of interest, while they have an owner */
        char **script_queue;
        struct {
                Call *call;
                NameWatch *watch; /* of who waits: what comes is not for one that has gone */
        } script_waiting[16];
        size_t n_script_waiting;
        sd_event_source *config_timer;
        struct Job *memory_turn; /* the start that is being found memory for */
        struct Autostart *autostart;
        bool no_autostart;
        unsigned shutting_down; /* see shutdown-all.c */
} Manager;

static inline const Paths *manager_paths(const Manager *m)
{
        return &m->daemon->paths;
}

/*
 * There is no bus, or it is closing: sd-bus fails all calls that wait before it says so, and their errors mean nothing. What was
 * under way is bus_down()'s.
 */
static inline bool manager_bus_lost(const Manager *m)
{
        return !m->bus || sd_bus_is_open(m->bus) <= 0;
}

/* The parts of the daemon's specification. */
int manager_start(Daemon *d, void *userdata, char *words[]);
int manager_bus_up(Daemon *d, void *userdata);
int manager_ready(Daemon *d, void *userdata);
void manager_bus_down(Daemon *d, void *userdata);
void manager_end(Daemon *d, void *userdata);
extern const ServiceSpec manager_service;

/* Database: absolute paths below one of the mirrored roots. */
const DbNode *db_node(const Manager *m, const char *path); /* NULL: missing */
const char *db_text(const Manager *m, const char *path, const char *fallback);
bool db_bool(const Manager *m, const char *path, bool fallback);
int64_t db_int(const Manager *m, const char *path, int64_t fallback);
/* Whether both are one path, or one is above the other. */
bool db_paths_meet(const char *a, const char *b);
/* Commits tx (used up) and answers c when it is durable: empty, or the object path if given. */
int manager_commit(Manager *m, DbTx *tx, Call *c, const char *object_path);
/*
 * Stores a setting of the host (NULL: removes it) and answers c when it is durable. A change is told when it comes back; to set what is
 * there already is told, too, as the contract has it.
 */
int manager_store(Manager *m, const char *path, const char *text, Call *c);
/* Commits tx; a failure is logged. what: for the log. */
void manager_commit_quietly(Manager *m, DbTx *tx, const char *what);

/* The VM of that uuid or domid; NULL: none. */
Vm *manager_find_vm(const Manager *m, const char *uuid);
Vm *manager_find_vm_by_domid(const Manager *m, int64_t domid);


/* Whether a bus name that we follow (services, agents) has an owner. */
bool manager_has_name(const Manager *m, const char *name);
/* Calls a service without caring for the answer; nothing when it has no owner. */
void manager_notify_service(Manager *m, const char *service, const char *path, const char *interface,
                            const char *member, const char *signature, ...);

#define INPUT_DAEMON "com.citrix.xenclient.input"
#define tell_input_daemon(m, member, ...)                                                          \
        manager_notify_service(m, INPUT_DAEMON, "/", INPUT_DAEMON, member, __VA_ARGS__)

/* Emits a signal of "/" on com.citrix.xenclient.xenmgr. */
#define manager_emit(m, member, ...)                                                               \
        (void) ((m)->daemon->service && (m)->serving                                               \
                        ? service_emit((m)->daemon->service, "/", XENMGR_INTERFACE, member, __VA_ARGS__)       \
                        : 0)


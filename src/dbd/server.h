/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The daemon's state, and how requests become commits.
 *
 * A request that may change something, and every read of a client that has such a request under way,
 * is queued. A batch takes all that is queued: each request is carried out on the tree, its answer is
 * made, and then all is taken back (tree.h) and the rows go to the writer's thread. When they are on
 * disk, the changes are made again, watchers are told, and the answers are sent, in this order. Other
 * reads are answered at once and see the tree as the last commit left it.
 */
#include <systemd/sd-event.h>

#include "daemon.h"
#include "json-tree.h"
#include "path.h"
#include "store.h"
#include "tree.h"
#include "writer.h"

struct json_object;

typedef struct Server Server;
typedef struct Request Request;
typedef struct Sender Sender;
typedef struct Guest Guest;
typedef struct Watch Watch;

/* Why something is refused: a D-Bus error. */
typedef struct Refusal {
        const char *error;
        char text[256];
} Refusal;

typedef enum OperationKind {
        OPERATION_WRITE,
        OPERATION_RM,
        OPERATION_INJECT,
        _OPERATION_CHANGES, /* those below only look */
        OPERATION_EQUALS = _OPERATION_CHANGES,
        OPERATION_SAME, /* equals-json: the subtree is that JSON */
        OPERATION_EXISTS,
        OPERATION_ABSENT,
        OPERATION_WITHIN, /* the subtree, as the operations before have left it, is within limits */
        _OPERATION_MAX,
} OperationKind;

extern const char *const operation_names[_OPERATION_MAX];

typedef struct Operation {
        OperationKind kind;
        const char *path, *value; /* as the caller gave them; they live as long as the Call */
        char *full;               /* normal path in the whole tree */
        bool changed;
        size_t n_mutations; /* in the request's log, up to and with this operation */
        /* For the history: where the change begins, and the JSON there (NULL: nothing). */
        char *old, *new;
        size_t top_len; /* how much of full is the top's path */
        int flags;
} Operation;

/*
 * A request that has the writer's thread for itself: begin() before, run() there, done() (which makes
 * the answer) after it.
 */
typedef struct Special Special;
struct Special {
        void (*begin)(Server *s, Request *q); /* may be NULL */
        int (*run)(Special *special, Store *store, char error[static 256]);
        void (*done)(Server *s, Request *q, int result, const char *error);
        void (*free)(Special *special);
};

struct Request {
        Request *next;
        Call *call;
        Sender *sender;
        const char *who; /* the sender's, once it is known */
        /* One of: operations to carry out, or something to look up behind the same client's own changes. */
        Operation *operations;
        size_t n_operations;
        int (*read)(Server *s, Call *c, const char *full, sd_bus_message **ret);
        char *full;
        Special *special;

        bool transaction; /* failures name the operation, the answer is the revision */
        TreeLog log;
        uint64_t revision; /* 0: nothing changed */
        sd_bus_message *answer;
        bool refused;      /* the answer is an error */
};

struct Server {
        Daemon *daemon;
        Tree tree;
        Writer *writer;
        int lock_fd;
        uint64_t revision; /* of the tree as it is at the moment */
        Request *queue, **queue_end;
        unsigned n_waiting; /* requests queued or being written */
        struct Batch *batch;
        void *senders, *guests; /* by name and by uuid */
        Sender *all_senders;
        Watch *watches;
        uint64_t last_watch;
        uint64_t n_commits, n_committed, n_failed; /* commits, requests in them, failed commits */
        char *set_aside; /* where a damaged database was put at the start */
        int64_t history_bytes, history_pruned; /* the writer's: roughly how large it is, when it was cut */
        struct Ring *ring; /* the last changes, to tell who missed something */
        sd_bus_slot *match;
};

/* database.c: opens the database and starts the writer. Logs. */
int database_open(Server *s);

/* queue.c */
Request *request_new(Server *s, Call *c, size_t n_operations);
Request *request_free(Request *r); /* one that was not handed over */
/* Hands the request over. */
void server_submit(Server *s, Request *r);
/* Waits for all that is under way, at the end of the program. */
void server_drain(Server *s);
/* For a method whose argument is a path: runs the look-up now, or behind what the same client has under way. */
int server_read(Call *c, int (*read)(Server *, Call *, const char *, sd_bus_message **));

/* operation.c: carries out one operation on the tree, noted in r->log. Returns -1 with *ret if it cannot be. */
int operation_run(Server *s, Request *r, Operation *o, Refusal *ret);

/*
 * The caller's path in the whole tree (to be freed). A limit that is exceeded is answered here: then,
 * and when memory is out, the result is negative.
 */
int caller_path(Call *c, const char *path, char **ret);
/* Where the caller's own tree begins: "" or "/dom-store/<uuid>". */
const char *caller_root(const Call *c, char buf[static 64]);

/* sender.c: what is kept for each connection from its first change or watch until it leaves the bus. */
struct Sender {
        Server *server;
        Sender *next, **pprev;
        char *name;
        Guest *guest; /* NULL: the host's */
        char *who;    /* for the history: VM, or user and process */
        sd_bus_slot *asking; /* until that is known */
        bool gone;
        unsigned n_waiting, n_watches;
};
Sender *sender_get(Server *s, const Call *c);
Sender *sender_find(Server *s, const char *name);
void sender_release(Sender *sender);
int senders_follow(Server *s); /* each time the bus is up */
void senders_clear(Server *s);
/* A request of that sender may go on: it is known who it is. */
void server_sender_known(Server *s);

/* limits.c */
typedef enum LimitId {
        LIMIT_VALUE,
        LIMIT_PATH,
        LIMIT_DEPTH,
        LIMIT_NODES,
        LIMIT_BYTES,
        LIMIT_OPERATIONS,
        LIMIT_WATCHES,
        LIMIT_WAITING,
        LIMIT_RATE,
        _LIMIT_MAX,
} LimitId;

/* One VM. Its connections share its limits. */
struct Guest {
        char uuid[37];
        bool counted; /* nodes and bytes are those of its tree as it is at the moment */
        size_t nodes, bytes;
        unsigned n_watches, n_waiting;
        uint64_t tokens, refilled; /* requests it may make at once, in millionths */
};
Guest *guest_get(Server *s, const char *uuid);
void guests_done(Server *s);
void guests_status(Server *s, struct json_object *list);
void guests_uncount(Server *s); /* their trees changed in another way than by themselves */
void guest_count(Server *s, Guest *g);
uint64_t limit_get(LimitId id);
/* -1 with *ret if value is over the limit. */
int limit_check(LimitId id, uint64_t value, Refusal *ret);
int limit_call(Call *c, LimitId id, uint64_t value); /* the same for guests' calls, answered */
/* ServiceSpec.check: the requests per second. */
int limit_rate(Call *c, void *userdata);
/* A long text that a guest reads or writes counts as so many requests more. */
void limit_charge(Server *s, const Call *c, size_t bytes);

/* watch.c. full is taken over. */
int watch_add(Server *s, Call *c, char *full, uint64_t last_revision, Watch **ret, bool *ret_missed);
uint64_t watch_id(const Watch *w);
bool watch_remove(Server *s, const char *sender, uint64_t id);
void watches_remove_all(Server *s, const Sender *sender);
/* A change has just been made on the tree. */
void watches_note(Server *s, const Operation *o, uint64_t revision);
/* Sends what was noted. */
void watches_flush(Server *s);
/* At the start: what changed last, from the history. */
int watches_load(Server *s, Store *store);
void watches_done(Server *s);

/* methods.c, db1.c, maintain.c */
extern const BusInterface db_interface, db1_interface, db1_host_interface;

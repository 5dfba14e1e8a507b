/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * D-Bus objects from tables. One Service answers every method call that reaches a connection, from
 * static tables of interfaces; it serves Introspect, Properties and Peer from the same tables. It is
 * used in place of sd-bus's vtables, which refuse property names with hyphens (most names of our
 * contract have one) and cannot wait until it is known which VM a call is from.
 *
 * Each call is identified (caller.h) before a handler sees it: Call.caller is always filled in.
 */
#include <systemd/sd-bus.h>

#include "caller.h"

#define DBUS_ERROR_FAILED "org.freedesktop.DBus.Error.Failed"
#define DBUS_ERROR_ACCESS_DENIED "org.freedesktop.DBus.Error.AccessDenied"
#define DBUS_ERROR_INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define DBUS_ERROR_INVALID_SIGNATURE "org.freedesktop.DBus.Error.InvalidSignature"
#define DBUS_ERROR_LIMITS_EXCEEDED "org.freedesktop.DBus.Error.LimitsExceeded"
#define DBUS_ERROR_NO_REPLY "org.freedesktop.DBus.Error.NoReply"
#define DBUS_ERROR_SERVICE_UNKNOWN "org.freedesktop.DBus.Error.ServiceUnknown"
#define DBUS_ERROR_UNKNOWN_METHOD "org.freedesktop.DBus.Error.UnknownMethod"
#define DBUS_ERROR_UNKNOWN_OBJECT "org.freedesktop.DBus.Error.UnknownObject"

typedef struct Service Service;
typedef struct Call Call;
typedef struct BusInterface BusInterface;
typedef struct BusMethod BusMethod;
typedef struct BusProperty BusProperty;

/*
 * What handlers and setters return: 0, the reply was sent or will be sent later (keep the Call with
 * call_ref); 1, send an empty reply now; negative errno, send org.freedesktop.DBus.Error.Failed with
 * its text. A Call that goes away without a reply answers Failed by itself: no caller ever hangs.
 */
struct BusMethod {
        const char *name;
        const char *in, *in_names;   /* signature; names separated by blanks ("" if none) */
        const char *out, *out_names;
        int (*run)(Call *c);         /* the arguments are at the start of c->message, of signature `in` */
        const void *data;
        const char *in_also;         /* a second signature that is taken, or NULL; the handler looks which it is */
        int (*fill)(Call *c, sd_bus_message *reply); /* where run is NULL: the answer is an array, see call_reply_array() */
};

typedef enum BusAccess { BUS_READ = 1, BUS_WRITE = 2, BUS_READWRITE = 3 } BusAccess;

struct BusProperty {
        const char *name;
        const char *signature;
        BusAccess access;
        /* Appends one value of the signature to reply. c->object is the object. */
        int (*get)(Call *c, const BusProperty *p, sd_bus_message *reply);
        /* value is inside the variant, whose content has the signature `type` (checked by the setter
         * where accept_any is set, else equal to `signature`). Returns as a method handler does. */
        int (*set)(Call *c, const BusProperty *p, sd_bus_message *value, const char *type);
        bool accept_any; /* the setter converts other types, e.g. numbers and numeric texts */
        const void *data;
};

typedef struct BusSignal {
        const char *name, *signature, *names;
} BusSignal;

/* Tables end with a row without name; any may be NULL. */
struct BusInterface {
        const char *name;
        const BusMethod *methods;
        const BusProperty *properties;
        const BusSignal *signals;
        const void *data;
};

typedef struct ServiceSpec {
        /*
         * The interfaces of the object at path in the order in which Introspect lists them, ended by
         * NULL, and its object; NULL: there is none. Called for each message: must be quick.
         */
        const BusInterface *const *(*find)(void *userdata, const char *path, void **ret_object);
        /* Names of the nodes directly below path, for Introspect. May be NULL: none. */
        int (*children)(void *userdata, const char *path, char ***ret);
        /* Called before each method, Get, GetAll or Set: 0 to go on, or negative after call_fail(). May be NULL. */
        int (*check)(Call *c, void *userdata);

        /* Texts of the contract, where it differs from ours. NULL: see service.c. */
        const char *bad_arguments_error, *bad_arguments_text;
        const char *unknown_method_text;  /* NULL: the member's name */
        const char *property_error;       /* name for unknown or unreadable properties; NULL: InvalidArgs */
        bool any_interface;               /* members are found by name whatever the interface says */
        bool optional_interface;          /* a call without interface field is served */
        bool serves_proxy;                /* rpc-proxy itself may call; else it is refused everything */
} ServiceSpec;

struct Call {
        unsigned refs;
        Service *service;
        sd_bus_message *message;
        Caller caller;
        void *object;                  /* from find(); not to be used after the handler returned */
        const BusInterface *interface;
        const BusMethod *method;       /* NULL for properties */
        void *userdata;                /* of the service */
        bool replied;
};

/* callers may be NULL (a bus without guests): then every caller is the host. Both stay the owner's. */
int service_new(sd_bus *bus, CallerMap *callers, const ServiceSpec *spec, void *userdata, Service **ret);
/* Calls that are still kept (call_ref) can be answered afterwards; their answers go nowhere. */
Service *service_free(Service *s);
DEFINE_CLEANUP(Service *, service_free)

Call *call_ref(Call *c);
Call *call_unref(Call *c);
DEFINE_CLEANUP(Call *, call_unref)

/* Answers. Each returns 0, so that a handler can `return call_reply(…)`. A second answer is ignored. */
int call_reply(Call *c, const char *signature, ...);
int call_reply_message(Call *c, sd_bus_message *reply); /* takes over reply, made by call_new_reply */
int call_new_reply(Call *c, sd_bus_message **ret);
/* Answers with a list of texts or paths: type 's' or 'o'. l may be NULL: the empty list. */
int call_reply_strv(Call *c, char type, char *const *l);
/*
 * Answers with an array whose elements, of the type `contents`, fill appends to reply; fill returns 0 or negative
 * errno. Where it failed the call with call_fail() meanwhile, that is the answer.
 */
int call_reply_array(Call *c, const char *contents, int (*fill)(Call *c, sd_bus_message *reply));
/* For fill of an "aa{ss}": appends one table of texts, from pairs (key, value, …, NULL). A value NULL is "". */
int reply_add_row(sd_bus_message *reply, const char *key, ...) __attribute__((sentinel));
/*
 * Reads an "aa{ss}" of somebody else: the object paths that its tables have under key, to free. What is no such path, is
 * longer than REPLY_PATH_MAX, or comes after REPLY_PATHS_MAX of them, is left out. Returns 0 or negative errno.
 */
#define REPLY_PATHS_MAX 256
#define REPLY_PATH_MAX 256
int reply_read_paths(sd_bus_message *untrusted_reply, const char *key, char ***ret);
int call_fail(Call *c, const char *error_name, const char *fmt, ...) _printf_(3, 4);

static inline const char *call_path(const Call *c)
{
        return sd_bus_message_get_path(c->message);
}

/* Emits a signal to everybody. Returns 0 or negative errno. */
int service_emit(Service *s, const char *path, const char *interface, const char *member, const char *signature, ...);

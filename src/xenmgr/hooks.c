/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "lifecycle.h"
#include "list.h"
#include "log.h"
#include "spawn.h"
#include "strbuf.h"

#define HOOK_USEC (60 * USEC_PER_SEC)
#define HOOK_ITEMS_MAX 16
#define HOOKS_WAITING_MAX 64 /* of one VM */

struct Hook {
        Manager *manager;
        char uuid[37];
        char *key, *argument, **items;
        size_t at;
        HookDone done;
        void *userdata;
        int pidfd;
        pid_t pid; /* leads a process group: what it has started is stopped with it */
        sd_event_source *exit, *timer;
        sd_bus_slot *slot;
        sd_bus_message *call; /* waits for the answer to who has the name that it goes to */
        char vm[37];          /* whose connection that must be */
        char *why;            /* it fails with this, from the loop */
        bool begun;
        struct Hook *next; /* of those of what happened */
};

static Hook *queue; /* of all VMs, the oldest first */

static void hook_free(Hook *h)
{
        sd_event_source_disable_unref(h->exit);
        sd_event_source_disable_unref(h->timer);
        sd_bus_slot_unref(h->slot);
        sd_bus_message_unref(h->call);
        free(h->why);
        safe_close(h->pidfd);
        strv_free(h->items);
        free(h->key);
        free(h->argument);
        free(h);
}

Hook *hook_cancel(Hook *h)
{
        if (!h)
                return NULL;
        if (h->pidfd >= 0) {
                h->exit = sd_event_source_disable_unref(h->exit);
                (void) kill(-h->pid, SIGKILL);
                background_reap(h->manager->event, TAKE_FD(h->pidfd));
        }
        hook_free(h);
        return NULL;
}

static int hook_next(Hook *h);
static void queue_go_on(const char *uuid);

static void hook_end(Hook *h, const char *error)
{
        char uuid[37];
        HookDone done = h->done;
        void *userdata = h->userdata;

        if (error)
                log_warning("The hook %s of %s failed: %s", h->key, h->uuid, error);
        h->done = NULL;
        LIST_TAKE_OUT(queue, h);
        memcpy(uuid, h->uuid, sizeof uuid);
        (void) hook_cancel(h);
        if (done)
                done(error, userdata);
        queue_go_on(uuid);
}

static int on_child_exit(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        Hook *h = userdata;
        siginfo_t si = { 0 };

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return 0;
        h->pidfd = safe_close(h->pidfd);
        if (si.si_code != CLD_EXITED || si.si_status != 0) {
                _cleanup_free_ char *why = strformat("%s ended with %s %d", h->items[h->at - 1],
                                                     si.si_code == CLD_EXITED ? "status" : "signal", si.si_status);

                hook_end(h, strempty(why));
        } else if (hook_next(h) < 0)
                hook_end(h, "it cannot be run");
        return 0;
}

static int on_timeout(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Hook *h = userdata;
        _cleanup_free_ char *why = strformat("%s did not end within %d s and was stopped", h->items[h->at - 1],
                                             (int) (HOOK_USEC / USEC_PER_SEC));

        hook_end(h, strempty(why));
        return 0;
}

static int on_rpc(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Hook *h = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        h->slot = sd_bus_slot_unref(h->slot);
        if (error)
                hook_end(h, error->message ? error->message : error->name);
        else if (hook_next(h) < 0)
                hook_end(h, "it cannot be run");
        return 0;
}

static int rpc_send(Hook *h, sd_bus_message *m)
{
        return sd_bus_call_async(h->manager->bus, &h->slot, m, on_rpc, h, lifecycle_scaled(HOOK_USEC));
}

static int on_failed(_unused_ sd_event_source *s, void *userdata)
{
        Hook *h = userdata;
        _cleanup_free_ char *why = TAKE_PTR(h->why);

        hook_end(h, why);
        return 0;
}

/* From the loop, for whoever has just called hook_run(). */
static int fail_later(Hook *h, char *why)
{
        h->why = why;
        h->exit = sd_event_source_disable_unref(h->exit);
        return why ? sd_event_add_defer(h->manager->event, &h->exit, on_failed, h) : -ENOMEM;
}

static void on_known(_unused_ void *userdata)
{
}

/* The call goes to the connection itself, which nobody else can become meanwhile. */
static int on_owner(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Hook *h = userdata;
        sd_bus_message *m = TAKE_PTR(h->call);
        const char *owner = "";
        Caller caller = { 0 };
        int r;

        h->slot = sd_bus_slot_unref(h->slot);
        if (!sd_bus_message_get_error(reply))
                (void) sd_bus_message_read(reply, "s", &owner);
        if (!*owner || !h->manager->daemon->callers ||
            callermap_lookup(h->manager->daemon->callers, owner, &caller, on_known, h->manager) <= 0 || !streq(caller.uuid, h->vm))
                hook_end(h, "the VM that it names has no such service on this bus");
        else {
                r = sd_bus_message_set_destination(m, owner);
                if (r >= 0)
                        r = rpc_send(h, m);
                if (r < 0)
                        hook_end(h, strerror(-r));
        }
        sd_bus_message_unref(m);
        return 0;
}

/*
 * With vm= the call is one to a service of that VM, which is on this bus through rpc-proxy: whoever has the name must be a
 * connection of it.
 */
static int rpc_to_vm(Hook *h, const char *uuid, const char *destination, sd_bus_message *m)
{
        const Vm *vm = manager_find_vm(h->manager, uuid);

        if (!vm || !vm_is_running(vm))
                return fail_later(h, strformat("the VM %.36s, which it is to call, does not run", uuid));
        memcpy(h->vm, vm->uuid, sizeof h->vm);
        h->call = sd_bus_message_ref(m);
        return sd_bus_call_method_async(h->manager->bus, &h->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "GetNameOwner", on_owner, h, "s", destination);
}

/* "rpc:destination=…,interface=…,member=…[,objpath=…][,vm=…]": blanks and a pair of quotes around a value are dropped. */
static int hook_rpc(Hook *h, const char *text)
{
        _cleanup_strv_ char **parts = NULL;
        const char *destination = NULL, *interface = NULL, *member = NULL, *path = "/", *uuid = NULL;
        sd_bus_message *m = NULL;
        int r;

        r = strv_split(text, ',', &parts);
        for (char **p = parts; r >= 0 && p && *p; p++) {
                char *key = strstrip(*p), *value = strchr(key, '=');
                size_t n;

                if (!value)
                        continue;
                *value++ = '\0';
                key = strstrip(key);
                value = strstrip(value);
                n = strlen(value);
                if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
                        value[n - 1] = '\0';
                        value++;
                }
                if (streq(key, "destination"))
                        destination = value;
                else if (streq(key, "interface"))
                        interface = value;
                else if (streq(key, "member"))
                        member = value;
                else if (streq(key, "objpath"))
                        path = value;
                else if (streq(key, "vm"))
                        uuid = value;
        }
        if (r < 0)
                return r;
        if (!destination || !interface || !member) {
                log_warning("An rpc: item of the hook %s of %s has no destination, interface or member", h->key,
                            h->uuid);
                return hook_next(h);
        }
        /* The destination of one to a VM is set when it is known. */
        r = sd_bus_message_new_method_call(h->manager->bus, &m, uuid ? NULL : destination, path, interface, member);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", h->uuid);
        if (r >= 0 && h->argument)
                r = sd_bus_message_append(m, "s", h->argument);
        if (r >= 0)
                r = uuid ? rpc_to_vm(h, uuid, destination, m) : rpc_send(h, m);
        sd_bus_message_unref(m);
        return r;
}

static int hook_program(Hook *h, char *path)
{
        uint64_t limit = lifecycle_scaled(HOOK_USEC);
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        char *args[] = { h->uuid, h->argument, NULL };
        int r;

        options.path = path;
        if (path[0] != '/')
                return -EINVAL;
        options.new_session = true;
        r = spawn(SPAWN_HOOK, args, &options, &h->pid, &h->pidfd);
        if (r < 0) {
                h->pidfd = -EBADF;
                return r;
        }
        h->exit = sd_event_source_disable_unref(h->exit);
        r = sd_event_add_io(h->manager->event, &h->exit, h->pidfd, EPOLLIN, on_child_exit, h);
        if (r >= 0)
                r = h->timer ? sd_event_source_set_time_relative(h->timer, limit)
                             : sd_event_add_time_relative(h->manager->event, &h->timer, CLOCK_MONOTONIC, limit, 0,
                                                          on_timeout, h);
        if (r >= 0)
                r = sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
        return r;
}

static int on_nothing_left(_unused_ sd_event_source *s, void *userdata)
{
        hook_end(userdata, NULL);
        return 0;
}

/* The next item, or the end; a failure to start one is returned and the caller ends the hook. */
static int hook_next(Hook *h)
{
        if (h->timer) /* of the one before */
                (void) sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
        while (h->items && h->items[h->at]) {
                char *item = strstrip(h->items[h->at++]);
                const char *rpc = startswith(item, "rpc:");

                if (!*item)
                        continue;
                return rpc ? hook_rpc(h, rpc) : hook_program(h, item);
        }
        /* From the loop, so that a caller of hook_run() is never called back before it returned. */
        h->exit = sd_event_source_disable_unref(h->exit);
        return sd_event_add_defer(h->manager->event, &h->exit, on_nothing_left, h);
}

/* Begins the oldest one of that VM, if none of it runs. */
static void queue_go_on(const char *uuid)
{
        Hook *h = queue;

        while (h && !streq(h->uuid, uuid))
                h = h->next;
        if (!h || h->begun)
                return;
        h->begun = true;
        if (hook_next(h) < 0)
                hook_end(h, "it cannot be run");
}

/* Returns 0 when none is configured, 1, or a negative errno. */
static int hook_new(Vm *vm, const char *key, const char *argument, HookDone done, void *userdata, Hook **ret)
{
        const char *text = vm_text(vm, key, "");
        Hook *h;
        int r;

        if (!*text)
                return 0;
        h = calloc(1, sizeof *h);
        if (!h)
                return -ENOMEM;
        *h = (Hook) { .manager = vm->manager, .done = done, .userdata = userdata, .pidfd = -EBADF };
        memcpy(h->uuid, vm->uuid, sizeof h->uuid);
        h->key = strdup(key);
        h->argument = argument ? strdup(argument) : NULL;
        r = h->key && (h->argument || !argument) ? strv_split(text, ';', &h->items) : -ENOMEM;
        if (r >= 0 && strv_length(h->items) > HOOK_ITEMS_MAX)
                r = -E2BIG;
        if (r < 0) {
                hook_free(h);
                return r;
        }
        *ret = h;
        return 1;
}

int hook_run(Vm *vm, const char *key, const char *argument, HookDone done, void *userdata, Hook **ret)
{
        Hook *h;
        int r = hook_new(vm, key, argument, done, userdata, &h);

        if (r <= 0)
                return r;
        h->begun = true;
        r = hook_next(h);
        if (r < 0) {
                hook_free(h);
                return r;
        }
        if (ret)
                *ret = h;
        return 1;
}

int hook_queue(Vm *vm, const char *key, const char *argument)
{
        Hook **end = &queue, *h;
        size_t waiting = 0;
        int r;

        for (; *end; end = &(*end)->next)
                waiting += streq((*end)->uuid, vm->uuid);
        if (waiting >= HOOKS_WAITING_MAX)
                return -EBUSY;
        r = hook_new(vm, key, argument, NULL, NULL, &h);
        if (r <= 0)
                return r;
        *end = h;
        queue_go_on(vm->uuid);
        return 0;
}

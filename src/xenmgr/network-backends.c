/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-backends.h"

#include "config-writer.h"
#include "guest-nodes.h"
#include "host.h"
#include "list.h"
#include "log.h"
#include "monitor-client.h"
#include "networks.h"
#include "parse.h"

#define CALL_USEC (30 * USEC_PER_SEC)
#define TRIES 30
#define STATE_CONNECTED "100"

#define NODE_SIZE 40

typedef struct Reconnect Reconnect;

struct Reconnect {
        Vm *vm;
        unsigned nic, tries;
        char backend[37];
        int64_t domid; /* of the backend; it does not matter any more once that has another */
        MonitorCall *call;
        sd_event_source *timer;
        Reconnect *next;
};

/*
 * Which VM, with which domain, serves a card: "UUID DOMID" among what is kept of the guest for as long as it runs, so that a
 * new xenmgr finds cards whose backend came back while there was none.
 */
static void served_node(unsigned nic, char ret[static NODE_SIZE])
{
        snprintf(ret, NODE_SIZE, GUEST_NODE_HOST "nic/%u", nic);
}

static void served_set(Vm *vm, unsigned nic, const char *backend, int64_t domid)
{
        char node[NODE_SIZE], text[64];

        served_node(nic, node);
        snprintf(text, sizeof text, "%s %lld", backend, (long long) domid);
        guest_node_note(vm, node, text);
}

/* The VM that served it when it was connected last, and that one's domain then; NULL: none, or it is gone. */
static Vm *served_by(const Vm *vm, unsigned nic, int64_t *ret_domid)
{
        char node[NODE_SIZE], uuid[37];
        const char *text;

        served_node(nic, node);
        text = strempty(guest_node(vm, node));
        if (strlen(text) < 38)
                return NULL;
        snprintf(uuid, sizeof uuid, "%.36s", text);
        return parse_i64(text + 37, ret_domid) < 0 ? NULL : manager_find_vm(vm->manager, uuid);
}

static void reconnect_free(Reconnect *r)
{
        LIST_TAKE_OUT(r->vm->reconnects, r);
        monitor_call_cancel(r->call);
        sd_event_source_disable_unref(r->timer);
        free(r);
}

void network_reconnects_drop(Vm *vm)
{
        while (vm->reconnects)
                reconnect_free(vm->reconnects);
}

static void reconnect_try(Reconnect *r);

static int on_again(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Reconnect *r = userdata;

        r->timer = sd_event_source_disable_unref(r->timer);
        reconnect_try(r);
        return 0;
}

static void on_connected(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        Reconnect *r = userdata;
        char path[64], vif[48];

        r->call = NULL;
        if (error && ++r->tries < TRIES &&
            sd_event_add_time_relative(vm->manager->event, &r->timer, CLOCK_MONOTONIC, USEC_PER_SEC, 0, on_again, r) >= 0) {
                log_debug("nic %u of %s: %s; it is tried again", r->nic, vm->uuid, strempty(error->message));
                return;
        }
        if (error)
                log_warning("nic %u of %s is not connected with its backend %s again: %s", r->nic, vm->uuid, r->backend,
                            strempty(error->message));
        else {
                log_info("nic %u of %s is connected with its backend %s again", r->nic, vm->uuid, r->backend);
                served_set(vm, r->nic, r->backend, r->domid);
                /* A record without network is none of the daemon's business. */
                snprintf(path, sizeof path, "config/nic/%u/network", r->nic);
                snprintf(vif, sizeof vif, "vif%lld.%u", (long long) vm->domid, r->nic);
                if (*vm_text(vm, path, ""))
                        manager_notify_service(vm->manager, NETWORK_DAEMON, "/", NETWORK_DAEMON, "vif_connected", "si", vif,
                                               (int32_t) r->domid);
        }
        reconnect_free(r);
}

/* The card is out: it goes in as the configuration has it now, with the backend's new domain. */
static void on_unplugged(Vm *vm, const char *reply, const sd_bus_error *error, void *userdata)
{
        Reconnect *r = userdata;
        _cleanup_free_ char *line = error ? NULL : config_nic_line(vm, r->nic);
        const char *const args[] = { "type", "nic", "cmd", "add", "extra", line, NULL };

        r->call = NULL;
        if (error || !line || monitor_call(vm, "device", args, CALL_USEC, on_connected, r, &r->call) < 0)
                on_connected(vm, reply, error, r);
}

static void reconnect_try(Reconnect *r)
{
        const Vm *backend = manager_find_vm(r->vm->manager, r->backend);
        char number[16], path[64];
        const char *const unplug[] = { "type", "nic", "cmd", "del", "extra", number, NULL };
        const char *cable[] = { "id", number, "network", NULL, NULL };

        if (!backend || backend->domid != r->domid || !vm_is_running(r->vm)) {
                reconnect_free(r);
                return;
        }
        snprintf(number, sizeof number, "%u", r->nic);
        snprintf(path, sizeof path, "config/nic/%u/network", r->nic);
        cable[3] = config_network(vm_text(r->vm, path, ""));
        if ((host_is_xen() ? monitor_call(r->vm, "device", unplug, CALL_USEC, on_unplugged, r, &r->call)
                           : monitor_call(r->vm, "nic_network_switch", cable, CALL_USEC, on_connected, r, &r->call)) < 0)
                reconnect_free(r);
}

static void reconnect_begin(Vm *vm, unsigned nic, const Vm *backend)
{
        Reconnect *r;

        for (r = vm->reconnects; r; r = r->next)
                if (r->nic == nic && r->domid == backend->domid)
                        return; /* it is under way */
        r = calloc(1, sizeof *r);
        if (!r) {
                log_oom();
                return;
        }
        *r = (Reconnect) { .vm = vm, .nic = nic, .domid = backend->domid, .next = vm->reconnects };
        memcpy(r->backend, backend->uuid, sizeof r->backend);
        vm->reconnects = r;
        reconnect_try(r);
}

/* All cards that hang on it; those that are connected with it as it is now too, if that is wanted. */
static void reconnect_all(Vm *backend, bool all)
{
        Manager *m = backend->manager;

        for (size_t i = 0; backend->domid >= 0 && i < m->n_vms; i++) {
                unsigned ids[NICS_MAX];
                Vm *vm = m->vms[i];
                size_t n = vm_is_running(vm) && vm->monitor && vm != backend ? vm_record_ids(vm, "nic", ids, NICS_MAX) : 0;

                for (size_t k = 0; k < n; k++) {
                        char path[64];
                        int64_t domid;
                        bool named;

                        snprintf(path, sizeof path, "config/nic/%u/enable", ids[k]);
                        if (vm_bool(vm, path, true) && vm_nic_backend(vm, ids[k], &named) == backend &&
                            (all || served_by(vm, ids[k], &domid) != backend || domid != backend->domid))
                                reconnect_begin(vm, ids[k], backend);
                }
        }
}

void network_backend_up(Vm *backend)
{
        reconnect_all(backend, false);
}

void network_served(Vm *vm)
{
        unsigned ids[NICS_MAX];
        size_t n = vm_record_ids(vm, "nic", ids, NICS_MAX);

        for (size_t k = 0; k < n; k++) {
                bool named;
                const Vm *backend = vm_nic_backend(vm, ids[k], &named);

                if (backend && backend->domid >= 0)
                        served_set(vm, ids[k], backend->uuid, backend->domid);
        }
}

/* Both may be found in either order. */
void network_found(const Vm *found)
{
        const Manager *m = found->manager;

        for (size_t i = 0; i < m->n_vms; i++) {
                unsigned ids[NICS_MAX];
                Vm *vm = m->vms[i];
                size_t n = vm_is_running(vm) && vm->monitor ? vm_record_ids(vm, "nic", ids, NICS_MAX) : 0;

                for (size_t k = 0; k < n; k++) {
                        int64_t domid;
                        Vm *backend = served_by(vm, ids[k], &domid);

                        if (backend && (backend == found || vm == found) && backend->state == VM_RUNNING && backend->domid >= 0 &&
                            backend->domid != domid)
                                reconnect_begin(vm, ids[k], backend);
                }
        }
}

void network_backend_state(Manager *m, const char *state, const char *backend)
{
        const char *slash = strrchr(backend, '/');
        char uuid[37];
        Vm *vm = slash && uuid_from_path(slash + 1, uuid) ? manager_find_vm(m, uuid) : NULL;

        if (vm && streq(state, STATE_CONNECTED) && streq(vm_text(vm, "type", ""), "ndvm") && vm->state == VM_RUNNING)
                reconnect_all(vm, true);
}

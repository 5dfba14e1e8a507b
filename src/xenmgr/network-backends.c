/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-backends.h"

#include "config-writer.h"
#include "host.h"
#include "list.h"
#include "log.h"
#include "monitor-client.h"
#include "networks.h"
#include "parse.h"

#define CALL_USEC (30 * USEC_PER_SEC)
#define TRIES 30
#define STATE_CONNECTED "100"

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
        Reconnect *r = calloc(1, sizeof *r);

        if (!r) {
                log_oom();
                return;
        }
        *r = (Reconnect) { .vm = vm, .nic = nic, .domid = backend->domid, .next = vm->reconnects };
        memcpy(r->backend, backend->uuid, sizeof r->backend);
        vm->reconnects = r;
        reconnect_try(r);
}

/* All cards that hang on it of VMs that were started before it. */
static void reconnect_all(Vm *backend, bool all)
{
        Manager *m = backend->manager;

        for (size_t i = 0; backend->domid >= 0 && i < m->n_vms; i++) {
                unsigned ids[NICS_MAX];
                Vm *vm = m->vms[i];
                size_t n = vm_is_running(vm) && vm->monitor && vm != backend ? vm_record_ids(vm, "nic", ids, NICS_MAX) : 0;

                for (size_t k = 0; k < n && (all || vm->started_usec < backend->started_usec); k++) {
                        char path[64];
                        bool named;

                        snprintf(path, sizeof path, "config/nic/%u/enable", ids[k]);
                        if (vm_bool(vm, path, true) && vm_nic_backend(vm, ids[k], &named) == backend)
                                reconnect_begin(vm, ids[k], backend);
                }
        }
}

void network_backend_up(Vm *backend)
{
        if (vm_bool(backend, "provides-network-backend", false))
                reconnect_all(backend, false);
}

void network_backend_state(Manager *m, const char *state, const char *backend)
{
        const char *slash = strrchr(backend, '/');
        char uuid[37];
        Vm *vm = slash && uuid_from_path(slash + 1, uuid) ? manager_find_vm(m, uuid) : NULL;

        if (vm && streq(state, STATE_CONNECTED) && streq(vm_text(vm, "type", ""), "ndvm") && vm->state == VM_RUNNING)
                reconnect_all(vm, true);
}

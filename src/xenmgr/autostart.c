/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "autostart.h"

#include <fcntl.h>
#include <unistd.h>

#include "lifecycle.h"
#include "log.h"
#include "strbuf.h"
#include "vm.h"

struct Autostart {
        Manager *manager;
        char **queue;
        char current[37];
        sd_event_source *timer;
};

/* Made at the first start after the host's boot: the runtime directory is empty then. */
static bool first_since_boot(Manager *m)
{
        _cleanup_free_ char *path = paths_format(manager_paths(m), PATH_VM, ".booted");
        int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;

        safe_close(fd);
        return fd >= 0;
}

static bool installation_complete(Manager *m)
{
        static const char *const open_steps[] = { "deferred_dom0_password", "deferred_kb_layout", "deferred_eula",
                                                  "deferred_language" };

        for (size_t i = 0; i < ELEMENTSOF(open_steps); i++) {
                _cleanup_free_ char *path = paths_format(manager_paths(m), PATH_CONFIG, "%s", open_steps[i]);

                if (path && access(path, F_OK) == 0)
                        return false;
        }
        return true;
}

static void store_queue(struct Autostart *a)
{
        DbTx *tx = db_tx_new();
        char path[64];

        (void) db_tx_rm(tx, "/xenmgr/autostart-pending-vms");
        for (size_t i = 0; a->queue && a->queue[i]; i++) {
                snprintf(path, sizeof path, "/xenmgr/autostart-pending-vms/%zu", i);
                (void) db_tx_write(tx, path, a->queue[i]);
        }
        manager_commit_quietly(a->manager, tx, "/xenmgr/autostart-pending-vms");
}

static void next(struct Autostart *a);

static int on_delay(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        struct Autostart *a = userdata;

        a->timer = sd_event_source_disable_unref(a->timer);
        next(a);
        return 0;
}

static void later(struct Autostart *a, uint64_t usec)
{
        a->timer = sd_event_source_disable_unref(a->timer);
        (void) sd_event_add_time_relative(a->manager->event, &a->timer, CLOCK_MONOTONIC, usec, 0, on_delay, a);
}

static void remove_from_queue(struct Autostart *a, const char *uuid)
{
        size_t n = 0;

        for (size_t i = 0; a->queue && a->queue[i]; i++)
                if (streq(a->queue[i], uuid))
                        free(a->queue[i]);
                else
                        a->queue[n++] = a->queue[i];
        if (a->queue)
                a->queue[n] = NULL;
        store_queue(a);
}

static bool another_guest_runs(const Vm *vm)
{
        const Manager *m = vm->manager;

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i] != vm && vm_is_running(m->vms[i]) && !vm_is_service(m->vms[i]))
                        return true;
        return false;
}

/* The first guest that is started with the host is shown, or the VM that is named for it. */
static void show_started(Vm *vm)
{
        const Vm *named = manager_find_vm(vm->manager, db_text(vm->manager, "/xenmgr/pm-visible-vm", ""));

        if (vm_is_running(vm) && (named ? vm == named : !vm_is_service(vm) && !another_guest_runs(vm)))
                lifecycle_show(vm);
}

/* It leaves the queue now, so that a manager that was killed meanwhile is succeeded by one that tries again. */
static void on_started(const char *error, void *userdata)
{
        struct Autostart *a = userdata;
        int64_t delay = db_int(a->manager, "/xenmgr/svm-autostart-delay", 0);
        Vm *vm;

        if (!a->manager->serving || manager_bus_lost(a->manager)) { /* it goes on when the bus is back */
                a->current[0] = '\0';
                return;
        }
        remove_from_queue(a, a->current);
        vm = manager_find_vm(a->manager, a->current);
        if (!error && vm)
                show_started(vm);
        if (error)
                log_warning("%s was not started with the host: %s", a->current, error);
        a->current[0] = '\0';
        later(a, delay > 0 && delay < 3600 ? (uint64_t) delay * USEC_PER_SEC : 0);
}

/* VMs whose vault is closed stay in the queue, and so do all while the installation is not complete. */
static void next(struct Autostart *a)
{
        if (!a->manager->serving || !installation_complete(a->manager))
                return;
        for (size_t i = 0; a->queue && a->queue[i]; i++) {
                Vm *vm = manager_find_vm(a->manager, a->queue[i]);

                if (vm && vm_vault_closed(vm))
                        continue;
                /* One whose start is under way is waited for. */
                if (!vm || (vm_is_running(vm) && !vm->job)) {
                        _cleanup_free_ char *uuid = strdup(a->queue[i]);

                        if (uuid)
                                remove_from_queue(a, uuid);
                        later(a, 0);
                        return;
                }
                memcpy(a->current, vm->uuid, sizeof a->current);
                if (lifecycle_request(vm, JOB_START, 0, NULL, NULL, on_started, a) < 0)
                        later(a, USEC_PER_SEC);
                return;
        }
}

static int compare(const void *x, const void *y)
{
        Vm *a = *(Vm *const *) x, *b = *(Vm *const *) y;
        int64_t pa = vm_int(a, "start_on_boot_priority", 0), pb = vm_int(b, "start_on_boot_priority", 0);
        int64_t sa = vm_int(a, "slot", 0), sb = vm_int(b, "slot", 0);

        return pa != pb ? (pa < pb) - (pa > pb) : (sa > sb) - (sa < sb);
}

static int fill_queue(struct Autostart *a)
{
        Manager *m = a->manager;
        bool hibernated = streq(db_text(m, "/platform/hibernated", ""), "true");
        Vm **list = calloc(m->n_vms + 1, sizeof *list);
        size_t n = 0;
        int r = 0;

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];
                bool wanted = hibernated ? (vm_is_service(vm) ? vm_autostarts(vm) : vm_bool(vm, "hibernated", false))
                                         : vm_autostarts(vm);

                if (wanted && vm_bool(vm, "ready", true))
                        list[n++] = vm;
        }
        qsort(list, n, sizeof *list, compare);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = strv_extend(&a->queue, list[i]->uuid);
        free(list);
        return r;
}

/* Whenever somebody has logged in: vaults may be open now. */
static int on_auth_status(_unused_ sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        struct Autostart *a = userdata;

        if (!a->current[0] && !a->timer)
                next(a);
        return 0;
}

void autostart_begin(Manager *m)
{
        struct Autostart *a = m->autostart;
        bool fresh = !a;
        int r = 0;

        if (m->no_autostart)
                return;
        if (fresh) {
                a = m->autostart = calloc(1, sizeof *a);
                if (!a)
                        return;
                a->manager = m;
        }
        if (m->n_slots < ELEMENTSOF(m->slots) &&
            sd_bus_add_match(m->bus, &m->slots[m->n_slots],
                             "type='signal',interface='com.citrix.xenclient.input',member='auth_status'",
                             on_auth_status, a) >= 0)
                m->n_slots++;
        if (fresh && !first_since_boot(m)) {
                /* The manager was restarted: what was still waiting goes on. */
                for (const DbNode *n = dbnode_first(db_node(m, "/xenmgr/autostart-pending-vms")); r >= 0 && n;
                     n = dbnode_next(n))
                        r = strv_extend(&a->queue, dbnode_text(n, NULL));
        } else if (fresh && db_bool(m, "/xenmgr/autostart", true))
                r = fill_queue(a);
        if (r < 0) {
                log_oom();
                return;
        }
        if (fresh && strv_length(a->queue) > 0) {
                log_info("%zu VMs are started with the host", strv_length(a->queue));
                store_queue(a);
        }
        if (!a->current[0])
                later(a, 0);
}

static int on_auth_wanted(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        int wanted = 0;

        if (!sd_bus_message_get_error(reply) && sd_bus_message_read(reply, "b", &wanted) >= 0 && wanted)
                tell_input_daemon((Manager *) userdata, "auth_begin", "");
        return 0;
}

void autostart_login(Manager *m)
{
        if (manager_has_name(m, INPUT_DAEMON))
                (void) sd_bus_call_method_async(m->bus, NULL, INPUT_DAEMON, "/", INPUT_DAEMON, "get_auth_on_boot",
                                                on_auth_wanted, m, "");
}

void autostart_end(Manager *m)
{
        struct Autostart *a = m->autostart;

        if (!a)
                return;
        sd_event_source_disable_unref(a->timer);
        strv_free(a->queue);
        free(a);
        m->autostart = NULL;
}

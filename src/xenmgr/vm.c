/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "config-writer.h"
#include "fs.h"
#include "guest-nodes.h"
#include "host.h"
#include "lifecycle.h"
#include "log.h"
#include "mac.h"
#include "monitor-client.h"
#include "network-backends.h"
#include "networks.h"
#include "parse.h"
#include "strbuf.h"

#define CONFIG_CHANGED_USEC (500 * USEC_PER_MSEC)

static const struct {
        const char *word, *shown;
} states[_VM_STATE_MAX] = {
        [VM_SHUTDOWN] = { "shutdown", "stopped" },
        [VM_CREATING_DOMAIN] = { "creating-domain", "creating" },
        [VM_CREATING_DEVICES] = { "creating-devices", "creating" },
        [VM_CREATED] = { "created", "creating" },
        [VM_RUNNING] = { "running", "running" },
        [VM_PAUSED] = { "paused", "paused" },
        [VM_SHUTDOWNING] = { "shutdowning", "stopping" },
        [VM_REBOOTING] = { "rebooting", "rebooting" },
        [VM_REBOOTED] = { "rebooted", "rebooted" },
        [VM_SUSPENDING] = { "suspending", "suspending" },
        [VM_SUSPENDED] = { "suspended", "suspended" },
        [VM_RESTORING] = { "restoring", "restoring" },
};

const char *vm_state_word(VmState s)
{
        return states[s].word;
}

const char *vm_state_public(VmState s)
{
        return states[s].shown;
}

VmState vm_state_from_word(const char *word)
{
        for (VmState s = 0; s < _VM_STATE_MAX; s++)
                if (streq(states[s].word, word))
                        return s;
        return _VM_STATE_MAX;
}

int vm_new(Manager *m, const char *uuid, Vm **ret)
{
        char buf[37];
        Vm *vm = calloc(1, sizeof *vm);

        if (!vm)
                return -ENOMEM;
        *vm = (Vm) { .manager = m, .domid = -1, .stubdomid = -1, .acpi_state = 5, .monitor_pidfd = -EBADF,
                     .monitor_errors = -EBADF, .fresh = !m->serving };
        vm->events_end = &vm->events;
        memcpy(vm->uuid, uuid, sizeof vm->uuid);
        snprintf(vm->path, sizeof vm->path, "/vm/%s", uuid_to_path(uuid, buf));
        *ret = vm;
        return 0;
}

Vm *vm_free(Vm *vm)
{
        if (!vm)
                return NULL;
        lifecycle_forget(vm);
        network_reconnects_drop(vm);
        monitor_forget(vm); /* behind all that holds a call of it */
        guest_nodes_free(vm->guest_nodes);
        free(vm->monitor);
        free(vm);
        return NULL;
}

/* Reading */

const DbNode *vm_node(Vm *vm)
{
        if (vm->node_generation != vm->manager->generation) {
                char path[64];

                snprintf(path, sizeof path, "/vm/%s", vm->uuid);
                vm->node = db_node(vm->manager, path);
                vm->node_generation = vm->manager->generation;
        }
        return vm->node;
}

const DbNode *vm_find(Vm *vm, const char *path)
{
        const DbNode *n = vm_node(vm);

        return n ? dbnode_find(n, path) : NULL;
}

bool vm_has(Vm *vm, const char *path)
{
        return vm_find(vm, path);
}

const char *vm_text(Vm *vm, const char *path, const char *fallback)
{
        const DbNode *n = vm_find(vm, path);

        return n ? dbnode_text(n, NULL) : fallback;
}

bool vm_bool(Vm *vm, const char *path, bool fallback)
{
        const DbNode *n = vm_find(vm, path);
        bool v;

        return n && parse_bool(dbnode_text(n, NULL), &v) >= 0 ? v : fallback;
}

int64_t vm_int(Vm *vm, const char *path, int64_t fallback)
{
        const DbNode *n = vm_find(vm, path);
        int64_t v;

        return n && schema_parse_int(dbnode_text(n, NULL), &v) >= 0 ? v : fallback;
}

static int compare_numbers(const void *a, const void *b)
{
        int64_t x = strtoll(dbnode_name(*(const DbNode *const *) a), NULL, 10),
                y = strtoll(dbnode_name(*(const DbNode *const *) b), NULL, 10);

        return (x > y) - (x < y);
}

int vm_list(Vm *vm, const char *path, char ***ret)
{
        const DbNode *list = vm_find(vm, path);
        _cleanup_free_ const DbNode **items = NULL;
        size_t count = 0, n = 0;
        uint64_t number;
        int r = 0;

        for (const DbNode *c = dbnode_first(list); c; c = dbnode_next(c))
                count++;
        items = calloc(count + 1, sizeof *items);
        if (!items)
                return -ENOMEM;
        for (const DbNode *c = dbnode_first(list); c; c = dbnode_next(c))
                if (parse_u64(dbnode_name(c), &number) >= 0)
                        items[n++] = c;
        qsort(items, n, sizeof *items, compare_numbers);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = strv_extend(ret, dbnode_text(items[i], NULL));
        return r;
}

char *vm_db_path(const Vm *vm, char buf[static VM_PATH_MAX], const char *fmt, ...)
{
        int n = snprintf(buf, VM_PATH_MAX, "/vm/%s/", vm->uuid);
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(buf + n, VM_PATH_MAX - (size_t) n, fmt, ap);
        va_end(ap);
        return buf;
}

void vm_write_quietly(Vm *vm, const char *key, const char *value)
{
        char path[VM_PATH_MAX];
        DbTx *tx;

        if (streq(vm_text(vm, key, ""), value))
                return;
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, vm_db_path(vm, path, "%s", key), value);
        vm_commit_quietly(vm, tx, key);
}

bool vm_is_service(Vm *vm)
{
        const char *type = vm_text(vm, "type", "svm");

        return !streq(type, "svm") && !streq(type, "pvm");
}

/* Asked of all VMs at each creation, so it is kept until something of the VM changes. */
int vm_taken_slot(Vm *vm)
{
        int64_t slot;

        if (vm->slot_generation != vm->manager->generation) {
                slot = vm_int(vm, "slot", 0);
                vm->taken_slot = slot > 0 && slot <= SLOT_MAX && !vm_is_service(vm) ? (int) slot : 0;
                vm->slot_generation = vm->manager->generation;
        }
        return vm->taken_slot;
}

bool vm_is_hvm(Vm *vm)
{
        return streq(vm_text(vm, "config/virt-type", "pv"), "hvm");
}

bool vm_native(Vm *vm)
{
        return vm_bool(vm, "native-experience", false);
}

bool vm_autostarts(Vm *vm)
{
        return vm_native(vm) || vm_bool(vm, "start_on_boot", false);
}

/* A stored true on pv or pvh must not make a start wait for a stub domain. */
bool vm_stubdom(Vm *vm)
{
        return vm_is_hvm(vm) && vm_bool(vm, "stubdom", false);
}

bool vm_has_amt(Vm *vm)
{
        return db_bool(vm->manager, "/system-amt-pt-active", false) && vm_bool(vm, "amt-pt", false);
}

bool vm_vault_closed(Vm *vm)
{
        const char *user = vm_text(vm, "crypto-user", "");
        _cleanup_free_ char *dir = NULL, *mounts = NULL, *needle = NULL;

        if (!*user)
                return false;
        dir = paths_format(manager_paths(vm->manager), PATH_CONFIG, "sec/s-%s", user);
        needle = dir ? strformat(" %s ", dir) : NULL;
        if (!needle || read_file("/proc/mounts", 4 * MIB, &mounts, NULL) < 0)
                return true;
        return !strstr(mounts, needle);
}

bool vm_is_running(const Vm *vm)
{
        return vm->state != VM_SHUTDOWN && vm->state != VM_REBOOTED;
}

bool vm_may_run(const Vm *vm)
{
        return vm_is_running(vm) || vm->building || vm->unknown_state;
}

int64_t vm_acpi_state(Vm *vm)
{
        if (!vm_is_running(vm))
                return vm_bool(vm, "hibernated", false) ? (vm->state == VM_REBOOTED ? 0 : 4) : 5;
        if (streq(vm_text(vm, "config/virt-type", "pv"), "pv"))
                return 0;
        return vm->acpi_state == 3 ? 3 : 0;
}

const char *vm_public_state(Vm *vm)
{
        if (vm->state == VM_SHUTDOWN && vm_vault_closed(vm))
                return "locked";
        /* A guest's reboot passes through stopped: see lifecycle.c */
        return vm_state_public(vm->state == VM_REBOOTED ? VM_SHUTDOWN : vm->state);
}

void vm_config_touched(Vm *vm)
{
        Manager *m = vm->manager;

        if (!m->serving)
                return;
        vm->config_changed_at = now_usec() + CONFIG_CHANGED_USEC;
        if (m->config_timer && sd_event_source_get_enabled(m->config_timer, NULL) <= 0) {
                (void) sd_event_source_set_time(m->config_timer, vm->config_changed_at);
                (void) sd_event_source_set_enabled(m->config_timer, SD_EVENT_ONESHOT);
        }
}

/* Records */

const RecordKind record_kinds[] = {
        [RECORD_DISK] = { "disk", DISKS_MAX }, [RECORD_NIC] = { "nic", NICS_MAX }, { "pci", PCI_RULES_MAX }, { 0 },
};

static int compare_ids(const void *a, const void *b)
{
        unsigned x = *(const unsigned *) a, y = *(const unsigned *) b;

        return (x > y) - (x < y);
}

size_t vm_record_ids(Vm *vm, const char *kind, unsigned *ret, size_t max)
{
        const DbNode *n;
        char path[32];
        size_t count = 0;

        snprintf(path, sizeof path, "config/%s", kind);
        n = vm_find(vm, path);
        for (const DbNode *c = n ? dbnode_first(n) : NULL; c && count < max; c = dbnode_next(c)) {
                uint64_t id;

                if (parse_u64(dbnode_name(c), &id) >= 0 && id <= INT32_MAX)
                        ret[count++] = (unsigned) id;
        }
        qsort(ret, count, sizeof *ret, compare_ids);
        return count;
}

char *vm_nic_mac(Vm *vm, unsigned id, char buf[static 18])
{
        char path[64];
        const char *mac;

        snprintf(path, sizeof path, "config/nic/%u/mac", id);
        mac = vm_text(vm, path, "");
        if (*mac)
                snprintf(buf, 18, "%s", mac);
        else if (!host_amt_mac(vm, buf))
                derive_mac(id, vm->uuid, buf);
        return buf;
}

Vm *vm_nic_backend(Vm *vm, unsigned id, bool *ret_explicit)
{
        Manager *m = vm->manager;
        char path[64];
        const char *uuid, *name;
        const Network *network;

        snprintf(path, sizeof path, "config/nic/%u/backend-uuid", id);
        uuid = vm_text(vm, path, "");
        snprintf(path, sizeof path, "config/nic/%u/backend-name", id);
        name = vm_text(vm, path, "");
        *ret_explicit = *uuid || *name;
        if (*uuid)
                return manager_find_vm(m, uuid);
        snprintf(path, sizeof path, "config/nic/%u/network", id);
        network = *name ? NULL : networks_find(m, config_network(vm_text(vm, path, "")));
        if (network && network->backend)
                return manager_find_vm(m, network->backend);
        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *v = m->vms[i];

                if (*name ? streq(vm_text(v, "name", ""), name) : vm_bool(v, "provides-default-network-backend", false))
                        return v == vm ? NULL : v;
        }
        return NULL;
}

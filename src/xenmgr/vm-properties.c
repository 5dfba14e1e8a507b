/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The properties of a VM. Both interfaces are made from vm_keys; what is not simply the stored value
 * has a row in `overrides`.
 */
#include <sys/stat.h>

#include "caps.h"
#include "config-writer.h"
#include "host.h"
#include "lifecycle.h"
#include "log.h"
#include "memory.h"
#include "monitor-client.h"
#include "strbuf.h"
#include "values.h"
#include "vm.h"

#define N_PROPERTIES_MAX 160

BusProperty vm_properties_restricted[N_PROPERTIES_MAX], vm_properties_unrestricted[N_PROPERTIES_MAX];

typedef struct VmProperty {
        const VmKey *key;
        /* Getters give the text form of the value; buf is room for one. NULL: the stored value. */
        const char *(*get)(Vm *vm, const VmKey *k, char *buf, size_t size);
        /* Returns as a property setter does. NULL: the general one. */
        int (*set)(Vm *vm, const VmKey *k, const char *value, Call *c);
} VmProperty;

static VmProperty properties[N_PROPERTIES_MAX];

bool refuse_guest(Call *c, const char *what)
{
        if (!c->caller.guest)
                return false;
        (void) call_fail(c, DBUS_ERROR_ACCESS_DENIED, "%s can be set by the host alone", what);
        return true;
}

static bool refuse_guest_but(Call *c, const char *type, const char *what)
{
        Vm *caller = c->caller.guest && !c->caller.stubdom ? manager_find_vm(c->userdata, c->caller.uuid) : NULL;

        return !(caller && streq(vm_text(caller, "type", "svm"), type)) && refuse_guest(c, what);
}

bool refuse_long_name(Call *c, const char *name)
{
        return strlen(name) > NAME_MAX_BYTES &&
               (call_fail(c, DBUS_ERROR_FAILED, "A name is at most %d bytes long", NAME_MAX_BYTES), true);
}

int fail_too_many(Call *c, const RecordKind *k)
{
        return call_fail(c, DBUS_ERROR_FAILED, "A VM has at most %zu records of kind %s", k->max, k->kind);
}

bool refuse_guest_but_ui(Call *c, const char *what)
{
        return refuse_guest_but(c, "uivm", what);
}

bool refuse_guest_but_synchroniser(Call *c, const char *what)
{
        return refuse_guest_but(c, "syncvm", what);
}

bool vm_refuse_by_policy(Vm *vm, Call *c)
{
        if (vm_bool(vm, "policies/modify-vm-settings", true))
                return false;
        (void) call_fail_code(c, ERROR_VM_POLICY, NULL);
        return true;
}

/* Getters that are more than the stored value */

static const char *number(char *buf, size_t size, int64_t v)
{
        snprintf(buf, size, "%lld", (long long) v);
        return buf;
}

static const char *truth(bool v)
{
        return v ? "true" : "false";
}

static const char *get_uuid(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        return vm->uuid;
}

static const char *get_type(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        const char *type = vm_text(vm, "type", "svm");

        return streq(type, "pvm") ? "svm" : type;
}

static const char *get_os(Vm *vm, const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        const char *os = vm_text(vm, "os", "unknown");

        return words_contain(k->choices, os) ? os : "unknown";
}

static const char *get_native_forced(Vm *vm, const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        bool show = streq(k->property, "show-switcher");

        if (vm_native(vm))
                return truth(!show);
        return truth(vm_bool(vm, k->path, show));
}

static bool has_seamless_traffic(Vm *vm)
{
        return !vm_is_service(vm) && vm_bool(vm, "seamless-traffic", caps_bool("seamless-traffic-default", false));
}

static const char *get_seamless_traffic(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        return truth(has_seamless_traffic(vm));
}

static const char *get_stubdom(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        return truth(vm_stubdom(vm));
}

static const char *get_memory_limit(Vm *vm, const VmKey *k, char *buf, size_t size)
{
        int64_t v = vm_int(vm, k->path, 0);

        return number(buf, size, v > 0 ? v : vm_int(vm, "config/memory", 0));
}

static const char *get_seamless_mouse(Vm *vm, const VmKey *k, char *buf, size_t size)
{
        return number(buf, size, host_seamless_slot(vm, endswith(k->property, "-left")));
}

static const char *get_memory_target(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        return number(buf, size, memory_target_mib(vm));
}

static const char *get_stub_domid(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        return number(buf, size, vm->stubdomid);
}

static const char *get_domid(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        return number(buf, size, vm->domid);
}

static const char *get_acpi_state(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        return number(buf, size, vm_acpi_state(vm));
}

static const char *get_state(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        return vm_public_state(vm);
}

static const char *get_autostart_pending(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        const DbNode *queue = db_node(vm->manager, "/xenmgr/autostart-pending-vms");

        for (const DbNode *n = dbnode_first(queue); n; n = dbnode_next(n))
                if (streq(dbnode_text(n, NULL), vm->uuid))
                        return "true";
        return "false";
}

static const char *get_portica(Vm *vm, _unused_ const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        if (!vm_bool(vm, "portica-installed", false))
                return "0";
        return vm_bool(vm, "portica-enabled", false) && has_seamless_traffic(vm) ? "1" : "2";
}

/* "Is a CD" means the device hdc, whatever the device type says. */
static bool next_cd(Vm *vm, size_t *at, unsigned *ret_id)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (; *at < n; (*at)++) {
                char path[64];

                snprintf(path, sizeof path, "config/disk/%u/device", ids[*at]);
                if (streq(vm_text(vm, path, ""), "hdc")) {
                        *ret_id = ids[(*at)++];
                        return true;
                }
        }
        return false;
}

static const char *get_cd(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        const char *file, *slash;
        size_t at = 0;
        unsigned id;
        char path[64];

        if (!next_cd(vm, &at, &id))
                return "";
        snprintf(path, sizeof path, "config/disk/%u/path", id);
        file = vm_text(vm, path, "");
        slash = strrchr(file, '/');
        file = slash ? slash + 1 : file;
        snprintf(buf, size, "%s", streq(file, "null.iso") ? "" : file);
        return buf;
}

static const char *get_mac(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        unsigned ids[NICS_MAX];

        if (size < 18 || vm_record_ids(vm, "nic", ids, NICS_MAX) == 0)
                return "";
        return vm_nic_mac(vm, ids[0], buf);
}

static const char *get_private_space(Vm *vm, _unused_ const VmKey *k, char *buf, size_t size)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);
        int64_t sum = 0;

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *mapped = NULL;
                char path[64];
                struct stat st;

                snprintf(path, sizeof path, "config/disk/%u/type", ids[i]);
                if (streq(vm_text(vm, path, ""), "phy"))
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                mapped = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                if (mapped && *mapped && stat(mapped, &st) >= 0 && S_ISREG(st.st_mode))
                        sum += st.st_size / (int64_t) MIB;
        }
        return number(buf, size, sum);
}

/* The first nic with or without wireless driver; -1: none. */
static int64_t nic_of_kind(Vm *vm, bool wireless)
{
        unsigned ids[NICS_MAX];
        size_t n = vm_record_ids(vm, "nic", ids, NICS_MAX);

        for (size_t i = 0; i < n; i++) {
                char path[64];

                snprintf(path, sizeof path, "config/nic/%u/wireless-driver", ids[i]);
                if (vm_bool(vm, path, false) == wireless)
                        return ids[i];
        }
        return -1;
}

static const char *get_network(Vm *vm, const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        int64_t id = nic_of_kind(vm, streq(k->property, "wireless-network"));
        char path[64];

        if (id < 0)
                return "";
        snprintf(path, sizeof path, "config/nic/%u/network", (unsigned) id);
        return config_network(vm_text(vm, path, ""));
}

/* Setters with effects */

static int write_text(Vm *vm, const char *path, const char *value, Call *c)
{
        char full[VM_PATH_MAX];
        DbTx *tx;

        tx = vm_tx_new(vm, "");
        (void) (value ? db_tx_write(tx, vm_db_path(vm, full, "%s", path), value)
                      : db_tx_rm(tx, vm_db_path(vm, full, "%s", path)));
        return vm_commit(vm, tx, c);
}

static int set_name(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        if (refuse_long_name(c, value))
                return 0;
        /* Told even if nothing changes; a change is told when it comes back from the database. */
        if (streq(vm_text(vm, k->path, ""), value)) {
                manager_emit(vm->manager, "vm_name_changed", "so", vm->uuid, vm->path);
                return 1;
        }
        return write_text(vm, k->path, value, c);
}

static int set_download_progress(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        if (streq(vm_text(vm, k->path, ""), value)) {
                manager_emit(vm->manager, "vm_transfer_changed", "so", vm->uuid, vm->path);
                return 1;
        }
        return write_text(vm, k->path, value, c);
}

/* Stored even if it is what is read where nothing is: that is the flavour's, and may change. */
static int set_seamless_traffic(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        return vm_has(vm, k->path) && streq(vm_text(vm, k->path, ""), value) ? 1 : write_text(vm, k->path, value, c);
}

static int set_os(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        if (!words_contain(k->choices, value))
                return call_fail(c, DBUS_ERROR_FAILED, "unknown os");
        return write_text(vm, k->path, value, c);
}

/* Of a VM that gives way to the one that tx is for. If it is gone by then all of tx is refused. */
static void tx_write_other(DbTx *tx, const Vm *other, const char *key, const char *value)
{
        char path[VM_PATH_MAX];

        snprintf(path, sizeof path, "/vm/%s", other->uuid);
        (void) db_tx_require(tx, "exists", path, "");
        (void) db_tx_write(tx, vm_db_path(other, path, "%s", key), value);
}

/* Another VM that has the slot gets the old one of this VM, in the same transaction. */
static int set_slot(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        Manager *m = vm->manager;
        int64_t new = 0, old = vm_int(vm, "slot", 0);
        char path[VM_PATH_MAX], text[24];
        DbTx *tx;

        (void) schema_parse_int(value, &new);
        if (new == old && vm_has(vm, k->path))
                return 1;
        tx = vm_tx_new(vm, "");
        for (size_t i = 0; new >= 0 && old > 0 && i < m->n_vms; i++) {
                Vm *v = m->vms[i];

                if (v == vm || !vm_has(v, "slot") || vm_int(v, "slot", 0) != new)
                        continue;
                tx_write_other(tx, v, "slot", number(text, sizeof text, old));
                break;
        }
        (void) db_tx_write(tx, vm_db_path(vm, path, "slot"), value);
        return vm_commit(vm, tx, c);
}

/* At most one guest looks like the whole machine. */
static int set_native(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        Manager *m = vm->manager;
        char path[VM_PATH_MAX];
        DbTx *tx = vm_tx_new(vm, "");

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i] != vm && !vm_is_service(m->vms[i]) && vm_native(m->vms[i]))
                        tx_write_other(tx, m->vms[i], k->path, "false");
        (void) db_tx_write(tx, vm_db_path(vm, path, "%s", k->path), value);
        return vm_commit(vm, tx, c);
}

static void on_cd_inserted(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        if (error)
                log_warning("The CD of %s could not be changed: %s", vm->uuid, strempty(error->message));
}

static int set_cd(Vm *vm, _unused_ const VmKey *k, const char *value, Call *c)
{
        _cleanup_free_ char *file = NULL, *mapped = NULL;
        char path[VM_PATH_MAX];
        bool any = false;
        size_t at = 0;
        unsigned id;
        DbTx *tx;

        /* A file of the ISO folder, never a path out of it. */
        if (strchr(value, '/') || streq(value, ".."))
                return call_fail(c, DBUS_ERROR_FAILED, "cd takes the name of a file in the ISO folder, not a path");
        file = strformat("%s/%s", db_text(vm->manager, "/xenmgr/isos", "/storage/isos"), *value ? value : "null.iso");
        mapped = file ? paths_map(manager_paths(vm->manager), file) : NULL;
        if (!mapped)
                return -ENOMEM;
        tx = vm_tx_new(vm, "");
        while (next_cd(vm, &at, &id)) {
                any = true;
                (void) db_tx_write(tx, vm_db_path(vm, path, "config/disk/%u/path", id), file);
        }
        if (!any) {
                db_tx_free(tx);
                return 1;
        }
        if (vm_is_running(vm) && vm->monitor) {
                const char *const args[] = { "virtpath", "hdc", "physpath", mapped, NULL };
                const char *const eject[] = { "virtpath", "hdc", NULL };

                (void) monitor_call(vm, *value ? "cd_insert_file" : "cd_eject", *value ? args : eject,
                                    30 * USEC_PER_SEC, on_cd_inserted, NULL, NULL);
        }
        return vm_commit(vm, tx, c);
}

static int set_network(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        int64_t id = nic_of_kind(vm, streq(k->property, "wireless-network"));

        return id < 0 ? 1 : nic_set_network(vm, (unsigned) id, value, c);
}

/* Saved only if it is one of the host's GPUs; the empty text matches any. */
static int set_gpu(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        if (!host_gpu_matches(vm->manager, value))
                return 1;
        return write_text(vm, k->path, value, c);
}

static int set_sentinel(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        if (strchr(value, '/') || strstr(value, ".."))
                return call_fail(c, DBUS_ERROR_FAILED, "boot-sentinel is the name of one node, without '/'");
        return write_text(vm, k->path, *value ? value : NULL, c);
}

static const struct {
        const char *property;
        const char *(*get)(Vm *vm, const VmKey *k, char *buf, size_t size);
        int (*set)(Vm *vm, const VmKey *k, const char *value, Call *c);
} overrides[] = {
        { "uuid", get_uuid, NULL },
        { "type", get_type, NULL },
        { "os", get_os, set_os },
        { "name", NULL, set_name },
        { "slot", NULL, set_slot },
        { "download-progress", NULL, set_download_progress },
        { "native-experience", NULL, set_native },
        { "start-on-boot", get_native_forced, NULL },
        { "show-switcher", get_native_forced, NULL },
        { "wireless-control", get_native_forced, NULL },
        { "usb-grab-devices", get_native_forced, NULL },
        { "control-platform-power-state", get_native_forced, NULL },
        { "seamless-traffic", get_seamless_traffic, set_seamless_traffic },
        { "seamless-mouse-left", get_seamless_mouse, NULL },
        { "seamless-mouse-right", get_seamless_mouse, NULL },
        { "stubdom", get_stubdom, NULL },
        { "stub_domid", get_stub_domid, NULL },
        { "memory-static-max", get_memory_limit, NULL },
        { "memory-min", get_memory_limit, NULL },
        { "memory-target", get_memory_target, NULL },
        { "domid", get_domid, NULL },
        { "acpi-state", get_acpi_state, NULL },
        { "state", get_state, NULL },
        { "autostart-pending", get_autostart_pending, NULL },
        { "portica-enabled", get_portica, NULL },
        { "cd", get_cd, set_cd },
        { "mac", get_mac, NULL },
        { "private-space", get_private_space, NULL },
        { "wired-network", get_network, set_network },
        { "wireless-network", get_network, set_network },
        { "gpu", NULL, set_gpu },
        { "boot-sentinel", NULL, set_sentinel },
};

/* Lists are one text on D-Bus, their items joined with ';'. */
static char *list_text(Vm *vm, const char *path)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_strv_ char **items = NULL;
        char *text = NULL;

        if (vm_list(vm, path, &items) < 0)
                return NULL;
        for (char **i = items; i && *i; i++)
                strbuf_addf(&b, "%s%s", b.len ? ";" : "", *i);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static int append_dependencies(Vm *vm, sd_bus_message *reply)
{
        Vm **deps = NULL;
        size_t n = 0;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "o");
        /* A cycle is an error of a start; here the list is what can be said. */
        if (r >= 0 && lifecycle_dependencies(vm, &deps, &n) >= 0)
                for (size_t i = 0; r >= 0 && i < n; i++)
                        r = sd_bus_message_append_basic(reply, 'o', deps[i]->path);
        free(deps);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int property_get(Call *c, const BusProperty *bp, sd_bus_message *reply)
{
        const VmProperty *p = bp->data;
        const VmKey *k = p->key;
        Vm *vm = c->object;
        _cleanup_free_ char *joined = NULL;
        char buf[1024];
        const char *text;

        if (k->type == VMKEY_PATHS)
                return append_dependencies(vm, reply);
        if (p->get)
                text = p->get(vm, k, buf, sizeof buf);
        else {
                const DbNode *n = vm_find(vm, k->path);

                text = n ? dbnode_text(n, NULL) : k->fallback;
                if (n && k->type == VMKEY_LIST) {
                        joined = list_text(vm, k->path);
                        text = strempty(joined);
                }
        }
        return value_append(c, k, text, reply);
}

static int set_list(Vm *vm, const VmKey *k, const char *value, Call *c)
{
        _cleanup_strv_ char **items = NULL;
        char path[VM_PATH_MAX];
        size_t n = 0;
        DbTx *tx;
        int r;

        r = strv_split(value, ';', &items);
        if (r < 0)
                return r;
        tx = vm_tx_new(vm, "");
        (void) db_tx_rm(tx, vm_db_path(vm, path, "%s", k->path));
        for (char **i = items; i && *i; i++)
                if (*strstrip(*i))
                        (void) db_tx_write(tx, vm_db_path(vm, path, "%s/%zu", k->path, n++), strstrip(*i));
        return vm_commit(vm, tx, c);
}

static int set_value(Vm *vm, const VmProperty *p, char *value, Call *c)
{
        const VmKey *k = p->key;
        const char *why;
        int64_t n;

        if (k->flags & VMKEY_STRIP)
                value = strstrip(value);
        if (k->flags & VMKEY_INVERTED)
                value = (char *) (streq(value, "true") ? "false" : "true");
        if (!p->set && !(k->flags & VMKEY_OPTIONAL && !*value) && !vm_key_check(k, value, &why))
                return call_fail(c, DBUS_ERROR_FAILED, "unexpected enumeration value '%.64s' of %s, which takes: %s",
                                 value, k->property, why);
        if (p->set)
                return p->set(vm, k, value, c);
        if (k->type == VMKEY_LIST)
                return set_list(vm, k, value, c);
        if (!vm_node(vm))
                return 1;
        if (k->flags & VMKEY_OPTIONAL &&
            (!*value || (k->type == VMKEY_INT && schema_parse_int(value, &n) >= 0 && n <= 0)))
                return vm_has(vm, k->path) ? write_text(vm, k->path, NULL, c) : 1;
        if (vm_has(vm, k->path) && streq(vm_text(vm, k->path, ""), value)) {
                if (k->flags & VMKEY_ALWAYS && !(k->flags & VMKEY_SILENT))
                        vm_config_touched(vm);
                return 1;
        }
        /* Equal to what is read already: nothing to store, nothing to tell. Policies are always told. */
        if (!vm_has(vm, k->path) && !(k->flags & VMKEY_ALWAYS) && streq_ptr(k->fallback, value))
                return 1;
        return write_text(vm, k->path, value, c);
}

static int property_set(Call *c, const BusProperty *bp, sd_bus_message *message, _unused_ const char *type)
{
        const VmProperty *p = bp->data;
        _cleanup_free_ char *value = NULL;
        Vm *vm = c->object;
        int r;

        if (c->interface->properties == vm_properties_restricted && !(p->key->flags & VMKEY_UNCHECKED) &&
            vm_refuse_by_policy(vm, c))
                return 0;
        if ((p->key->flags & VMKEY_HOST_ONLY && refuse_guest(c, p->key->property)) ||
            (p->key->flags & VMKEY_ADMIN && refuse_guest_but_ui(c, p->key->property)))
                return 0;
        r = value_read(message, vm_key_signature(p->key), &value);
        if (r < 0)
                return r;
        if (strlen(value) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_FAILED, "A value is at most %d bytes long", (int) VALUE_MAX_BYTES);
        /* It becomes one line of the monitor's configuration. */
        if (p->key->line && strpbrk(value, "\n\r"))
                return call_fail(c, DBUS_ERROR_FAILED, "%s takes one line", p->key->property);
        return set_value(vm, p, value, c);
}

void vm_properties_init(void)
{
        size_t restricted = 0;

        for (size_t i = 0; i < n_vm_keys && i < N_PROPERTIES_MAX - 1; i++) {
                const VmKey *k = &vm_keys[i];
                BusProperty p = { .name = k->property,
                                  .signature = vm_key_signature(k),
                                  .access = k->flags & VMKEY_READ_ONLY ? BUS_READ : BUS_READWRITE,
                                  .get = property_get,
                                  .set = property_set,
                                  .data = &properties[i] };

                properties[i] = (VmProperty) { .key = k };
                for (size_t o = 0; o < ELEMENTSOF(overrides); o++)
                        if (streq(overrides[o].property, k->property)) {
                                properties[i].get = overrides[o].get;
                                properties[i].set = overrides[o].set;
                        }
                vm_properties_unrestricted[i] = p;
                if (!(k->flags & VMKEY_UNRESTRICTED))
                        vm_properties_restricted[restricted++] = p;
        }
}

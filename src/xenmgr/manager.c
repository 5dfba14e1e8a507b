/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include <stdarg.h>
#include <sys/stat.h>

#include "autostart.h"
#include "create.h"
#include "delete.h"
#include "intent.h"
#include "host.h"
#include "import.h"
#include "host-xen.h"
#include "lifecycle.h"
#include "log.h"
#include "monitor-client.h"
#include "networks.h"
#include "parse.h"
#include "root-dbus.h"
#include "shutdown-all.h"
#include "strbuf.h"
#include "templates.h"
#include "vm.h"
#include "xen-nodes.h"

#define LOAD_USEC (10 * USEC_PER_SEC)
#define ADOPT_USEC (3 * USEC_PER_SEC)

/* The parts of the database that are followed. The guests' own stores are not: they are asked for. */
static const char *const roots[] = {
        "/vm", "/xenmgr", "/switcher", "/power-management", "/audio", "/platform", "/extpack", "/updatemgr",
        "/vm-create-disallowed", "/vm-delete-disallowed", "/ota-upgrades-disallowed", "/cd-exclusive",
        "/dom0-mem-target-mib", "/system-amt-pt-active",
};
_Static_assert(ELEMENTSOF(roots) <= N_MIRRORS_MAX, "more mirrors than places");

/* Database */

const DbNode *db_node(const Manager *m, const char *path)
{
        for (size_t i = 0; i < ELEMENTSOF(roots); i++) {
                const char *rest = startswith(path, roots[i]);
                const DbNode *root;

                if (!rest || (*rest && *rest != '/'))
                        continue;
                root = m->mirrors[i] ? dbmirror_root(m->mirrors[i]) : NULL;
                while (*rest == '/')
                        rest++;
                return root && *rest ? dbnode_find(root, rest) : root;
        }
        return NULL;
}

const char *db_text(const Manager *m, const char *path, const char *fallback)
{
        const DbNode *n = db_node(m, path);

        return n ? dbnode_text(n, NULL) : fallback;
}

bool db_bool(const Manager *m, const char *path, bool fallback)
{
        bool v;

        return parse_bool(db_text(m, path, ""), &v) >= 0 ? v : fallback;
}

int64_t db_int(const Manager *m, const char *path, int64_t fallback)
{
        int64_t v;

        return schema_parse_int(db_text(m, path, ""), &v) >= 0 ? v : fallback;
}

bool db_paths_meet(const char *a, const char *b)
{
        for (; *a && *a == *b; a++, b++)
                ;
        return (!*a && (!*b || *b == '/')) || (!*b && *a == '/');
}

typedef struct Commit {
        Call *call;
        char *text; /* object path to answer, or what for the log */
        int gone;   /* what it means that the first condition does not hold: 0 nothing; an error's code; GONE_UNKNOWN */
        void (*then)(bool done, void *userdata); /* or NULL */
        void *userdata;
} Commit;

#define GONE_UNKNOWN (-1) /* there is no such condition */

/* What was to be written to was deleted before. */
static bool is_gone(const Commit *w, const sd_bus_error *error)
{
        return w->gone != GONE_UNKNOWN && sd_bus_error_has_name(error, DB1_ERROR_FAILED) &&
               startswith(strempty(error->message), "0: ");
}

static void on_committed(const sd_bus_error *error, void *userdata)
{
        Commit *w = userdata;

        if (w->then)
                w->then(!error, w->userdata);
        if (is_gone(w, error) && (!w->call || w->gone == 0))
                (void) (w->call ? call_reply(w->call, NULL) : 0);
        else if (is_gone(w, error))
                (void) call_fail_code(w->call, (ErrorCode) w->gone, NULL);
        else if (!w->call) {
                if (error)
                        log_warning("Cannot write %s: %s", strempty(w->text), strempty(error->message));
        } else if (error)
                (void) call_fail(w->call, DBUS_ERROR_FAILED, "The database did not take it: %s",
                                 strempty(error->message));
        else if (w->text)
                (void) call_reply(w->call, "o", w->text);
        else
                (void) call_reply(w->call, NULL);
        call_unref(w->call);
        free(w->text);
        free(w);
}

/* The VM that the call is to, as such or by one of its records; NULL: none. */
static Vm *vm_of_call(Manager *m, const Call *c)
{
        return c->object == m ? NULL : c->object == &m->record ? m->record.vm : c->object;
}

static int commit(Manager *m, DbTx *tx, const Commit *how)
{
        const Vm *vm = how->call && how->call->caller.guest ? vm_of_call(m, how->call) : NULL;
        Commit *w = m->bus ? calloc(1, sizeof *w) : NULL;
        char path[64];
        int r;

        if (!w) {
                db_tx_free(tx);
                return -ENOTCONN;
        }
        /* We write as the host, whom the database does not limit. */
        if (vm) {
                snprintf(path, sizeof path, "/vm/%s", vm->uuid);
                (void) db_tx_require(tx, "within", path, VM_OF_GUESTS_MAX);
        }
        *w = *how;
        w->call = how->call ? call_ref(how->call) : NULL;
        w->text = how->text ? strdup(how->text) : NULL;
        r = db_tx_commit(tx, m->bus, on_committed, w);
        if (r < 0) {
                call_unref(w->call);
                free(w->text);
                free(w);
        }
        return r < 0 ? r : 0;
}

static void commit_quietly(Manager *m, DbTx *tx, const char *what, int gone)
{
        int r = commit(m, tx, &(Commit) { .text = (char *) what, .gone = gone });

        if (r < 0)
                log_warning("Cannot write %s: %s", what, strerror(-r));
}

int manager_commit(Manager *m, DbTx *tx, Call *c, const char *object_path)
{
        return commit(m, tx, &(Commit) { .call = c, .text = (char *) object_path, .gone = GONE_UNKNOWN });
}

void manager_commit_quietly(Manager *m, DbTx *tx, const char *what)
{
        commit_quietly(m, tx, what, GONE_UNKNOWN);
}

DbTx *vm_tx_new(const Vm *vm, const char *record)
{
        DbTx *tx = db_tx_new();
        char path[VM_PATH_MAX];

        snprintf(path, sizeof path, "/vm/%s%s%s", vm->uuid, *record ? "/" : "", record);
        (void) db_tx_require(tx, "exists", path, "");
        return tx;
}

int vm_commit(Vm *vm, DbTx *tx, Call *c)
{
        return commit(vm->manager, tx, &(Commit) { .call = c });
}

static ErrorCode missing_record(const char *kind)
{
        return streq(kind, "disk") ? ERROR_NO_DISK : ERROR_NO_NIC;
}

int vm_commit_record(Vm *vm, DbTx *tx, const char *kind, Call *c, const char *object_path)
{
        return commit(vm->manager, tx, &(Commit) { .call = c, .text = (char *) object_path, .gone = (int) missing_record(kind) });
}

int vm_commit_then(Vm *vm, DbTx *tx, const char *kind, Call *c, void (*then)(bool done, void *userdata), void *userdata)
{
        return commit(vm->manager, tx,
                      &(Commit) { .call = c, .gone = (int) missing_record(kind), .then = then, .userdata = userdata });
}

void vm_commit_quietly(Vm *vm, DbTx *tx, const char *what)
{
        commit_quietly(vm->manager, tx, what, 0);
}

/* VMs */

static size_t vm_position(const Manager *m, const char *uuid, bool *ret_found)
{
        size_t low = 0, high = m->n_vms;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int c = strcmp(m->vms[middle]->uuid, uuid);

                if (c == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_found = false;
        return low;
}

Vm *manager_find_vm(const Manager *m, const char *uuid)
{
        bool found;
        size_t i = vm_position(m, uuid, &found);

        return found ? m->vms[i] : NULL;
}

Vm *manager_find_vm_by_domid(const Manager *m, int64_t domid)
{
        for (size_t i = 0; domid >= 0 && i < m->n_vms; i++)
                if (m->vms[i]->domid == domid)
                        return m->vms[i];
        return NULL;
}

static Vm *manager_find_vm_by_path(const Manager *m, const char *path)
{
        const char *u = startswith(path, "/vm/");
        char text[37], uuid[37];

        if (!u || strlen(u) < 36 || (u[36] && u[36] != '/'))
                return NULL;
        memcpy(text, u, 36);
        text[36] = '\0';
        return uuid_from_path(text, uuid) ? manager_find_vm(m, uuid) : NULL;
}

static void vm_add(Manager *m, const char *uuid)
{
        bool found;
        size_t at = vm_position(m, uuid, &found);
        Vm **grown, *vm;

        grown = realloc(m->vms, (m->n_vms + 1) * sizeof *grown);
        if (!grown || vm_new(m, uuid, &vm) < 0) {
                if (grown)
                        m->vms = grown;
                log_oom();
                return;
        }
        m->vms = grown;
        memmove(m->vms + at + 1, m->vms + at, (m->n_vms - at) * sizeof *m->vms);
        m->vms[at] = vm;
        m->n_vms++;
        vm->mark = true;
        intent_clear(manager_paths(m), uuid, INTENT_DELETE); /* it is there: nothing of it was deleted */
        vm->own_create = create_is_ours(m, uuid);
        if (m->serving && !vm->own_create) {
                log_info("VM %s appeared", uuid);
                manager_emit(m, "vm_created", "so", vm->uuid, vm->path);
        }
}

static void vm_remove(Manager *m, size_t at)
{
        Vm *vm = m->vms[at];

        memmove(m->vms + at, m->vms + at + 1, (m->n_vms - at - 1) * sizeof *m->vms);
        m->n_vms--;
        log_info("VM %s is gone", vm->uuid);
        delete_files(m, vm->uuid);
        if (!vm->own_create) /* else nobody was told of it */
                manager_emit(m, "vm_deleted", "so", vm->uuid, vm->path);
        monitor_quit(vm);
        vm_free(vm);
}

/*
 * Makes the VMs match the database after something changed in /vm. A running VM whose tree was removed by somebody stays an
 * object until it ends.
 */
static void manager_sync_vms(Manager *m)
{
        const DbNode *all = db_node(m, "/vm");
        bool found;

        for (size_t i = 0; i < m->n_vms; i++)
                m->vms[i]->mark = false;
        for (const DbNode *n = all ? dbnode_first(all) : NULL; n; n = dbnode_next(n)) {
                const char *uuid = dbnode_name(n);
                size_t at;

                if (!uuid_valid(uuid))
                        continue;
                at = vm_position(m, uuid, &found);
                if (found)
                        m->vms[at]->mark = true;
                else if (m->n_vms < VMS_MAX)
                        vm_add(m, uuid);
        }
        for (size_t i = m->n_vms; i-- > 0;)
                if (!m->vms[i]->mark && (!vm_may_run(m->vms[i]) || m->vms[i]->deleting))
                        vm_remove(m, i);
}

/* The same for one of them. */
static void sync_vm(Manager *m, const char *uuid)
{
        char path[64];
        bool found;
        size_t at = vm_position(m, uuid, &found);
        Vm *vm = found ? m->vms[at] : NULL;

        snprintf(path, sizeof path, "/vm/%s", uuid);
        if (db_node(m, path)) {
                if (!found && m->n_vms < VMS_MAX)
                        vm_add(m, uuid);
        } else if (vm && (!vm_may_run(vm) || vm->deleting))
                vm_remove(m, at);
}

/* What the mirrors tell */

/* A setting of the host is another now, or all of those below path are. */
static void setting_changed(Manager *m, const char *path)
{
        config_changed(m, path);
        host_changed(m, path);
}

int manager_store(Manager *m, const char *path, const char *text, Call *c)
{
        const DbNode *n = db_node(m, path);
        DbTx *tx = db_tx_new();

        if (text ? n && streq(dbnode_text(n, NULL), text) : !n)
                setting_changed(m, path);
        (void) (text ? db_tx_write(tx, path, text) : db_tx_rm(tx, path));
        return manager_commit(m, tx, c, NULL);
}

static void on_loaded(DbMirror *mirror, void *userdata)
{
        Manager *m = userdata;

        if (m->mirrors[0] == mirror)
                m->generation++;
        for (size_t i = 0; i < ELEMENTSOF(roots); i++)
                if (m->mirrors[i] == mirror) {
                        m->loaded |= UINT64_C(1) << i;
                        if (i > 0) /* not the VMs */
                                setting_changed(m, roots[i]);
                }
        if (m->mirrors[0] == mirror)
                manager_sync_vms(m);
}

static void vm_changed(Manager *m, const char *uuid_and_rest, const char *kind)
{
        char uuid[37];
        const char *rest;
        Vm *vm;
        const VmKey *k;

        snprintf(uuid, sizeof uuid, "%.36s", uuid_and_rest);
        vm = strlen(uuid) == 36 ? manager_find_vm(m, uuid) : NULL;
        if (vm)
                vm->slot_generation = 0;
        rest = vm && uuid_and_rest[36] == '/' ? uuid_and_rest + 37 : NULL;
        if (!rest) { /* a tree as a whole, or the first node of a new one */
                if (vm)
                        vm->node_generation = 0; /* the tree came, went or was replaced */
                if (uuid_valid(uuid))
                        sync_vm(m, uuid);
                vm = manager_find_vm(m, uuid);
                if (vm)
                        vm_config_touched(vm);
                return;
        }
        if (!vm->node)
                vm->node_generation = 0;
        k = vm_key_of_path(rest);
        if (streq(rest, "name"))
                manager_emit(m, "vm_name_changed", "so", vm->uuid, vm->path);
        if (streq(rest, "slot") && vm->domid >= 0)
                tell_input_daemon(m, "set_slot", "ii", (int32_t) vm->domid, (int32_t) vm_int(vm, "slot", 0));
        xen_nodes_changed(vm, rest);
        if (streq(rest, "download-progress"))
                manager_emit(m, "vm_transfer_changed", "so", vm->uuid, vm->path);
        /* Taking an optional value away is not told, nor are keys that say so. */
        if (!k || !(k->flags & VMKEY_SILENT || (k->flags & VMKEY_OPTIONAL && streq(kind, "rm"))))
                vm_config_touched(vm);
}

static void on_changed(_unused_ DbMirror *mirror, const char *path, const char *kind, void *userdata)
{
        Manager *m = userdata;
        const char *rest = startswith(path, "/vm");

        if (rest && *rest == '/')
                vm_changed(m, rest + 1, kind);
        else if (rest && !*rest) {
                m->generation++;
                manager_sync_vms(m);
        } else
                setting_changed(m, path);
}

static const DbMirrorEvents mirror_events = { .loaded = on_loaded, .changed = on_changed };

static int on_config_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Manager *m = userdata;
        uint64_t now = now_usec(), next = UINT64_MAX;

        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];

                if (!vm->config_changed_at)
                        continue;
                if (vm->config_changed_at <= now) {
                        vm->config_changed_at = 0;
                        manager_emit(m, "vm_config_changed", "so", vm->uuid, vm->path);
                } else
                        next = MIN2(next, vm->config_changed_at);
        }
        if (next != UINT64_MAX) {
                (void) sd_event_source_set_time(m->config_timer, next);
                (void) sd_event_source_set_enabled(m->config_timer, SD_EVENT_ONESHOT);
        }
        return 0;
}

/* Other services */

bool manager_has_name(const Manager *m, const char *name)
{
        return strv_contains(m->names, name);
}

void manager_notify_service(Manager *m, const char *service, const char *path, const char *interface,
                            const char *member, const char *signature, ...)
{
        sd_bus_message *message = NULL;
        va_list ap;
        int r;

        if (!m->bus || !manager_has_name(m, service))
                return;
        r = sd_bus_message_new_method_call(m->bus, &message, service, path, interface, member);
        va_start(ap, signature);
        if (r >= 0)
                r = sd_bus_message_appendv(message, signature, ap);
        va_end(ap);
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(message, false);
        if (r >= 0)
                r = sd_bus_send(m->bus, message, NULL);
        sd_bus_message_unref(message);
        if (r < 0)
                log_warning("Cannot tell %s of %s: %s", service, member, strerror(-r));
}

/* The daemon's life */

int manager_start(Daemon *d, void *userdata, _unused_ char *words[])
{
        Manager *m = userdata;
        int r;

        m->generation = 1; /* 0 is never current */
        m->daemon = d;
        m->event = d->event;
        m->host = host_new(m);
        if (!m->host)
                return log_oom();
        host_xen_refresh(m);
        vm_properties_init();
        record_properties_init();
        root_properties_init();
        r = shutdown_all_init(m);
        if (r >= 0)
                r = sd_event_add_time(d->event, &m->config_timer, CLOCK_MONOTONIC, UINT64_MAX, 1, on_config_timer, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->config_timer, SD_EVENT_OFF);
        return r < 0 ? log_errno(r, "Cannot set up the event loop") : 0;
}

/* Serves the connection until the condition or the time limit; only while it is being set up. */
static int pump(Manager *m, bool (*condition)(Manager *m), uint64_t usec)
{
        uint64_t end = now_usec() + usec;

        while (!condition(m)) {
                int r = sd_bus_process(m->bus, NULL);

                if (r < 0)
                        return r;
                if (now_usec() >= end)
                        return -ETIMEDOUT;
                if (r == 0)
                        (void) sd_bus_wait(m->bus, MIN2(end - now_usec(), USEC_PER_SEC / 10));
        }
        return 0;
}

static bool is_loaded(Manager *m)
{
        return m->loaded == (UINT64_C(1) << ELEMENTSOF(roots)) - 1;
}

static bool is_adopted(Manager *m)
{
        return m->n_adopting == 0;
}

static void on_configured(const sd_bus_error *error, void *userdata)
{
        Manager *m = userdata;

        if (error)
                log_warning("Service VMs could not be set up: %s", strempty(error->message));
        m->configured = true;
}

static bool is_configured(Manager *m)
{
        return m->configured;
}

/* Writes the service VMs and waits until they are in the mirrors: the database answers in order. */
static int configure_services(Manager *m)
{
        DbTx *fence = db_tx_new();
        int r;

        m->configured = false;
        r = templates_configure_services(m);
        if (r < 0)
                log_warning("Service VMs could not be set up: %s", strerror(-r));
        (void) db_tx_require(fence, "exists", "/", "");
        r = db_tx_commit(fence, m->bus, on_configured, m);
        return r < 0 ? r : pump(m, is_configured, LOAD_USEC);
}

int manager_bus_up(Daemon *d, void *userdata)
{
        Manager *m = userdata;
        int r;

        m->bus = d->bus;
        m->serving = false;
        m->loaded = 0;
        for (size_t i = 0; i < ELEMENTSOF(roots); i++) {
                r = dbmirror_new(m->bus, roots[i], &mirror_events, m, &m->mirrors[i]);
                if (r < 0)
                        return log_errno(r, "Cannot follow %s in the database", roots[i]);
        }
        r = pump(m, is_loaded, LOAD_USEC);
        if (r < 0)
                return log_errno(r, "The database (%s) does not answer", DB_SERVICE);
        r = configure_services(m);
        if (r < 0)
                return log_errno(r, "Cannot write to the database");
        r = monitor_bus_up(m);
        if (r < 0)
                return r;
        /* A monitor that does not answer in time is waited for while others are served already. */
        r = pump(m, is_adopted, ADOPT_USEC);
        return r < 0 && r != -ETIMEDOUT ? r : 0;
}

int manager_ready(_unused_ Daemon *d, void *userdata)
{
        Manager *m = userdata;

        m->serving = true;
        delete_resume(m);
        create_resume(m);
        monitor_adopt_orphans(m);
        autostart_begin(m);
        autostart_login(m);
        log_info("%zu VMs are known", m->n_vms);
        return 0;
}

void manager_bus_down(_unused_ Daemon *d, void *userdata)
{
        Manager *m = userdata;

        m->serving = false;
        lifecycle_bus_down(m);
        create_bus_down(m);
        imports_bus_down(m);
        monitor_bus_down(m);
        m->networks = networks_free(m->networks);
        for (; m->n_slots > 0; m->n_slots--)
                m->slots[m->n_slots - 1] = sd_bus_slot_unref(m->slots[m->n_slots - 1]);
        scripts_drop(m);
        for (size_t i = 0; i < ELEMENTSOF(roots); i++)
                m->mirrors[i] = dbmirror_free(m->mirrors[i]);
        m->generation++;
        m->bus = NULL;
}

void manager_end(_unused_ Daemon *d, void *userdata)
{
        Manager *m = userdata;

        m->serving = false;
        imports_bus_down(m);
        lifecycle_bus_down(m);
        autostart_end(m);
        create_forget(m);
        while (m->n_vms > 0)
                vm_free(m->vms[--m->n_vms]);
        free(m->vms);
        m->vms = NULL;
        m->config_timer = sd_event_source_disable_unref(m->config_timer);
        m->names = strv_free(m->names);
        m->script_queue = strv_free(m->script_queue);
        m->networks = networks_free(m->networks);
        m->host = host_free(m->host);
}

/* Objects */

static const BusInterface *const *find_record(Manager *m, Vm *vm, const char *rest, void **ret_object)
{
        static const struct {
                const char *prefix, *kind;
                const BusInterface *const *interfaces;
        } kinds[] = { { "/disk/", "disk", disk_interfaces }, { "/nic/", "nic", nic_interfaces } };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                const char *id = startswith(rest, kinds[i].prefix);
                uint64_t n;
                char path[64];

                if (!id || parse_u64(id, &n) < 0 || n > INT32_MAX)
                        continue;
                snprintf(path, sizeof path, "config/%s/%u", kinds[i].kind, (unsigned) n);
                m->record = (Record){ .vm = vm, .kind = kinds[i].kind, .id = (unsigned) n, .exists = vm_has(vm, path) };
                *ret_object = &m->record;
                return kinds[i].interfaces;
        }
        return NULL;
}

static const BusInterface *const *find_object(void *userdata, const char *path, void **ret_object)
{
        Manager *m = userdata;
        Vm *vm;

        if (streq(path, "/")) {
                *ret_object = m;
                return root_interfaces;
        }
        if (streq(path, "/host")) {
                *ret_object = m;
                return host_interfaces;
        }
        vm = manager_find_vm_by_path(m, path);
        if (!vm)
                return NULL;
        if (path[strlen("/vm/") + 36])
                return find_record(m, vm, path + strlen("/vm/") + 36, ret_object);
        *ret_object = vm;
        return vm_interfaces;
}

static int list_children(void *userdata, const char *path, char ***ret)
{
        static const char *const kinds[] = { "disk", "nic" };
        Manager *m = userdata;
        Vm *vm;
        int r = 0;

        if (streq(path, "/")) {
                r = strv_extend(ret, "host");
                return r < 0 ? r : strv_extend(ret, "vm");
        }
        if (streq(path, "/vm")) {
                for (size_t i = 0; r >= 0 && i < m->n_vms; i++)
                        r = strv_extend(ret, m->vms[i]->path + strlen("/vm/"));
                return r;
        }
        vm = manager_find_vm_by_path(m, path);
        if (!vm)
                return 0;
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                const char *rest = path + strlen("/vm/") + 36;
                unsigned ids[DISKS_MAX];
                size_t n = vm_record_ids(vm, kinds[k], ids, DISKS_MAX);

                if (!*rest && n > 0)
                        r = strv_extend(ret, kinds[k]);
                else if (*rest == '/' && streq(rest + 1, kinds[k]))
                        for (size_t i = 0; r >= 0 && i < n; i++)
                                r = strv_extendf(ret, "%u", ids[i]);
        }
        return r;
}

/*
 * What a service VM boots decides who speaks with its rights, so that its settings are not another guest's, but that
 * of the user interface.
 */
static bool refuse_service_vm(Manager *m, Call *c)
{
        static const char changes[] = "Set set_db_key set_domstore_key add_disk add_nic attach_vhd attach_phy delete "
                                      "add_argo_firewall_rule delete_argo_firewall_rule";
        Vm *vm = c->caller.guest ? vm_of_call(m, c) : NULL;

        return vm && vm_is_service(vm) && !streq(c->caller.uuid, vm->uuid) &&
               words_contain(changes, sd_bus_message_get_member(c->message)) && refuse_guest_but_ui(c, "A service VM");
}

/* A record may have been removed from the database while a client still holds its path. */
static int check_object(Call *c, void *userdata)
{
        Manager *m = userdata;

        if (refuse_service_vm(m, c))
                return -EACCES;
        if (c->object == &m->record && !m->record.exists) {
                (void) call_fail_code(c, missing_record(m->record.kind), NULL);
                return -ENOENT;
        }
        return 0;
}

const ServiceSpec manager_service = {
        .find = find_object,
        .children = list_children,
        .check = check_object,
        .property_error = DBUS_ERROR_FAILED,
        .bad_arguments_error = DBUS_ERROR_FAILED,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* com.citrix.xenclient.xenmgr.vm: what can be done with a VM, and its list of interfaces. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config-writer.h"
#include "create.h"
#include "delete.h"
#include "lifecycle.h"
#include "log.h"
#include "strbuf.h"
#include "vm-extra.h"
#include "vm-look.h"
#include "vm.h"

#define ICON_MAX (4 * MIB)
#define DB_KEY_MAX 256

/* Operations */

typedef struct Operation {
        JobKind kind;
        unsigned flags;
} Operation;

static int method_operation(Call *c)
{
        const Operation *o = c->method->data;
        Vm *vm = c->object;
        int r = lifecycle_request(vm, o->kind, o->flags, NULL, c, NULL, NULL);

        return r < 0 ? r : 0;
}

static int method_file_operation(Call *c)
{
        const Operation *o = c->method->data;
        _cleanup_free_ char *mapped = NULL;
        Vm *vm = c->object;
        const char *file;
        int r;

        if (refuse_guest(c, "A file of the host"))
                return 0;
        r = sd_bus_message_read(c->message, "s", &file);
        if (r < 0)
                return r;
        if (file[0] != '/')
                return call_fail(c, DBUS_ERROR_FAILED, "'%s' is not an absolute path", file);
        mapped = paths_map(manager_paths(vm->manager), file);
        if (!mapped)
                return -ENOMEM;
        r = lifecycle_request(vm, o->kind, 0, mapped, c, NULL, NULL);
        return r < 0 ? r : 0;
}

static int method_delete(Call *c)
{
        return delete_vm(c->object, false, DELETE_DISKS, c);
}

/* Focus is the input daemon's; without one there is nothing to switch, and that is no error. */
static int method_switch(Call *c)
{
        Vm *vm = c->object;

        if (vm->domid >= 0 && !manager_has_name(vm->manager, INPUT_DAEMON))
                log_warning("%s cannot be switched to: there is no input daemon", vm->uuid);
        lifecycle_show(vm);
        return 1;
}

/* Records */

static int method_list_records(Call *c)
{
        const char *kind = c->method->data;
        _cleanup_strv_ char **paths = NULL;
        Vm *vm = c->object;
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, kind, ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                int r = strv_extendf(&paths, "%s/%s/%u", vm->path, kind, ids[i]);

                if (r < 0)
                        return r;
        }
        return call_reply_strv(c, 'o', paths);
}

/* The first of hda … hdz that no disk has. */
static void free_device(Vm *vm, char ret[static 4])
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (char letter = 'a'; letter <= 'z'; letter++) {
                bool taken = false;

                snprintf(ret, 4, "hd%c", letter);
                for (size_t i = 0; i < n && !taken; i++) {
                        char path[64];

                        snprintf(path, sizeof path, "config/disk/%u/device", ids[i]);
                        taken = streq(vm_text(vm, path, ""), ret);
                }
                if (!taken)
                        return;
        }
}

static int add_record(Call *c, const RecordKind *k, const char *const *leaves)
{
        Vm *vm = c->object;
        unsigned ids[DISKS_MAX], id;
        const char *kind = k->kind;
        size_t n = vm_record_ids(vm, kind, ids, DISKS_MAX);
        char path[VM_PATH_MAX], text[16], object[96];
        DbTx *tx;

        if (n >= k->max)
                return fail_too_many(c, k);
        id = n ? ids[n - 1] + 1 : 0;
        tx = vm_tx_new(vm, "");
        /* Two calls at once must not write into one record. */
        (void) db_tx_require(tx, "absent", vm_db_path(vm, path, "config/%s/%u", kind, id), "");
        for (; leaves[0]; leaves += 2) {
                snprintf(text, sizeof text, "%u", id);
                (void) db_tx_write(tx, vm_db_path(vm, path, "config/%s/%u/%s", kind, id, leaves[0]),
                                   streq(leaves[0], "id") ? text : leaves[1]);
        }
        snprintf(object, sizeof object, "%s/%s/%u", vm->path, kind, id);
        return vm_commit_record(vm, tx, kind, c, object);
}

static int method_add_disk(Call *c)
{
        char device[4];
        const char *const leaves[] = {
                "path", "", "type", "vhd", "mode", "w", "device", device, "devtype", "disk", NULL
        };

        free_device(c->object, device);
        return add_record(c, &record_kinds[RECORD_DISK], leaves);
}

static int method_add_nic(Call *c)
{
        static const char *const leaves[] = { "id", "", "network", "/wired/0/bridged", "enable", "true", NULL };

        return add_record(c, &record_kinds[RECORD_NIC], leaves);
}

/* Icon: a file below the UI's folder, nothing else. */
static int method_read_icon(Call *c)
{
        Vm *vm = c->object;
        struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
        const char *name = vm_text(vm, "image_path", "");
        _cleanup_close_ int root = -EBADF, fd = -EBADF;
        _cleanup_free_ char *data = malloc(ICON_MAX);
        sd_bus_message *reply = NULL;
        size_t size = 0;
        ssize_t n;
        int r;

        root = open(paths_get(manager_paths(vm->manager), PATH_XUI), O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd = root >= 0 ? (int) syscall(SYS_openat2, root, name, &how, sizeof how) : -1;
        if (fd < 0 || !data) {
                _cleanup_free_ char *text = strformat("the icon '%s' cannot be read: %s", name, strerror(errno));

                return call_fail_code(c, ERROR_IO, text);
        }
        while (size < ICON_MAX && (n = read(fd, data + size, ICON_MAX - size)) > 0)
                size += (size_t) n;
        r = call_new_reply(c, &reply);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'y', data, size);
        if (r < 0) {
                sd_bus_message_unref(reply);
                return r;
        }
        return call_reply_message(c, reply);
}

/* Database keys: dots become slashes. */
static char *db_key(const char *key)
{
        char *path = strlen(key) <= DB_KEY_MAX ? strdup(key) : NULL;

        for (char *p = path; p && *p; p++)
                if (*p == '.')
                        *p = '/';
        return path;
}

static const char *without_slashes(const char *path)
{
        return path + strspn(path, "/");
}

static int method_get_db_key(Call *c)
{
        _cleanup_free_ char *path = NULL;
        const char *key;
        int r;

        r = sd_bus_message_read(c->message, "s", &key);
        if (r < 0)
                return r;
        path = db_key(key);
        return call_reply(c, "s", path ? vm_text(c->object, path, "") : "");
}

/* *ret_path NULL: c was failed. */
static int read_key_and_value(Call *c, char **ret_path, const char **ret_value)
{
        const char *key;
        int r;

        r = sd_bus_message_read(c->message, "ss", &key, ret_value);
        if (r < 0)
                return r;
        *ret_path = strlen(*ret_value) <= VALUE_MAX_BYTES ? db_key(key) : NULL;
        return *ret_path ? 0
                         : call_fail(c, DBUS_ERROR_FAILED, "A key is at most %d bytes long, a value %d", DB_KEY_MAX,
                                     (int) VALUE_MAX_BYTES);
}

/* Whether the path is in a record that is not there yet, and of which kind a VM has all that it may have. */
static bool is_record_too_many(Vm *vm, const char *path, const RecordKind *k)
{
        char kind[32], record[64];
        const DbNode *all;
        const char *rest;
        size_t n = 0;

        snprintf(kind, sizeof kind, "config/%s/", k->kind);
        rest = startswith(path, kind);
        if (!rest)
                return false;
        snprintf(record, sizeof record, "%s%.*s", kind, (int) strcspn(rest, "/"), rest);
        kind[strlen(kind) - 1] = '\0';
        all = vm_find(vm, kind);
        for (const DbNode *d = all ? dbnode_first(all) : NULL; d; d = dbnode_next(d))
                n++;
        return n >= k->max && !vm_has(vm, record);
}

static int method_set_db_key(Call *c)
{
        _cleanup_free_ char *path = NULL;
        char full[VM_PATH_MAX];
        const char *value;
        Vm *vm = c->object;
        DbTx *tx;
        int r;

        r = read_key_and_value(c, &path, &value);
        if (r < 0 || !path)
                return r;
        /* Empty elements would hide a path from the rule. */
        if (c->caller.guest && (strstr(path, "//") || path[0] == '/' || !vm_path_guest_may_write(path, value)))
                return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "%s can be set by the host alone", path);
        if (streq(path, "name") && refuse_long_name(c, value))
                return 0;
        for (const RecordKind *k = record_kinds; c->caller.guest && k->kind; k++)
                if (is_record_too_many(vm, path, k))
                        return fail_too_many(c, k);
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, vm_db_path(vm, full, "%s", without_slashes(path)), value);
        return vm_commit(vm, tx, c);
}

/* The VM's own part of the database is not mirrored: it is the guest's to write as it likes. */
static int on_domstore(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        Call *c = userdata;
        const char *value = "";

        if (error)
                (void) call_fail(c, DBUS_ERROR_FAILED, "%s", strempty(error->message));
        else {
                (void) sd_bus_message_read(reply, "s", &value);
                (void) call_reply(c, "s", value);
        }
        call_unref(c);
        return 0;
}

static int method_get_domstore_key(Call *c)
{
        _cleanup_free_ char *path = NULL;
        char full[VM_PATH_MAX];
        Vm *vm = c->object;
        const char *key;
        int r;

        r = sd_bus_message_read(c->message, "s", &key);
        if (r < 0)
                return r;
        path = db_key(key);
        snprintf(full, sizeof full, "/dom-store/%s/%s", vm->uuid, path ? without_slashes(path) : "");
        r = sd_bus_call_method_async(vm->manager->bus, NULL, DB_SERVICE, "/", DB_INTERFACE, "read", on_domstore,
                                     call_ref(c), "s", full);
        if (r < 0)
                call_unref(c);
        return r < 0 ? r : 0;
}

static int method_set_domstore_key(Call *c)
{
        _cleanup_free_ char *path = NULL;
        char full[VM_PATH_MAX];
        const char *value;
        Vm *vm = c->object;
        DbTx *tx;
        int r;

        r = read_key_and_value(c, &path, &value);
        if (r < 0 || !path)
                return r;
        snprintf(full, sizeof full, "/dom-store/%s/%s", vm->uuid, without_slashes(path));
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, full, value);
        snprintf(full, sizeof full, "/dom-store/%s", vm->uuid);
        if (c->caller.guest)
                (void) db_tx_require(tx, "within", full, "");
        return vm_commit(vm, tx, c);
}

static int method_create_child(Call *c)
{
        _cleanup_free_ char *name = NULL;
        Vm *vm = c->object;
        const char *template;
        CreateRequest q = { .parent = vm };
        int r;

        r = sd_bus_message_read(c->message, "s", &template);
        if (r < 0)
                return r;
        name = strformat("child-%s", template);
        if (!name)
                return -ENOMEM;
        q.template = name;
        return create_vm(vm->manager, &q, c);
}

/* org.oxt.Xenmgr1 */

static int method_dry_run(Call *c)
{
        _cleanup_(findings_done) Findings f = { 0 };
        _cleanup_json_ json_object *list = json_object_new_array();
        int r;

        r = list ? start_check(c->object, false, &f) : -ENOMEM;
        if (r < 0)
                return r;
        for (size_t i = 0; f.texts && f.texts[i]; i++) {
                json_object *o = json_object_new_object();

                (void) json_object_object_add(o, "check", json_object_new_string(f.steps[i]));
                (void) json_object_object_add(o, "error", json_object_new_string(f.texts[i]));
                (void) json_object_array_add(list, o);
        }
        return call_reply(
                c, "s", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int method_delete_files(Call *c)
{
        int images, r;

        if (refuse_guest(c, "What goes with a VM"))
                return 0;
        r = sd_bus_message_read(c->message, "b", &images);
        return r < 0 ? r : delete_vm(c->object, false, images ? DELETE_IMAGES : DELETE_NOTHING, c);
}

/* It names files of the host, so that it is the host's to read. */
static int method_config(Call *c)
{
        _cleanup_free_ char *text = NULL, *why = NULL;
        int r;

        if (refuse_guest(c, "The configuration of a monitor"))
                return 0;
        r = config_for_start(c->object, &text, &why);
        if (why)
                return call_fail(c, DBUS_ERROR_FAILED, "%s", why);
        return r < 0 ? r : call_reply(c, "s", text);
}

static int method_timeline(Call *c)
{
        _cleanup_free_ char *text = NULL;
        int r = timeline_json(c->object, &text);

        return r < 0 ? r : call_reply(c, "s", text);
}

static int method_operations(Call *c)
{
        _cleanup_free_ char *text = NULL;
        int r = lifecycle_operations_json(c->object, &text);

        return r < 0 ? r : call_reply(c, "s", text);
}

static int method_cancel(Call *c)
{
        return call_reply(c, "b", lifecycle_cancel(c->object));
}

/* Tables */

#define OPERATION(k, f) &(const Operation) { .kind = k, .flags = f }

static const BusMethod vm_methods[] = {
        { "start", "", "", "", "", method_operation, OPERATION(JOB_START, 0) },
        { "start_internal", "", "", "", "", method_operation, OPERATION(JOB_START, JOB_INTERNAL) },
        { "shutdown", "", "", "", "", method_operation, OPERATION(JOB_SHUTDOWN, 0) },
        { "destroy", "", "", "", "", method_operation, OPERATION(JOB_DESTROY, 0) },
        { "reboot", "", "", "", "", method_operation, OPERATION(JOB_REBOOT, 0) },
        { "sleep", "", "", "", "", method_operation, OPERATION(JOB_SLEEP, 0) },
        { "resume", "", "", "", "", method_operation, OPERATION(JOB_RESUME, 0) },
        { "hibernate", "", "", "", "", method_operation, OPERATION(JOB_HIBERNATE, 0) },
        { "pause", "", "", "", "", method_operation, OPERATION(JOB_PAUSE, 0) },
        { "unpause", "", "", "", "", method_operation, OPERATION(JOB_UNPAUSE, 0) },
        { "suspend_to_file", "s", "file", "", "", method_file_operation, OPERATION(JOB_SUSPEND, 0) },
        { "resume_from_file", "s", "file", "", "", method_file_operation, OPERATION(JOB_RESTORE, 0) },
        { "switch", "", "", "", "", method_switch, NULL },
        { "delete", "", "", "", "", method_delete, NULL },
        { "add_disk", "", "", "o", "path", method_add_disk, NULL },
        { "add_nic", "", "", "o", "path", method_add_nic, NULL },
        { "list_disks", "", "", "ao", "", method_list_records, "disk" },
        { "list_nics", "", "", "ao", "", method_list_records, "nic" },
        { "read_icon", "", "", "ay", "bytes", method_read_icon, NULL },
        { "get_db_key", "s", "key", "s", "value", method_get_db_key, NULL },
        { "set_db_key", "ss", "key value", "", "", method_set_db_key, NULL },
        { "get_domstore_key", "s", "key", "s", "value", method_get_domstore_key, NULL },
        { "set_domstore_key", "ss", "key value", "", "", method_set_domstore_key, NULL },
        { "create_child_service_vm", "s", "template", "o", "path", method_create_child, NULL },
        { "list_argo_firewall_rules", "", "", "as", "rules", method_list_argo_rules, NULL },
        { "add_argo_firewall_rule", "s", "rule", "", "", method_add_argo_rule, NULL },
        { "delete_argo_firewall_rule", "s", "rule", "", "", method_delete_argo_rule, NULL },
        { "list_net_firewall_rules", "", "", "aa{ss}", "rules", NULL, NULL, .fill = fill_net_rules },
        { "add_net_firewall_rule", "isss", "id direction remoteip extra", "", "", method_add_net_rule, NULL },
        { "delete_net_firewall_rule", "i", "id", "", "", method_delete_net_rule, NULL },
        { 0 }
};

static const BusMethod own_methods[] = {
        { "Cancel", "", "", "b", "cancelled", method_cancel, NULL },
        { "Config", "", "", "s", "text", method_config, NULL },
        { "Console", "", "", "h", "console", method_console, NULL },
        { "Delete", "b", "images", "asasas", "removed used failed", method_delete_files, NULL },
        { "DryRun", "", "", "s", "json", method_dry_run, NULL },
        { "Log", "", "", "h", "file", method_log, NULL },
        { "Operations", "", "", "s", "json", method_operations, NULL },
        { "Screenshot", "", "", "h", "png", method_screenshot, NULL },
        { "Timeline", "", "", "s", "json", method_timeline, NULL },
        { "Usage", "", "", "s", "json", method_usage, NULL },
        { 0 }
};

static const BusSignal own_signals[] = {
        { "PowerLink", "s", "action" },
        { "Progress", "sstt", "what step done total" },
        { 0 }
};

static const BusInterface vm_interface = { .name = XENMGR_INTERFACE ".vm",
                                           .methods = vm_methods,
                                           .properties = vm_properties_restricted };
static const BusInterface vm_interface_unrestricted = { .name = XENMGR_INTERFACE ".vm.unrestricted",
                                                        .properties = vm_properties_unrestricted };
static const BusInterface vm_interface_own = { .name = "org.oxt.Xenmgr1", .methods = own_methods, .signals = own_signals };

const BusInterface *const vm_interfaces[] = {
        &vm_interface, &vm_interface_auth, &vm_interface_pci, &vm_interface_product, &vm_interface_unrestricted,
        &vm_interface_own, NULL,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "root-dbus.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include "background.h"
#include "create.h"
#include "delete.h"
#include "import.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "templates.h"
#include "vhd.h"
#include "vm.h"

#define VHD_MAX_MB (2040 * 1024)
#define SCRIPTS_MAX 256

/* Creating and deleting */

static int method_create_vm(Call *c)
{
        const CreateRequest q = { .template = "new-vm" };

        return create_vm(c->userdata, &q, c);
}

static int method_create_with_template(Call *c)
{
        CreateRequest q = { 0 };
        int r = sd_bus_message_read(c->message, "s", &q.template);

        return r < 0 ? r : create_vm(c->userdata, &q, c);
}

static int method_create_with_json(Call *c)
{
        CreateRequest q = { .unrestricted = c->method->data != NULL };
        int r = sd_bus_message_read(c->message, "ss", &q.template, &q.json);

        return r < 0 ? r : create_vm(c->userdata, &q, c);
}

static int method_create_with_uuid(Call *c)
{
        CreateRequest q = { 0 };
        int r = sd_bus_message_read(c->message, "ss", &q.template, &q.uuid);

        return r < 0 ? r : create_vm(c->userdata, &q, c);
}

static int method_create_with_ui(Call *c)
{
        CreateRequest q = { 0 };
        int r = sd_bus_message_read(c->message, "ssss", &q.template, &q.name, &q.description, &q.image_path);

        return r < 0 ? r : create_vm(c->userdata, &q, c);
}

/* The VM of the uuid that is the only argument; NULL: c was failed, if not with what is returned. */
static int read_vm(Call *c, Vm **ret)
{
        const char *uuid;
        int r = sd_bus_message_read(c->message, "s", &uuid);

        *ret = r < 0 ? NULL : manager_find_vm(c->userdata, uuid);
        return r < 0 || *ret ? r : call_fail(c, DBUS_ERROR_FAILED, "There is no VM %.64s", uuid);
}

static int method_unrestricted_delete(Call *c)
{
        Vm *vm;
        int r = read_vm(c, &vm);

        if (vm && vm_is_service(vm) && refuse_guest(c, "A service VM"))
                return 0;
        return vm ? delete_vm(vm, true, DELETE_DISKS, c) : r;
}

/* The file is made durable before its path is told: on a slow disk that takes a while. */
typedef struct VhdWork {
        Call *call;
        char *path, *shown;
        uint64_t size;
        int result;
} VhdWork;

static void vhd_work_free(VhdWork *w)
{
        call_unref(w->call);
        free(w->path);
        free(w->shown);
        free(w);
}

static void vhd_work(void *data)
{
        VhdWork *w = data;

        w->result = vhd_create(w->path, w->size);
}

static void vhd_done(void *data)
{
        VhdWork *w = data;
        _cleanup_free_ char *why = strformat("%s: %s", w->path, strerror(-w->result));

        (void) (w->result < 0 ? call_fail_code(w->call, ERROR_IO, why) : call_reply(w->call, "s", w->shown));
        vhd_work_free(w);
}

static int method_create_vhd(Call *c)
{
        Manager *m = c->userdata;
        char uuid[37];
        VhdWork *w;
        int32_t mb;
        int r;

        r = sd_bus_message_read(c->message, "i", &mb);
        if (r < 0)
                return r;
        if (mb < 1 || mb > VHD_MAX_MB)
                return call_fail(c, DBUS_ERROR_FAILED, "A VHD has 1 to %d MiB", VHD_MAX_MB);
        if (!uuid_random(uuid))
                return -EIO;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (VhdWork) { .call = call_ref(c), .path = paths_format(manager_paths(m), PATH_DISKS, "%s.vhd", uuid),
                         .shown = strformat("/storage/disks/%s.vhd", uuid), .size = (uint64_t) mb * MIB };
        r = w->path && w->shown ? background_run(m->event, vhd_work, vhd_done, w) : -ENOMEM;
        if (r < 0)
                vhd_work_free(w);
        return r;
}

/* Finding and listing */

static int method_find_by_domid(Call *c)
{
        int32_t domid;
        Vm *vm;
        int r;

        r = sd_bus_message_read(c->message, "i", &domid);
        if (r < 0)
                return r;
        vm = manager_find_vm_by_domid(c->userdata, domid);
        return vm ? call_reply(c, "o", vm->path) : call_fail(c, DBUS_ERROR_FAILED, "No VM has the domid %d", domid);
}

static int method_find_by_uuid(Call *c)
{
        Vm *vm;
        int r = read_vm(c, &vm);

        return vm ? call_reply(c, "o", vm->path) : r;
}

/* In the database's order. */
static int fill_list_vms(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        int r = 0;

        for (const DbNode *n = dbnode_first(db_node(m, "/vm")); r >= 0 && n; n = dbnode_next(n)) {
                Vm *vm = manager_find_vm(m, dbnode_name(n));

                if (vm)
                        r = sd_bus_message_append_basic(reply, 'o', vm->path);
        }
        return r;
}

static int fill_list_domids(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < m->n_vms; i++) {
                int32_t domid = (int32_t) m->vms[i]->domid;

                if (domid >= 0)
                        r = sd_bus_message_append_basic(reply, 'i', &domid);
        }
        return r;
}

static int method_list_templates(Call *c)
{
        const char *prefix = c->method->data; /* only those, without it; NULL: all but service VMs */
        _cleanup_strv_ char **all = NULL, **shown = NULL;
        int r;

        r = template_list(c->userdata, &all);
        for (char **n = all; r >= 0 && n && *n; n++) {
                const char *name = prefix ? startswith(*n, prefix) : startswith(*n, "service-") ? NULL : *n;

                if (name)
                        r = strv_extend(&shown, name);
        }
        return r < 0 ? r : call_reply_strv(c, 's', shown);
}

static int fill_list_ui_templates(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        _cleanup_strv_ char **all = NULL;
        int r;

        r = template_list(m, &all);
        if (r >= 0)
                for (char **n = all; r >= 0 && n && *n; n++) {
                _cleanup_json_ json_object *tree = NULL;

                if (template_load(m, *n, &tree) < 0 || !streq(tree_get(tree, "ui-selectable", ""), "true"))
                        continue;
                r = reply_add_row(reply, "template", *n, "description", tree_get(tree, "description", ""), NULL);
        }
        return r;
}

static int fill_list_extension_packs(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        int r = 0;

        for (const DbNode *n = dbnode_first(db_node(m, "/extpack")); r >= 0 && n; n = dbnode_next(n))
                r = reply_add_row(reply, "id", dbnode_name(n), "vendor", dbnode_text(n, "vendor"), "name",
                                  dbnode_text(n, "name"), "description", dbnode_text(n, "description"), "version",
                                  dbnode_text(n, "version"), "image", dbnode_text(n, "image"), NULL);
        return r;
}

static const BusMethod xenmgr_methods[] = {
        { "create_vhd", "i", "size_mb", "s", "path", method_create_vhd, NULL },
        { "create_vm", "", "", "o", "path", method_create_vm, NULL },
        { "create_vm_with_template", "s", "template", "o", "path", method_create_with_template, NULL },
        { "create_vm_with_template_and_json", "ss", "template json", "o", "path", method_create_with_json, NULL },
        { "create_vm_with_template_and_uuid", "ss", "template uuid", "o", "path", method_create_with_uuid, NULL },
        { "create_vm_with_ui", "ssss", "template name description image_path", "o", "path", method_create_with_ui,
          NULL },
        { "find_vm_by_domid", "i", "domid", "o", "obj_path", method_find_by_domid, NULL },
        { "find_vm_by_uuid", "s", "uuid", "o", "obj_path", method_find_by_uuid, NULL },
        { "list_child_service_vm_templates", "", "", "as", "templates", method_list_templates, "child-" },
        { "list_domids", "", "", "ai", "domids", NULL, NULL, .fill = fill_list_domids },
        { "list_extension_packs", "", "", "aa{ss}", "packs", NULL, NULL, .fill = fill_list_extension_packs },
        { "list_templates", "", "", "as", "templates", method_list_templates, NULL },
        { "list_ui_templates", "", "", "aa{ss}", "templates", NULL, NULL, .fill = fill_list_ui_templates },
        { "list_vms", "", "", "ao", "paths", NULL, NULL, .fill = fill_list_vms },
        { 0 }
};

static const BusSignal xenmgr_signals[] = {
        { "cd_assignment_changed", "sso", "dev uuid obj_path" },
        { "config_changed", "", "" },
        { "language_changed", "", "" },
        { "network_state_changed", "b", "available" },
        { "notify", "ss", "uuid messsage" }, /* the published name has that spelling */
        { "vm_config_changed", "so", "uuid obj_path" },
        { "vm_created", "so", "uuid obj_path" },
        { "vm_deleted", "so", "uuid obj_path" },
        { "vm_name_changed", "so", "uuid obj_path" },
        { "vm_state_changed", "sosi", "uuid obj_path state acpi_state" },
        { "vm_transfer_changed", "so", "uuid obj_path" },
        { 0 }
};

/* com.citrix.xenclient.policy */

static const struct {
        const char *token, *path;
} policy_tokens[] = {
        { "block-cd-access", "policies/cd-access" },
        { "block-cd-rec", "policies/cd-rec" },
        { "block-audio-access", "policies/audio-access" },
        { "block-audio-rec", "policies/audio-rec" },
        { "block-wired-networking", "policies/wired-networking" },
        { "block-wireless-networking", "policies/wireless-networking" },
        { "block-modify-vm-settings", "policies/modify-vm-settings" },
};

static int method_enforce(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_strv_ char **tokens = NULL;
        const char *uuid, *value;
        DbTx *tx;
        Vm *vm;
        int r;

        if (refuse_guest_but_ui(c, "A VM's policy"))
                return 0;
        r = sd_bus_message_read(c->message, "ss", &uuid, &value);
        if (r >= 0)
                r = strv_split(value, ';', &tokens);
        if (r < 0)
                return r;
        if (!uuid_valid(uuid))
                return call_fail(c, DBUS_ERROR_FAILED, "'%.64s' is not a uuid", uuid);
        for (char **t = tokens; t && *t; t++) {
                char *stripped = strstrip(*t);

                memmove(*t, stripped, strlen(stripped) + 1);
        }
        vm = manager_find_vm(m, uuid);
        tx = vm ? vm_tx_new(vm, "") : db_tx_new();
        for (size_t i = 0; i < ELEMENTSOF(policy_tokens); i++) {
                char path[128];

                snprintf(path, sizeof path, "/vm/%s/%s", uuid, policy_tokens[i].path);
                (void) db_tx_write(tx, path, strv_contains(tokens, policy_tokens[i].token) ? "false" : "true");
        }
        if (!vm) /* as the contract has it, even then */
                return manager_commit(m, tx, c, NULL);
        vm_config_touched(vm);
        return vm_commit(vm, tx, c);
}

static int method_retrieve(Call *c)
{
        Vm *vm;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *text = NULL;
        const char *uuid;
        int r;

        r = sd_bus_message_read(c->message, "s", &uuid);
        if (r < 0)
                return r;
        vm = manager_find_vm(c->userdata, uuid);
        for (size_t i = 0; vm && i < ELEMENTSOF(policy_tokens); i++)
                if (!vm_bool(vm, policy_tokens[i].path, true))
                        strbuf_addf(&b, "%s%s", b.len ? ";" : "", policy_tokens[i].token);
        r = strbuf_take(&b, &text);
        return r < 0 ? r : call_reply(c, "s", text);
}

static const BusMethod policy_methods[] = {
        { "enforce", "ss", "uuid value", "", "", method_enforce, NULL },
        { "retrieve", "s", "uuid", "s", "result", method_retrieve, NULL },
        { 0 }
};

/* .guestreq */

static int method_request_attention(Call *c)
{
        Manager *m = c->userdata;
        Vm *vm = c->caller.guest ? manager_find_vm(m, c->caller.uuid) : NULL;

        if (vm)
                (void) service_emit(m->daemon->service, "/", XENMGR_INTERFACE ".guestreq", "requested_attention", "so",
                                    vm->uuid, vm->path);
        return 1;
}

static const BusMethod guestreq_methods[] = { { "request_attention", "", "", "", "", method_request_attention, NULL },
                                              { 0 } };
static const BusSignal guestreq_signals[] = { { "requested_attention", "so", "uuid obj_path" }, { 0 } };

/* .testing: a fifo of texts; who takes from the empty one waits */

static Call *script_waiting_take(Manager *m, size_t at)
{
        Call *c = m->script_waiting[at].call;

        name_watch_free(m->script_waiting[at].watch);
        memmove(m->script_waiting + at, m->script_waiting + at + 1, (--m->n_script_waiting - at) * sizeof *m->script_waiting);
        return c;
}

void scripts_drop(Manager *m)
{
        while (m->n_script_waiting > 0)
                call_unref(script_waiting_take(m, 0));
}

static void on_waiting_gone(void *userdata)
{
        Call *c = userdata;
        Manager *m = c->userdata;

        for (size_t i = 0; i < m->n_script_waiting; i++)
                if (m->script_waiting[i].call == c) {
                        call_unref(script_waiting_take(m, i));
                        return;
                }
}

static int method_script_queue(Call *c)
{
        Manager *m = c->userdata;
        const char *script;
        int r;

        r = sd_bus_message_read(c->message, "s", &script);
        if (r < 0)
                return r;
        if (m->n_script_waiting > 0) {
                Call *first = script_waiting_take(m, 0);

                (void) call_reply(first, "s", script);
                call_unref(first);
                return 1;
        }
        if (strv_length(m->script_queue) >= SCRIPTS_MAX || strlen(script) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_LIMITS_EXCEEDED, "At most %d scripts of %d bytes wait", SCRIPTS_MAX,
                                 (int) VALUE_MAX_BYTES);
        r = strv_extend(&m->script_queue, script);
        return r < 0 ? r : 1;
}

static int method_script_dequeue(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_free_ char *first = NULL;
        NameWatch *watch;
        int r;

        if (!m->script_queue || !m->script_queue[0]) {
                if (m->n_script_waiting == ELEMENTSOF(m->script_waiting))
                        return call_fail(c, DBUS_ERROR_LIMITS_EXCEEDED, "Too many callers wait for a script");
                r = name_watch_new(m->bus, strempty(sd_bus_message_get_sender(c->message)), on_waiting_gone, c, &watch);
                if (r < 0)
                        return r;
                m->script_waiting[m->n_script_waiting].watch = watch;
                m->script_waiting[m->n_script_waiting++].call = call_ref(c);
                return 0;
        }
        first = m->script_queue[0];
        memmove(m->script_queue, m->script_queue + 1, strv_length(m->script_queue) * sizeof *m->script_queue);
        return call_reply(c, "s", first);
}

static const BusMethod testing_methods[] = {
        { "script_dequeue", "", "", "s", "script", method_script_dequeue, NULL },
        { "script_queue", "s", "script", "", "", method_script_queue, NULL },
        { 0 }
};

/*
 * .unrestricted: without the host's policy. For the host, and the synchroniser, which makes and removes VMs for a server;
 * another guest would only use it to pass that policy by.
 */

typedef struct Unrestricted {
        int (*run)(Call *c);
} Unrestricted;

static int method_unrestricted(Call *c)
{
        const Unrestricted *u = c->method->data;

        return refuse_guest_but_synchroniser(c, "What the host's policy forbids") ? 0 : u->run(c);
}

static int create_unrestricted(Call *c)
{
        const CreateRequest q = { .template = "new-vm", .unrestricted = true };

        return create_vm(c->userdata, &q, c);
}

#define RUN(f) &(const Unrestricted) { f }

static const BusMethod unrestricted_methods[] = {
        { "unrestricted_create_vm", "", "", "o", "path", method_unrestricted, RUN(create_unrestricted) },
        { "unrestricted_create_vm_with_template_and_json", "ss", "template json", "o", "path", method_unrestricted,
          RUN(method_create_with_json) },
        { "unrestricted_delete_vm", "s", "uuid", "", "", method_unrestricted,
          RUN(method_unrestricted_delete) },
        { 0 }
};

/* Tables */

static const BusInterface policy_interface = { .name = "com.citrix.xenclient.policy", .methods = policy_methods };
static const BusInterface xenmgr_interface = { .name = XENMGR_INTERFACE,
                                               .methods = xenmgr_methods,
                                               .signals = xenmgr_signals };
static const BusInterface guestreq_interface = { .name = XENMGR_INTERFACE ".guestreq",
                                                 .methods = guestreq_methods,
                                                 .signals = guestreq_signals };
static const BusInterface testing_interface = { .name = XENMGR_INTERFACE ".testing", .methods = testing_methods };
static const BusInterface unrestricted_interface = { .name = XENMGR_INTERFACE ".unrestricted",
                                                     .methods = unrestricted_methods };

const BusInterface *const root_interfaces[] = {
        &policy_interface,   &xenmgr_interface,  &config_interface,       &config_ui_interface, &diag_interface,
        &guestreq_interface, &testing_interface, &unrestricted_interface, &import_interface, NULL,
};

void root_properties_init(void)
{
        config_properties_init();
}

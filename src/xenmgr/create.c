/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "create.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "config-writer.h"
#include "delete.h"
#include "hooks.h"
#include "intent.h"
#include "list.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "templates.h"
#include "vm.h"

#define UNDO_USEC (500 * USEC_PER_MSEC)

struct Create {
        Manager *manager;
        Create *next;
        char uuid[37];
        int slot; /* taken while it is under way; -1: none */
        bool committed;
        bool replaces; /* a VM that was there */
        Call *call;
        Hook *hook;
        sd_event_source *retry;
};

static void create_free(Create *w)
{
        LIST_TAKE_OUT(w->manager->creates, w);
        intent_clear(manager_paths(w->manager), w->uuid, INTENT_CREATE);
        if (!manager_find_vm(w->manager, w->uuid))
                delete_runtime(w->manager, w->uuid);
        call_unref(w->call);
        hook_cancel(w->hook);
        sd_event_source_disable_unref(w->retry);
        free(w);
}

static void create_end(Create *w, const char *error)
{
        char path[48], u[37];
        Vm *vm = manager_find_vm(w->manager, w->uuid);

        snprintf(path, sizeof path, "/vm/%s", uuid_to_path(w->uuid, u));
        if (vm && w->committed) {
                vm->own_create = false;
                if (!error)
                        log_info("VM %s was created", w->uuid);
                manager_emit(w->manager, "vm_created", "so", w->uuid, path);
        }
        if (w->call && error)
                (void) call_fail_text(w->call, error);
        else if (w->call)
                (void) call_reply(w->call, "o", path);
        create_free(w);
}

/*
 * A database that went away without an answer may have taken the VM all the same. Its creation has failed, so it is
 * removed as soon as the database is back; until then its uuid is not free, and nobody is told of it.
 */

static void create_undo(Create *w);

static int on_undo_again(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Create *w = userdata;

        w->retry = sd_event_source_disable_unref(w->retry);
        create_undo(w);
        return 0;
}

static void on_undone(const sd_bus_error *error, void *userdata)
{
        Create *w = userdata;

        /* That the database refuses means that there is no such VM. */
        if (!error || sd_bus_error_has_name(error, DB1_ERROR_FAILED) ||
            sd_event_add_time_relative(w->manager->event, &w->retry, CLOCK_MONOTONIC, UNDO_USEC, 0, on_undo_again, w) < 0) {
                if (!error)
                        log_notice("VM %s, whose creation had failed, was removed", w->uuid);
                create_free(w);
        }
}

static void create_undo(Create *w)
{
        static const sd_bus_error away = SD_BUS_ERROR_MAKE_CONST(DBUS_ERROR_SERVICE_UNKNOWN, "");
        char path[64];
        DbTx *tx;

        snprintf(path, sizeof path, "/vm/%s", w->uuid);
        tx = w->manager->bus ? db_tx_new() : NULL;
        if (tx) {
                (void) db_tx_require(tx, "exists", path, "");
                (void) db_tx_rm(tx, path);
        }
        if (!tx || db_tx_commit(tx, w->manager->bus, on_undone, w) < 0)
                on_undone(&away, w);
}

bool create_is_ours(const Manager *m, const char *uuid)
{
        for (const Create *w = m->creates; w; w = w->next)
                if (streq(w->uuid, uuid))
                        return true;
        return false;
}

/* Those that wait for the database hear from the closing connection; the others wait for a hook. */
void create_bus_down(Manager *m)
{
        Create *next;

        for (Create *w = m->creates; w; w = next) {
                next = w->next;
                if (w->committed)
                        create_end(w, "The bus went away");
        }
}

void create_forget(Manager *m)
{
        while (m->creates)
                create_free(m->creates);
}

static void on_hook(const char *error, void *userdata)
{
        Create *w = userdata;
        _cleanup_free_ char *text = error ? error_format(ERROR_IO, error) : NULL;

        w->hook = NULL;
        create_end(w, error ? strempty(text) : NULL);
}

static void create_finish(Create *w)
{
        Vm *vm = manager_find_vm(w->manager, w->uuid);
        int r;

        w->committed = true;
        r = vm ? hook_run(vm, "run-post-create", NULL, on_hook, w, &w->hook) : 0;
        if (r < 0) {
                _cleanup_free_ char *text = error_format(ERROR_IO, "run-post-create cannot be run");

                create_end(w, strempty(text));
        } else if (r == 0)
                create_end(w, NULL);
}

void create_resume(Manager *m)
{
        const Paths *p = manager_paths(m);
        _cleanup_strv_ char **uuids = NULL;

        (void) intent_list(p, INTENT_CREATE, &uuids);
        for (char **u = uuids; u && *u; u++) {
                Create *w = manager_find_vm(m, *u) && !create_is_ours(m, *u) ? calloc(1, sizeof *w) : NULL;

                if (!w) {
                        if (!create_is_ours(m, *u)) {
                                intent_clear(p, *u, INTENT_CREATE);
                                delete_runtime(m, *u);
                        }
                        continue;
                }
                log_notice("The creation of %s was interrupted; it goes on", *u);
                *w = (Create) { .manager = m, .slot = -1, .next = m->creates };
                memcpy(w->uuid, *u, sizeof w->uuid);
                m->creates = w;
                create_finish(w);
        }
}

static void on_committed(const sd_bus_error *error, void *userdata)
{
        Create *w = userdata;

        if (error) {
                _cleanup_free_ char *text = strformat("The database did not take the VM: %s", strempty(error->message));

                if (w->replaces || sd_bus_error_has_name(error, DB1_ERROR_FAILED)) {
                        create_end(w, strempty(text));
                        return;
                }
                (void) call_fail_text(w->call, strempty(text));
                w->call = call_unref(w->call);
                on_undone(error, w);
                return;
        }
        create_finish(w);
}

/* The lowest slot that no user's VM has; -1: none is free. */
static int free_slot(Manager *m)
{
        bool taken[SLOT_MAX + 1] = { 0 };

        for (size_t i = 0; i < m->n_vms; i++)
                taken[vm_taken_slot(m->vms[i])] = true;
        for (const Create *w = m->creates; w; w = w->next)
                if (w->slot > 0)
                        taken[w->slot] = true;
        for (int i = 1; i <= SLOT_MAX; i++)
                if (!taken[i])
                        return i;
        return -1;
}

/* Replaces ${NAME} in all texts of a tree. */
static int substitute(json_object *tree, const char *name, const char *value)
{
        _cleanup_strv_ char **keys = NULL;
        int r = 0;

        json_object_object_foreach(tree, key, v)
        {
                if (json_object_is_type(v, json_type_object))
                        r = substitute(v, name, value);
                else if (strstr(json_object_get_string(v), name))
                        r = strv_extend(&keys, key);
                if (r < 0)
                        return r;
        }
        for (char **k = keys; k && *k; k++) {
                const char *text = json_object_get_string(json_object_object_get(tree, *k)), *at;
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

                while ((at = strstr(text, name))) {
                        strbuf_addn(&b, text, (size_t) (at - text));
                        strbuf_add(&b, value);
                        text = at + strlen(name);
                }
                strbuf_add(&b, text);
                if (b.oom || json_object_object_add(tree, *k, json_object_new_string(b.data)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* What the template of a child wants to have in its parent's tree, as part of the same transaction. */
static int override_parent(DbTx *tx, Vm *parent, json_object *tree, const char *uuid)
{
        _cleanup_json_ json_object *merged = NULL;
        json_object *over = json_get_member(tree, "parent-override", json_type_object);
        char path[64];
        int r;

        if (!over)
                return 0;
        r = substitute(over, "${PARENT_UUID}", parent->uuid);
        if (r >= 0)
                r = substitute(over, "${UUID}", uuid);
        merged = vm_node(parent) ? dbnode_to_json(vm_node(parent)) : NULL;
        if (!merged || !json_object_is_type(merged, json_type_object))
                return -ENOMEM;
        if (r >= 0)
                r = json_merge(merged, over);
        snprintf(path, sizeof path, "/vm/%s", parent->uuid);
        if (r >= 0)
                r = db_tx_require(tx, "exists", path, "");
        if (r >= 0)
                r = db_tx_inject(tx, path, json_object_to_json_string_ext(merged, JSON_C_TO_STRING_PLAIN));
        return r;
}

static int fail_template(Call *c, const char *name, int r)
{
        _cleanup_free_ char *text = NULL;

        if (r == -EBADMSG || r == -EFBIG)
                return call_fail(c, DBUS_ERROR_FAILED, "The template %s is not an object of texts", name);
        text = strformat("the template %s cannot be read: %s", name, strerror(-r));
        return call_fail_code(c, ERROR_IO, text);
}

/* The template with the argument over it; answers c and returns 0 with *ret NULL when it cannot be. */
static int make_tree(Manager *m, const CreateRequest *q, Call *c, json_object **ret)
{
        _cleanup_json_ json_object *tree = NULL, *over = NULL;
        int r;

        r = template_load(m, q->template, &tree);
        if (r < 0)
                return fail_template(c, q->template, r);
        if (c->caller.guest) {
                _cleanup_free_ char *denied = template_denied_to_guests(q->template, tree);

                if (denied)
                        return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "The template %s can be used by the host alone: %s",
                                         q->template, denied);
        }
        if (q->json && *q->json) {
                if (strlen(q->json) > JSON_MAX_BYTES)
                        return call_fail(c, DBUS_ERROR_FAILED, "The JSON text is longer than %d bytes",
                                         (int) JSON_MAX_BYTES);
                r = json_parse(q->json, strlen(q->json), 20, &over);
                if (r < 0 || !json_object_is_type(over, json_type_object) || tree_normalise(over, 16) < 0)
                        return call_fail(c, DBUS_ERROR_FAILED, "The JSON text is not an object of texts");
                if (c->caller.guest) {
                        _cleanup_free_ char *denied = tree_denied_to_guests(over);

                        if (denied)
                                return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "%s can be set by the host alone",
                                                 denied);
                }
                r = json_merge(tree, over);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(tree);
        return 0;
}

static int fill_tree(const CreateRequest *q, json_object *tree, Create *w)
{
        char text[64];
        int r;

        r = tree_set(tree, "uuid", w->uuid);
        if (r >= 0)
                r = tree_keep_sums(w->manager, w->uuid, tree);
        if (r >= 0)
                r = tree_set(tree, "seamless-id", w->uuid);
        if (r >= 0 && !tree_get(tree, "name", NULL)) {
                snprintf(text, sizeof text, "name-%s", w->uuid);
                r = tree_set(tree, "name", q->name && *q->name ? q->name : text);
        }
        if (r >= 0 && !q->parent && !tree_get(tree, "slot", NULL)) {
                snprintf(text, sizeof text, "%d", w->slot);
                r = tree_set(tree, "slot", text);
        }
        if (r >= 0 && q->description)
                r = tree_set(tree, "description", q->description);
        if (r >= 0 && q->image_path)
                r = tree_set(tree, "image_path", q->image_path);
        return r;
}

/* Whether it is more than a VM may have, of what is not looked at elsewhere; then c was failed. */
static bool refuse_sizes(const CreateRequest *q, json_object *tree, Call *c)
{
        const char *name = tree_get(tree, "name", strempty(q->name));
        json_object *config = json_get_member(tree, "config", json_type_object);

        if (refuse_long_name(c, name))
                return true;
        if (strlen(strempty(q->description)) > VALUE_MAX_BYTES || strlen(strempty(q->image_path)) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_FAILED, "A value is at most %d bytes long", (int) VALUE_MAX_BYTES), true;
        for (const RecordKind *k = record_kinds; k->kind; k++) {
                json_object *l = config ? json_get_member(config, k->kind, json_type_object) : NULL;

                if (l && (size_t) json_object_object_length(l) > k->max)
                        return fail_too_many(c, k), true;
        }
        return false;
}

int create_vm(Manager *m, const CreateRequest *q, Call *c)
{
        _cleanup_json_ json_object *tree = NULL;
        const char *fixed;
        char path[64];
        Create *w;
        DbTx *tx;
        Vm *old;
        int r;

        if (!q->unrestricted && db_bool(m, "/vm-create-disallowed", false))
                return call_fail_code(c, ERROR_HOST_POLICY, NULL);
        if (m->n_vms >= VMS_MAX || (c->caller.guest && m->n_vms >= VMS_OF_GUESTS_MAX))
                return call_fail_code(c, ERROR_TOO_MANY_VMS, NULL);
        if (q->uuid && !uuid_valid(q->uuid))
                return call_fail(c, DBUS_ERROR_FAILED, "'%s' is not a uuid", q->uuid);
        /* Those of the service VMs, there or not, and of the host; and another spelling of one that is there. */
        if (q->uuid && c->caller.guest && (startswith(q->uuid, "00000000-") || strpbrk(q->uuid, "ABCDEF")))
                return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "The uuid %s can be chosen by the host alone", q->uuid);
        r = make_tree(m, q, c, &tree);
        if (r < 0 || !tree)
                return r;
        if (refuse_sizes(q, tree, c))
                return 0;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (Create) { .manager = m, .slot = -1 };
        fixed = q->uuid ? q->uuid : tree_get(tree, "uuid", NULL);
        if (fixed && uuid_valid(fixed))
                memcpy(w->uuid, fixed, sizeof w->uuid);
        else if (!uuid_random(w->uuid)) {
                free(w);
                return -EIO;
        }
        /* Another VM's identity is taken over only by the host, and only while that VM does not run. */
        old = manager_find_vm(m, w->uuid);
        if (old && (c->caller.guest || vm_may_run(old) || old->job || old->deleting)) {
                (void) call_fail(c, DBUS_ERROR_FAILED, "A VM with the uuid %s exists%s", w->uuid,
                                 c->caller.guest ? "" : " and is in use");
                free(w);
                return 0;
        }
        if (create_is_ours(m, w->uuid)) {
                (void) call_fail(c, DBUS_ERROR_FAILED, "A VM with the uuid %s is being created", w->uuid);
                free(w);
                return 0;
        }
        if (!q->parent && !tree_get(tree, "slot", NULL)) {
                w->slot = free_slot(m);
                if (w->slot < 0 && db_bool(m, "/xenmgr/strict-slots", false)) {
                        free(w);
                        return call_fail_code(c, ERROR_TOO_MANY_VMS, "no slot is free");
                }
        }
        r = fill_tree(q, tree, w);
        tx = db_tx_new();
        snprintf(path, sizeof path, "/vm/%s", w->uuid);
        if (r >= 0)
                r = db_tx_inject(tx, path, json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN));
        if (r >= 0 && c->caller.guest)
                r = db_tx_require(tx, "within", path, VM_OF_GUESTS_MAX);
        if (r >= 0 && q->parent)
                r = override_parent(tx, q->parent, tree, w->uuid);
        if (r < 0) {
                db_tx_free(tx);
                free(w);
                return r;
        }
        (void) intent_set(manager_paths(m), w->uuid, INTENT_CREATE, NULL);
        w->call = call_ref(c);
        w->replaces = old;
        w->next = m->creates;
        m->creates = w;
        r = db_tx_commit(tx, m->bus, on_committed, w);
        if (r < 0)
                create_end(w, strerror(-r));
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-table.h"

#include "daemon.h"
#include "dbus-text.h"
#include "nearest.h"
#include "parse.h"
#include "strbuf.h"

char *error_to_text(const char *message)
{
        size_t n = strspn(message, "0123456789");

        if (n == 0 || message[n] != ':')
                return strdup(message);
        return strformat("%s (error %.*s)", message + n + 1 + strspn(message + n + 1, " "), (int) n, message);
}

int vmtable_fail(const char *program, const char *what, int r, const sd_bus_error *error)
{
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN))
                fprintf(stderr, "%s: the manager does not run; 'oxt status' shows what does, 'oxt up' starts it\n", program);
        else if (sd_bus_error_is_set(error))
                fprintf(stderr, "%s: %s: %s: %s\n", program, what, error->name, strempty(error->message));
        else
                fprintf(stderr, "%s: %s: %s\n", program, what, strerror(-r));
        return r;
}

static void entry_done(VmEntry *e)
{
        free(e->path);
        free(e->name);
        free(e->uuid);
        free(e->state);
}

void vmtable_done(VmTable *l)
{
        for (size_t i = 0; i < l->n; i++)
                entry_done(&l->items[i]);
        free(l->items);
        l->items = NULL;
        l->n = 0;
}

static int read_property(sd_bus_message *m, VmEntry *vm)
{
        const struct {
                const char *name;
                char **text;
                int64_t *number;
        } fields[] = {
                { "name", &vm->name, NULL },      { "uuid", &vm->uuid, NULL },       { "state", &vm->state, NULL },
                { "domid", NULL, &vm->domid },    { "memory", NULL, &vm->memory },   { "vcpus", NULL, &vm->vcpus },
        };
        _cleanup_strbuf_ StrBuf text = STRBUF_INIT;
        const char *name;
        size_t i;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        for (i = 0; i < ELEMENTSOF(fields); i++)
                if (streq(fields[i].name, name))
                        break;
        if (i == ELEMENTSOF(fields))
                return sd_bus_message_skip(m, "v");
        r = dbus_text_print(m, &text);
        if (r < 0)
                return r;
        if (fields[i].number)
                return parse_i64(strempty(text.data), fields[i].number);
        free(*fields[i].text);
        return strbuf_take(&text, fields[i].text);
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        VmEntry *vm = userdata;
        int r;

        --*vm->waiting;
        if (sd_bus_message_is_method_error(m, NULL))
                return 0; /* deleted meanwhile: it is left out */
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(m, vm);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        vm->known = r >= 0 && vm->name && vm->uuid && vm->state;
        return 0;
}

static int list_paths(VmTable *l, sd_bus *bus, sd_bus_error *error)
{
        sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, XENMGR, "/", XENMGR, "list_vms", error, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "o");
        while (r >= 0 && (r = sd_bus_message_read(reply, "o", &path)) > 0) {
                VmEntry *items = reallocarray(l->items, l->n + 1, sizeof *items);

                if (!items) {
                        r = -ENOMEM;
                        break;
                }
                l->items = items;
                items[l->n] = (VmEntry) { .path = strdup(path), .domid = -1, .waiting = &l->waiting };
                r = items[l->n++].path ? 0 : -ENOMEM;
        }
        sd_bus_message_unref(reply);
        return r;
}

int vmtable_load(VmTable *l, sd_bus *bus)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        size_t n = 0;
        int r = list_paths(l, bus, &error);

        for (size_t i = 0; r >= 0 && i < l->n; i++) {
                r = sd_bus_call_method_async(bus, NULL, XENMGR, l->items[i].path, BUS_PROPERTIES, "GetAll", on_properties,
                                             &l->items[i], "s", XENMGR_VM);
                l->waiting += r >= 0;
        }
        if (r >= 0)
                r = bus_wait_answers(bus, &l->waiting);
        if (r < 0)
                vmtable_fail(l->program, "list_vms", r, &error);
        sd_bus_error_free(&error);
        for (size_t i = 0; i < l->n; i++) {
                if (l->items[i].known)
                        l->items[n++] = l->items[i];
                else
                        entry_done(&l->items[i]);
        }
        l->n = n;
        return r < 0 ? r : 0;
}

static bool comes_before(const VmEntry *a, const VmEntry *b)
{
        return a->domid >= 0 && (b->domid < 0 || a->domid < b->domid);
}

void vmtable_sort(VmTable *l)
{
        /* By insertion: the list is short, and equal ones stay in their order. */
        for (size_t i = 1; i < l->n; i++)
                for (size_t j = i; j > 0 && comes_before(&l->items[j], &l->items[j - 1]); j--) {
                        VmEntry t = l->items[j];

                        l->items[j] = l->items[j - 1];
                        l->items[j - 1] = t;
                }
}

const VmEntry *vmtable_find_name(const VmTable *l, const char *name, unsigned *ret_n)
{
        const VmEntry *found = NULL;

        *ret_n = 0;
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->items[i].name, name)) {
                        found = found ? found : &l->items[i];
                        ++*ret_n;
                }
        return found;
}

const VmEntry *vmtable_nearest(const VmTable *l, const char *name)
{
        const VmEntry *found = NULL;
        Nearest nearest;

        nearest_init(&nearest, name);
        for (size_t i = 0; i < l->n; i++)
                if (nearest_try(&nearest, l->items[i].name))
                        found = &l->items[i];
        return found;
}

const VmEntry *vmtable_find_uuid(const VmTable *l, const char *uuid)
{
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->items[i].uuid, uuid))
                        return &l->items[i];
        return NULL;
}

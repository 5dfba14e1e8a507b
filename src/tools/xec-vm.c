/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xec-vm: finds a VM by name, uuid or domid and becomes xec on its object, or on one of its disks or
 * nics. Without a choice it prints the table of VMs.
 */
#include <unistd.h>

#include "daemon.h"
#include "dbus-text.h"
#include "fs.h"
#include "options.h"
#include "parse.h"
#include "paths.h"

#define XENMGR "com.citrix.xenclient.xenmgr"
#define XENMGR_VM XENMGR ".vm"
#define PROPERTIES "org.freedesktop.DBus.Properties"

static const char *arg_object, *arg_name, *arg_uuid, *arg_domid, *arg_disk, *arg_nic;
static bool arg_list_disks, arg_list_nics, arg_json;

/* Those without a target are xec's: they are only understood here and handed on. */
static const Option options[] = {
        { "name", 'n', "NAME", OPTION_STRING, &arg_name, "The VM of this name", NULL },
        { "uuid", 'u', "UUID", OPTION_STRING, &arg_uuid, "The VM of this UUID", NULL },
        { "domid", 'd', "DOMID", OPTION_STRING, &arg_domid, "The running VM of this domain number", NULL },
        { "object", 'o', "PATH", OPTION_STRING, &arg_object, "The object at this path", NULL },
        { "disk", 'k', "ID", OPTION_STRING, &arg_disk, "This disk of the VM", NULL },
        { "nic", 'c', "ID", OPTION_STRING, &arg_nic, "This network card of the VM", NULL },
        { "list-disks", 0, NULL, OPTION_FLAG, &arg_list_disks, "List the VM's disks", NULL },
        { "list-nics", 0, NULL, OPTION_FLAG, &arg_list_nics, "List the VM's network cards", NULL },
        { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
        { "interface", 'i', "NAME", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "get", 'g', "PROPERTY", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "set", 'x', "PROPERTY VALUE", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "service", 's', "NAME", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "signature", 0, "TYPES", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "timeout", 0, "SECONDS", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "target-domid", 't', "DOMID", OPTION_IGNORED, NULL, "As with xec", NULL },
        { "session", 0, NULL, OPTION_IGNORED, NULL, "As with xec", NULL },
        { "query", 'q', NULL, OPTION_IGNORED, NULL, "As with xec", NULL },
        { "list-interfaces", 0, NULL, OPTION_IGNORED, NULL, "As with xec", NULL },
        { "list-methods", 0, NULL, OPTION_IGNORED, NULL, "As with xec", NULL },
        { "list-properties", 0, NULL, OPTION_IGNORED, NULL, "As with xec", NULL },
        { 0 },
};

static const Program program = {
        .name = "xec-vm",
        .synopsis = "[OPTIONS] [METHOD [ARGUMENT…] | get PROPERTY | set PROPERTY VALUE | getall]",
        .summary = "Calls methods and reads and writes properties of a VM; without a choice of one, prints the VMs.",
        .options = options,
};

/* ---- the command line ---- */

static int words_behind(const Option *o, const char *word)
{
        if (!o->arg || strchr(word, '='))
                return 0;
        return streq(o->name, "set") ? 2 : 1;
}

static const Option *option_at(const char *word)
{
        for (const Option *o = options; o->name; o++) {
                const char *rest = startswith(word, "--") ? startswith(word + 2, o->name) : NULL;

                if ((word[0] == '-' && o->letter && word[1] == o->letter && word[2] == '\0') ||
                    (rest && (*rest == '\0' || *rest == '=')))
                        return o;
        }
        return NULL;
}

/*
 * Splits the command line into our choices and what is xec's: only options in front of the first
 * other word are looked at, and the first of two equal ones counts. Returns -1 with *ret_exit set.
 */
static int take_options(int argc, char *argv[], char ***xec, int *ret_exit)
{
        bool seen[ELEMENTSOF(options)] = { false };
        int i = 1;

        while (i < argc) {
                const Option *o = option_at(argv[i]);
                int n;

                if (!o) {
                        char *other[] = { argv[0], argv[i], NULL };

                        /* Options that every program has, and unknown ones. */
                        if (options_parse(&program, 2, other, 1, ret_exit) < 0)
                                return -1;
                        break;
                }
                n = words_behind(o, argv[i]);
                if (o->target && o->arg && n == 1 && i + 1 >= argc) {
                        fprintf(stderr, "xec-vm: option '--%s' needs a value: %s\n", o->name, o->arg);
                        *ret_exit = 1;
                        return -1;
                }
                if (o->target && !seen[o - options]) {
                        if (o->arg)
                                *(const char **) o->target = n ? argv[i + 1] : strchr(argv[i], '=') + 1;
                        else
                                *(bool *) o->target = true;
                }
                seen[o - options] = true;
                for (int w = 0; w <= n && i < argc; w++, i++)
                        if ((!o->target || o->target == &arg_json) && strv_extend(xec, argv[i]) < 0)
                                return -1;
        }
        for (; i < argc; i++)
                if (strv_extend(xec, argv[i]) < 0)
                        return -1;
        return 0;
}

/* ---- asking xenmgr ---- */

static int fail(const char *what, int r, const sd_bus_error *error)
{
        if (sd_bus_error_is_set(error))
                fprintf(stderr, "xec-vm: %s: %s: %s\n", what, error->name, strempty(error->message));
        else
                fprintf(stderr, "xec-vm: %s: %s\n", what, strerror(-r));
        return r;
}

static int not_found(const char *choice)
{
        fprintf(stderr, "xec-vm: vm '%s' not found\n", choice);
        return -ENOENT;
}

/* find_vm_by_uuid, find_vm_by_domid */
static int find_by(sd_bus *bus, const char *choice, const char *method, const char *signature, const void *value,
                   char **ret)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, XENMGR, "/", XENMGR, method);
        if (r >= 0)
                r = sd_bus_message_append_basic(m, signature[0], value);
        if (r >= 0)
                r = sd_bus_call(bus, m, 0, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0) {
                *ret = strdup(path);
                r = *ret ? 0 : -ENOMEM;
        } else if (sd_bus_error_has_name(&error, "org.freedesktop.DBus.Error.Failed") ||
                   sd_bus_error_has_name(&error, "org.freedesktop.DBus.Error.InvalidArgs"))
                r = not_found(choice);
        else
                fail(method, r, &error);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        sd_bus_error_free(&error);
        return r;
}

typedef struct Vm {
        char *path, *name, *uuid, *state;
        int64_t domid;
        bool known; /* its properties have come */
        size_t *waiting;
} Vm;

typedef struct Vms {
        Vm *items;
        size_t n;
        size_t waiting;
} Vms;

static void vms_done(Vms *l)
{
        for (size_t i = 0; i < l->n; i++) {
                free(l->items[i].path);
                free(l->items[i].name);
                free(l->items[i].uuid);
                free(l->items[i].state);
        }
        free(l->items);
}

static int read_property(sd_bus_message *m, Vm *vm)
{
        _cleanup_strbuf_ StrBuf text = STRBUF_INIT;
        const char *name;
        char **field;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        field = streq(name, "name")    ? &vm->name
                : streq(name, "uuid")  ? &vm->uuid
                : streq(name, "state") ? &vm->state
                                       : NULL;
        if (!field && !streq(name, "domid"))
                return sd_bus_message_skip(m, "v");
        r = dbus_text_print(m, &text);
        if (r < 0)
                return r;
        if (!field)
                return parse_i64(strempty(text.data), &vm->domid);
        free(*field);
        return strbuf_take(&text, field);
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Vm *vm = userdata;
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
        vm->known = r >= 0;
        return 0;
}

/* All VMs in the order of xenmgr: one call for the list, one GetAll each, all of those under way at once. */
static int list_vms(sd_bus *bus, Vms *l)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, XENMGR, "/", XENMGR, "list_vms", &error, &reply, NULL);
        if (r < 0)
                fail("list_vms", r, &error);
        else
                r = sd_bus_message_enter_container(reply, 'a', "o");
        while (r >= 0 && (r = sd_bus_message_read(reply, "o", &path)) > 0) {
                Vm *items = reallocarray(l->items, l->n + 1, sizeof *items);

                if (!items) {
                        r = -ENOMEM;
                        break;
                }
                l->items = items;
                items[l->n] = (Vm) { .path = strdup(path), .domid = -1, .waiting = &l->waiting };
                r = items[l->n++].path ? 0 : -ENOMEM;
        }
        for (size_t i = 0; r >= 0 && i < l->n; i++) {
                r = sd_bus_call_method_async(bus, NULL, XENMGR, l->items[i].path, PROPERTIES, "GetAll", on_properties,
                                             &l->items[i], "s", XENMGR_VM);
                l->waiting += r >= 0;
        }
        while (r >= 0 && l->waiting > 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        if (r < 0 && !sd_bus_error_is_set(&error))
                fail("list_vms", r, &error);
        sd_bus_error_free(&error);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 0;
}

static int find_by_name(sd_bus *bus, const char *name, char **ret)
{
        Vms l = { 0 };
        const Vm *found = NULL;
        unsigned n = 0;
        int r = list_vms(bus, &l);

        for (size_t i = 0; r >= 0 && i < l.n; i++)
                if (l.items[i].known && streq_ptr(l.items[i].name, name)) {
                        found = found ? found : &l.items[i];
                        n++;
                }
        if (n > 1)
                fprintf(stderr, "xec-vm: %u VMs are named '%s'; taking %s (choose with -u UUID)\n", n, name,
                        strempty(found->uuid));
        if (found) {
                *ret = strdup(found->path);
                r = *ret ? 0 : -ENOMEM;
        } else if (r >= 0)
                r = not_found(name);
        vms_done(&l);
        return r;
}

/* 1 with *ret: a VM was chosen; 0: none; negative: printed. */
static int choose(sd_bus *bus, char **ret)
{
        int r = 0;

        if (arg_name)
                r = find_by_name(bus, arg_name, ret);
        else if (arg_uuid)
                r = find_by(bus, arg_uuid, "find_vm_by_uuid", "s", arg_uuid, ret);
        else if (arg_domid) {
                int64_t domid;
                int32_t value;

                if (parse_i64(arg_domid, &domid) < 0 || domid < 0 || domid > INT32_MAX)
                        return not_found(arg_domid);
                value = (int32_t) domid;
                r = find_by(bus, arg_domid, "find_vm_by_domid", "i", &value, ret);
        } else
                return 0;
        return r < 0 ? r : 1;
}

/* ---- the table ---- */

/* Running ones first, by domid; then in the order of the list. */
static int compare_vms(const void *a, const void *b)
{
        const Vm *x = a, *y = b;
        uint64_t dx = x->domid < 0 ? UINT64_MAX : (uint64_t) x->domid;
        uint64_t dy = y->domid < 0 ? UINT64_MAX : (uint64_t) y->domid;

        if (dx != dy)
                return dx < dy ? -1 : 1;
        return 0;
}

/* Fills up to width characters; a character may be several bytes. */
static void print_column(StrBuf *b, const char *s, int width)
{
        int n = 0;

        for (const char *p = s; *p; p++)
                n += ((unsigned char) *p & 0xc0) != 0x80;
        strbuf_addf(b, "%s%*s", s, MAX2(width - n, 0), "");
}

static void print_vm(StrBuf *b, const Vm *vm)
{
        char domid[24] = "";

        if (arg_json) {
                strbuf_add(b, "{\"domid\":");
                strbuf_addf(b, vm->domid < 0 ? "null" : "%lld", (long long) vm->domid);
                strbuf_add(b, ",\"name\":");
                json_quote(b, strempty(vm->name));
                strbuf_add(b, ",\"uuid\":");
                json_quote(b, strempty(vm->uuid));
                strbuf_add(b, ",\"state\":");
                json_quote(b, strempty(vm->state));
                strbuf_addc(b, '}');
                return;
        }
        if (vm->domid >= 0)
                snprintf(domid, sizeof domid, "%lld", (long long) vm->domid);
        strbuf_addf(b, " %3s | ", domid);
        print_column(b, strempty(vm->name), 18);
        strbuf_addf(b, " | %-36s | %-10s\n", strempty(vm->uuid), strempty(vm->state));
}

static int print_table(sd_bus *bus)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *separator = "";
        Vms l = { 0 };
        int r = list_vms(bus, &l);

        if (r < 0) {
                vms_done(&l);
                return r;
        }
        /* Sorted by a stable order: the list is short, and equal ones must stay as they are. */
        for (size_t i = 1; i < l.n; i++)
                for (size_t j = i; j > 0 && compare_vms(&l.items[j - 1], &l.items[j]) > 0; j--) {
                        Vm t = l.items[j];

                        l.items[j] = l.items[j - 1];
                        l.items[j - 1] = t;
                }
        if (arg_json)
                strbuf_addc(&b, '[');
        else
                strbuf_addf(&b, " %-3s | %-18s | %-36s | %-10s\n-----+--------------------+----------------------------"
                                "----------+--------\n",
                            "ID", "Name", "UUID", "State");
        for (size_t i = 0; i < l.n; i++)
                if (l.items[i].known) {
                        strbuf_add(&b, arg_json ? separator : "");
                        print_vm(&b, &l.items[i]);
                        separator = ",";
                }
        if (arg_json)
                strbuf_add(&b, "]\n");
        vms_done(&l);
        if (b.oom)
                return -ENOMEM;
        fwrite(b.data, 1, b.len, stdout);
        return fflush(stdout) == 0 ? 0 : -errno;
}

/* ---- */

static int become_xec(const char *vm, char *const words[])
{
        _cleanup_free_ char *path = path_join(programs_dir(), "xec");
        _cleanup_strv_ char **l = NULL;
        int r;

        r = strv_extend(&l, "xec");
        if (r >= 0)
                r = strv_extend(&l, "-o");
        if (r >= 0 && (arg_list_disks || arg_list_nics || (!arg_disk && !arg_nic)))
                r = strv_extend(&l, vm);
        else if (r >= 0)
                r = strv_extendf(&l, "%s/%s/%s", vm, arg_disk ? "disk" : "nic", arg_disk ? arg_disk : arg_nic);
        if (arg_list_disks || arg_list_nics) {
                if (r >= 0 && arg_json)
                        r = strv_extend(&l, "--json");
                if (r >= 0)
                        r = strv_extend(&l, arg_list_disks ? "list-disks" : "list-nics");
        } else
                for (; r >= 0 && words && *words; words++)
                        r = strv_extend(&l, *words);
        if (r < 0 || !path) {
                fprintf(stderr, "xec-vm: out of memory\n");
                return 1;
        }
        execv(path, l);
        if (errno == ENOENT)
                execvp("xec", l);
        fprintf(stderr, "xec-vm: cannot run %s: %s\n", path, strerror(errno));
        return 1;
}

int main(int argc, char *argv[])
{
        _cleanup_strv_ char **xec = NULL;
        _cleanup_free_ char *vm = NULL;
        sd_bus *bus = NULL;
        int r, status = 1;

        if (take_options(argc, argv, &xec, &status) < 0)
                return status;
        if (arg_object)
                return become_xec(arg_object, xec);
        r = bus_open(NULL, &bus);
        if (r < 0) {
                fprintf(stderr, "xec-vm: cannot connect to the bus: %s; is the stack up? ('oxt up', 'oxt status')\n",
                        strerror(-r));
                return 1;
        }
        r = choose(bus, &vm);
        if (r == 0)
                r = print_table(bus);
        sd_bus_flush_close_unref(bus);
        if (r < 0)
                return 1;
        return vm ? become_xec(vm, xec) : 0;
}

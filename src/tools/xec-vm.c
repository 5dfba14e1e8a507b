/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xec-vm: finds a VM by name, uuid or domid and becomes xec on its object, or on one of its disks or
 * nics. Some commands are its own (vm-look.c). Without a choice it prints the table of VMs.
 */
#include <unistd.h>

#include "daemon.h"
#include "dbus-text.h"
#include "fs.h"
#include "options.h"
#include "parse.h"
#include "paths.h"
#include "vm-look.h"
#include "vm-table.h"

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

static void complete(int n_words, char *words[]);

static const Program program = {
        .name = "xec-vm",
        .synopsis = "[OPTIONS] [COMMAND | METHOD [ARGUMENT…] | get PROPERTY | set PROPERTY VALUE | getall]",
        .summary = "Calls methods and reads and writes properties of a VM; without a choice of one, prints the VMs.",
        .options = options,
        .verbs = look_verbs,
        .complete = complete,
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

                        /* Options that every program has, and unknown ones; --complete takes all that follows. */
                        if (options_parse(&program, i == 1 ? argc : 2, i == 1 ? argv : other, 1, ret_exit) < 0)
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

static int not_found(const char *choice, const VmEntry *near)
{
        fprintf(stderr, "xec-vm: vm '%s' not found; %s%s%s\n", choice, near ? "did you mean '" : "'xec-vm' shows those there are",
                near ? near->name : "", near ? "'?" : "");
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
                r = not_found(choice, NULL);
        else
                vmtable_fail("xec-vm", method, r, &error);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        sd_bus_error_free(&error);
        return r;
}

static int find_by_name(sd_bus *bus, const char *name, char **ret)
{
        _cleanup_vmtable_ VmTable l = { .program = "xec-vm" };
        const VmEntry *found;
        unsigned n;
        int r = vmtable_load(&l, bus);

        if (r < 0)
                return r;
        found = vmtable_find_name(&l, name, &n);
        if (!found)
                return not_found(name, vmtable_nearest(&l, name));
        if (n > 1)
                fprintf(stderr, "xec-vm: %u VMs are named '%s'; taking %s (choose with -u UUID)\n", n, name, found->uuid);
        *ret = strdup(found->path);
        return *ret ? 0 : -ENOMEM;
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
                        return not_found(arg_domid, NULL);
                value = (int32_t) domid;
                r = find_by(bus, arg_domid, "find_vm_by_domid", "i", &value, ret);
        } else
                return 0;
        return r < 0 ? r : 1;
}

/* ---- the table ---- */

static void print_vm(StrBuf *b, const VmEntry *vm)
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
        strbuf_add_padded(b, strempty(vm->name), 18);
        strbuf_addf(b, " | %-36s | %-10s\n", strempty(vm->uuid), strempty(vm->state));
}

static int print_table(sd_bus *bus)
{
        _cleanup_vmtable_ VmTable l = { .program = "xec-vm" };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r = vmtable_load(&l, bus);

        if (r < 0)
                return r;
        vmtable_sort(&l);
        if (arg_json)
                strbuf_addc(&b, '[');
        else
                strbuf_addf(&b, " %-3s | %-18s | %-36s | %-10s\n-----+--------------------+----------------------------"
                                "----------+--------\n",
                            "ID", "Name", "UUID", "State");
        for (size_t i = 0; i < l.n; i++) {
                strbuf_add(&b, arg_json && i > 0 ? "," : "");
                print_vm(&b, &l.items[i]);
        }
        if (arg_json)
                strbuf_add(&b, "]\n");
        if (b.oom)
                return -ENOMEM;
        fwrite(b.data, 1, b.len, stdout);
        return fflush(stdout) == 0 ? 0 : -errno;
}

/* ---- */

/* completing: words begin with --complete, which must stay in front. */
static int become_xec(const char *vm, char *const words[], bool completing)
{
        _cleanup_free_ char *path = path_join(programs_dir(), "xec");
        _cleanup_strv_ char **l = NULL;
        int r;

        r = strv_extend(&l, "xec");
        if (r >= 0 && completing)
                r = strv_extend(&l, *words++);
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

/* The words of a command of our own; NULL: they are xec's. */
static char **own_words(char **xec)
{
        if (arg_disk || arg_nic || arg_list_disks || arg_list_nics)
                return NULL;
        while (xec && *xec && (streq(*xec, "--json") || streq(*xec, "-q") || streq(*xec, "--query")))
                xec++;
        return look_find(xec) ? xec : NULL;
}

static int run_own(sd_bus *bus, const char *vm, char *const words[])
{
        _cleanup_free_ char **argv = calloc(strv_length(words) + 2, sizeof *argv);
        LookTarget target = { bus, vm };
        char json[] = "--json";
        int argc = 0;

        if (!argv)
                return 1;
        argv[argc++] = *words++;
        if (arg_json) /* it was in front */
                argv[argc++] = json;
        while (*words)
                argv[argc++] = *words++;
        return look_find(argv)->run(argc, argv, &target);
}

/* The numbers of the VM's disks or network cards: the ends of their paths. */
static void complete_devices(sd_bus *bus, const char *vm, const char *method)
{
        sd_bus_message *reply = NULL;
        const char *path;

        if (sd_bus_call_method(bus, XENMGR, vm, XENMGR_VM, method, NULL, &reply, NULL) >= 0 &&
            sd_bus_message_enter_container(reply, 'a', "o") >= 0)
                while (sd_bus_message_read(reply, "o", &path) > 0)
                        printf("%s\n", strrchr(path, '/') + 1);
        sd_bus_message_unref(reply);
}

/* Names, uuids and domids of VMs; behind a choice, its devices and what xec says of its object. */
static void complete(int n_words, char *words[])
{
        _cleanup_vmtable_ VmTable l = { .program = "xec-vm" };
        _cleanup_free_ char **argv = calloc((size_t) n_words + 2, sizeof *argv), *vm = NULL;
        _cleanup_strv_ char **xec = NULL;
        const Option *last = n_words > 0 ? option_at(words[n_words - 1]) : NULL;
        char first_word[] = "--complete";
        sd_bus *bus = NULL;
        int status;

        if (!argv || strv_extend(&xec, first_word) < 0 || bus_open(NULL, &bus) < 0)
                return;
        memcpy(argv + 1, words, (size_t) n_words * sizeof *argv);
        if (last && (last->target == &arg_disk || last->target == &arg_nic)) {
                argv[n_words] = NULL;
                if (take_options(n_words, argv, &xec, &status) >= 0 && (arg_object || choose(bus, &vm) > 0))
                        complete_devices(bus, arg_object ? arg_object : vm, last->target == &arg_disk ? "list_disks" : "list_nics");
        } else if (last && last->target && last->arg) {
                if (vmtable_load(&l, bus) >= 0)
                        for (size_t i = 0; i < l.n; i++) {
                                if (last->target == &arg_name)
                                        printf("%s\n", l.items[i].name);
                                else if (last->target == &arg_uuid)
                                        printf("%s\n", l.items[i].uuid);
                                else if (last->target == &arg_object)
                                        printf("%s\n", l.items[i].path);
                                else if (last->target == &arg_domid && l.items[i].domid >= 0)
                                        printf("%lld\n", (long long) l.items[i].domid);
                        }
        } else if (take_options(n_words + 1, argv, &xec, &status) >= 0 && (arg_object || choose(bus, &vm) > 0)) {
                sd_bus_flush_close_unref(bus);
                fflush(stdout);
                (void) become_xec(arg_object ? arg_object : vm, xec, true);
                return;
        }
        sd_bus_flush_close_unref(bus);
}

int main(int argc, char *argv[])
{
        _cleanup_strv_ char **xec = NULL;
        _cleanup_free_ char *vm = NULL;
        sd_bus *bus = NULL;
        int r, status = 1;
        char **own;

        if (take_options(argc, argv, &xec, &status) < 0)
                return status;
        own = own_words(xec);
        if (arg_object && !own)
                return become_xec(arg_object, xec, false);
        r = bus_open(NULL, &bus);
        if (r < 0) {
                fprintf(stderr, "xec-vm: cannot connect to the bus: %s; is the stack up? ('oxt up', 'oxt status')\n",
                        strerror(-r));
                return 1;
        }
        if (arg_object)
                vm = strdup(arg_object);
        r = vm ? 1 : choose(bus, &vm);
        if (r == 0)
                r = print_table(bus);
        if (r > 0 && own)
                status = run_own(bus, vm, own);
        sd_bus_flush_close_unref(bus);
        if (r < 0)
                return 1;
        return !vm ? 0 : own ? status : become_xec(vm, xec, false);
}

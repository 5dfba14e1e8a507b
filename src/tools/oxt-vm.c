/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt vm: VMs without knowing D-Bus. What they can do is in the manager; these commands only ask it. */
#include "oxt-vm.h"

#include <unistd.h>

#include "daemon.h"
#include "dbus-text.h"
#include "log.h"
#include "nearest.h"
#include "parse.h"
#include "strbuf.h"
#include "vm-keys.h"

#define NEAREST_MAX 3

static bool arg_json, arg_all, arg_force, arg_keep_disks;

void vmcommand_done(VmCommand *c)
{
        sd_bus_flush_close_unref(c->bus);
        if (c->opened)
                stack_done(&c->stack);
}

int vmcommand_open(VmCommand *c, const Program *program, int min, int max, int argc, char *argv[], int *ret_exit)
{
        _cleanup_free_ char *address = NULL;
        int first = stack_open(&c->stack, program, argc, argv, ret_exit), r;

        c->name = program->name;
        if (first < 0)
                return first;
        c->opened = true;
        *ret_exit = 2;
        if (argc - first < min || (max >= 0 && argc - first > max)) {
                fprintf(stderr, "Usage: %s %s\nTry '%s --help'.\n", program->name, program->synopsis, program->name);
                return -EINVAL;
        }
        *ret_exit = 1;
        address = stack_bus_address(&c->stack);
        if (!address)
                return log_oom();
        r = bus_open(address, &c->bus);
        if (r < 0) {
                fprintf(stderr, "%s: cannot reach the stack's bus at %s: %s; start the stack with 'oxt up'\n", c->name,
                        address, strerror(-r));
                return r;
        }
        return first;
}

int vmcommand_fail(const VmCommand *c, const char *what, int r, const sd_bus_error *error)
{
        const char *text = sd_bus_error_is_set(error) ? strempty(error->message) : strerror(-r);
        _cleanup_free_ char *shown = NULL;

        if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN))
                return vmtable_fail(c->name, what, r, error);
        shown = error_to_text(text);
        fprintf(stderr, "%s: %s: %s\n", c->name, what, shown ? shown : text);
        return r;
}

int vmcommand_call(VmCommand *c, const char *what, const char *path, const char *interface, const char *member,
                   sd_bus_message **ret, const char *types, ...)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, XENMGR, path, interface, member);
        if (r >= 0 && types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
        }
        if (r >= 0)
                r = sd_bus_call(c->bus, m, VMCOMMAND_USEC, &error, ret);
        if (r < 0)
                vmcommand_fail(c, what, r, &error);
        sd_bus_message_unref(m);
        sd_bus_error_free(&error);
        return r;
}

int vmcommand_set_text(VmCommand *c, const char *path, const char *interface, const char *property, const char *text)
{
        return vmcommand_call(c, property, path, BUS_PROPERTIES, "Set", NULL, "ssv", interface, property, "s", text);
}

int vmcommand_get(VmCommand *c, const char *path, const char *interface, const char *property, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        sd_bus_message *reply = NULL;
        int r = vmcommand_call(c, property, path, BUS_PROPERTIES, "Get", &reply, "ss", interface, property);

        if (r >= 0)
                r = dbus_text_print(reply, &b);
        if (r >= 0)
                r = strbuf_take(&b, ret);
        sd_bus_message_unref(reply);
        return r;
}

int vmcommand_list(VmCommand *c, const char *path, const char *method, char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        sd_bus_message *reply = NULL;
        const char *p;
        int r = vmcommand_call(c, method, path, XENMGR_VM, method, &reply, NULL);

        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "o");
        while (r >= 0 && (r = sd_bus_message_read(reply, "o", &p)) > 0)
                r = strv_extend(&l, p);
        sd_bus_message_unref(reply);
        if (r >= 0)
                *ret = TAKE_PTR(l);
        return r;
}

int vmcommand_choose(VmCommand *c, const char *choice, char **ret_path)
{
        _cleanup_vmtable_ VmTable l = { .program = c->name };
        const VmEntry *vm;
        unsigned n = 0;
        int r = vmtable_load(&l, c->bus);

        if (r < 0)
                return r;
        vm = vmtable_find_uuid(&l, choice);
        if (!vm)
                vm = vmtable_find_name(&l, choice, &n);
        if (vm && n <= 1) {
                *ret_path = strdup(vm->path);
                return *ret_path ? 0 : log_oom();
        }
        if (vm) {
                fprintf(stderr, "%s: %u VMs are named '%s'; choose one by its UUID:\n", c->name, n, choice);
                for (size_t i = 0; i < l.n; i++)
                        if (streq(l.items[i].name, choice))
                                fprintf(stderr, "  %s  %s\n", l.items[i].uuid, l.items[i].state);
                return -ENOTUNIQ;
        }
        vm = vmtable_nearest(&l, choice);
        fprintf(stderr, "%s: there is no VM '%s'; %s%s%s\n", c->name, choice,
                vm ? "did you mean '" : "'oxt vm list' shows those there are", vm ? vm->name : "", vm ? "'?" : "");
        return -ENOENT;
}

/* Completion: the VMs' names, and behind the VM of `set` the properties. */
void vmcommand_complete(_unused_ int n_words, _unused_ char *words[])
{
        static const Program plain = { .name = "oxt vm", .synopsis = "", .summary = "" };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_vmtable_ VmTable l = { .program = plain.name };
        char name[] = "oxt", *argv[] = { name, NULL };
        int status;

        if (vmcommand_open(&c, &plain, 0, 0, 1, argv, &status) >= 0 && vmtable_load(&l, c.bus) >= 0)
                for (size_t i = 0; i < l.n; i++)
                        printf("%s\n", l.items[i].name);
}

static void complete_set(int n_words, char *words[])
{
        if (n_words == 0) {
                vmcommand_complete(n_words, words);
                return;
        }
        for (const VmKey *k = vm_keys; k->property; k++)
                if (!(k->flags & VMKEY_READ_ONLY))
                        printf("%s=\n", k->property);
}

/* ---- list, show ---- */

static const Option list_options[] = {
        { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
        { 0 }
};

static int vm_list(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm list", .synopsis = "[OPTIONS]", .options = list_options,
                                         .flags = PROGRAM_PERMUTE, .summary = "Lists all VMs, running ones first." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_vmtable_ VmTable l = { .program = program.name };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int status;

        if (vmcommand_open(&c, &program, 0, 0, argc, argv, &status) < 0)
                return status;
        if (vmtable_load(&l, c.bus) < 0)
                return 1;
        vmtable_sort(&l);
        if (!arg_json && l.n == 0) {
                printf("There are no VMs yet; 'oxt vm create --help' tells how to make one.\n");
                return 0;
        }
        strbuf_add(&b, arg_json ? "[" : "NAME                 STATE      DOMAIN  MEMORY  CPUS  UUID\n");
        for (size_t i = 0; i < l.n; i++) {
                const VmEntry *vm = &l.items[i];
                char domid[24] = "-";

                if (vm->domid >= 0)
                        snprintf(domid, sizeof domid, "%lld", (long long) vm->domid);
                if (!arg_json) {
                        strbuf_add_padded(&b, vm->name, 20);
                        strbuf_addf(&b, " %-10s %6s %7lld %5lld  %s\n", vm->state, domid, (long long) vm->memory,
                                    (long long) vm->vcpus, vm->uuid);
                        continue;
                }
                strbuf_add(&b, i ? ",{\"name\":" : "{\"name\":");
                json_quote(&b, vm->name);
                strbuf_addf(&b, ",\"uuid\":\"%s\",\"state\":\"%s\",\"domid\":%s,\"memory\":%lld,\"vcpus\":%lld}", vm->uuid,
                            vm->state, vm->domid < 0 ? "null" : domid, (long long) vm->memory, (long long) vm->vcpus);
        }
        if (arg_json)
                strbuf_add(&b, "]\n");
        if (b.oom)
                return log_oom() < 0;
        fputs(b.data, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
}

static const Option show_options[] = {
        { "all", 'a', NULL, OPTION_FLAG, &arg_all, "Show every property, with what it means", NULL },
        { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
        { 0 }
};

/* Properties of one object, as name and text in turn. */
static int read_all(VmCommand *c, const char *path, const char *interface, char ***ret, StrBuf *json)
{
        _cleanup_strv_ char **l = NULL;
        sd_bus_message *reply = NULL;
        int r = vmcommand_call(c, path, path, BUS_PROPERTIES, "GetAll", &reply, "s", interface);

        if (r >= 0 && arg_json)
                r = dbus_text_print_json(reply, json);
        else if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && !arg_json && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                const char *name;

                r = sd_bus_message_read(reply, "s", &name);
                if (r >= 0)
                        r = dbus_text_print(reply, &b);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
                if (r >= 0)
                        r = strv_extend(&l, name);
                if (r >= 0)
                        r = strv_extend(&l, strempty(b.data));
        }
        sd_bus_message_unref(reply);
        if (r >= 0)
                *ret = TAKE_PTR(l);
        return r;
}

static const char *pair_get(char *const *pairs, const char *name)
{
        for (; pairs && *pairs; pairs += 2)
                if (streq(pairs[0], name))
                        return pairs[1];
        return "";
}

static int show_devices(VmCommand *c, const char *path, bool disks, StrBuf *b)
{
        _cleanup_strv_ char **l = NULL;
        int r = vmcommand_list(c, path, disks ? "list_disks" : "list_nics", &l);

        if (arg_json)
                strbuf_addf(b, ",\"%s\":[", disks ? "disks" : "nics");
        for (char **p = l; r >= 0 && p && *p; p++) {
                _cleanup_strv_ char **d = NULL;
                const char *id = strrchr(*p, '/') + 1;

                if (arg_json && p > l)
                        strbuf_addc(b, ',');
                r = read_all(c, *p, disks ? "com.citrix.xenclient.vmdisk" : "com.citrix.xenclient.vmnic", &d, b);
                if (r < 0 || arg_json)
                        continue;
                if (disks)
                        strbuf_addf(b, "disk %-2s      %s %s (%s, %s)%s: %s\n", id, pair_get(d, "virt-path"),
                                    pair_get(d, "devtype"), pair_get(d, "phys-type"),
                                    streq(pair_get(d, "mode"), "r") ? "read-only" : "read-write",
                                    streq(pair_get(d, "enabled"), "false") ? ", switched off" : "", pair_get(d, "phys-path"));
                else
                        strbuf_addf(b, "nic %-2s       %s, %s%s\n", id, pair_get(d, "network"), pair_get(d, "mac-actual"),
                                    streq(pair_get(d, "enabled"), "false") ? ", switched off" : "");
        }
        if (arg_json)
                strbuf_addc(b, ']');
        return r;
}

static int vm_show(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm show", .synopsis = "[OPTIONS] VM", .options = show_options,
                                         .complete = vmcommand_complete,
                                         .flags = PROGRAM_PERMUTE, .summary = "Shows a VM, its disks and network cards." };
        static const char *const first[] = { "name", "uuid", "state", "domid", "type", "virt-type", "memory", "vcpus", "boot",
                                             "os", "description" };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_strv_ char **pairs = NULL;
        _cleanup_free_ char *path = NULL;
        int i, status, r;

        i = vmcommand_open(&c, &program, 1, 1, argc, argv, &status);
        if (i < 0)
                return status;
        r = vmcommand_choose(&c, argv[i], &path);
        if (arg_json)
                strbuf_add(&b, "{\"properties\":");
        if (r >= 0)
                r = read_all(&c, path, XENMGR_VM, &pairs, &b);
        for (size_t k = 0; r >= 0 && !arg_json && k < (arg_all ? n_vm_keys : ELEMENTSOF(first)); k++) {
                const char *name = arg_all ? vm_keys[k].property : first[k];

                if (arg_all)
                        strbuf_addf(&b, "%-32s %-24s %s\n", name, pair_get(pairs, name), vm_keys[k].text);
                else
                        strbuf_addf(&b, "%-12s %s\n", name, pair_get(pairs, name));
        }
        if (r >= 0)
                r = show_devices(&c, path, true, &b);
        if (r >= 0)
                r = show_devices(&c, path, false, &b);
        if (arg_json)
                strbuf_add(&b, "}\n");
        if (r < 0 || b.oom)
                return 1;
        fputs(b.data, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- set, rename ---- */

/* The keys nearest to a wrong one, best first, and those that contain it. */
static void suggest_keys(const VmCommand *c, const char *word)
{
        const VmKey *best[NEAREST_MAX] = { NULL };
        unsigned distance[NEAREST_MAX];
        Nearest n;
        size_t count = 0;

        nearest_init(&n, word);
        for (const VmKey *k = vm_keys; k->property; k++) {
                unsigned d = edit_distance(word, k->property);
                size_t at;

                if (d > n.limit && strlen(word) >= 3 && strstr(k->property, word))
                        d = n.limit;
                if (d > n.limit || (k->flags & VMKEY_READ_ONLY))
                        continue;
                for (at = 0; at < count && distance[at] <= d; at++)
                        ;
                if (at == NEAREST_MAX)
                        continue;
                count = MIN2(count + 1, (size_t) NEAREST_MAX);
                memmove(best + at + 1, best + at, (count - at - 1) * sizeof *best);
                memmove(distance + at + 1, distance + at, (count - at - 1) * sizeof *distance);
                best[at] = k;
                distance[at] = d;
        }
        fprintf(stderr, "%s: a VM has no property '%s'%s\n", c->name, word,
                count ? "; near it are:" : "; 'oxt vm show --all VM' shows those it has");
        for (size_t i = 0; i < count; i++)
                fprintf(stderr, "  %-24s %s\n", best[i]->property, best[i]->text);
}

int vmcommand_check_name(const VmCommand *c, const char *name)
{
        if (*name && !strpbrk(name, "\n\r"))
                return 0;
        fprintf(stderr, "%s: a name is one line that is not empty\n", c->name);
        return -EINVAL;
}

int vmcommand_parse_setting(const VmCommand *c, char *word, const VmKey **ret_key, const char **ret_value)
{
        char *value = strchr(word, '=');
        const char *why = NULL;
        const VmKey *key;

        if (!value) {
                fprintf(stderr, "%s: '%s' is not of the form PROPERTY=VALUE\n", c->name, word);
                return -EINVAL;
        }
        *value++ = '\0';
        key = vm_key_find(word);
        if (!key) {
                suggest_keys(c, word);
                return -ENOENT;
        }
        if (key->flags & VMKEY_READ_ONLY) {
                fprintf(stderr, "%s: %s can only be read (%s)\n", c->name, key->property, key->text);
                return -EPERM;
        }
        if (!vm_key_check(key, value, &why)) {
                fprintf(stderr, "%s: %s (%s) takes %s%s, not '%s'\n", c->name, key->property, key->text,
                        key->choices ? "one of: " : "", why, value);
                return -EINVAL;
        }
        if (streq(key->property, "name") && vmcommand_check_name(c, value) < 0)
                return -EINVAL;
        *ret_key = key;
        *ret_value = value;
        return 0;
}

int vmcommand_apply_setting(VmCommand *c, const char *path, const VmKey *key, const char *value)
{
        const char *type = vm_key_signature(key), *why = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, XENMGR, path, BUS_PROPERTIES, "Set");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", key->flags & VMKEY_UNRESTRICTED ? XENMGR_VM ".unrestricted" : XENMGR_VM,
                                          key->property);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = dbus_text_append(m, type, value, &why);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, VMCOMMAND_USEC, &error, NULL);
        if (why)
                fprintf(stderr, "%s: %s takes %s, not '%s'\n", c->name, key->property, why, value);
        else if (r < 0)
                vmcommand_fail(c, key->property, r, &error);
        sd_bus_message_unref(m);
        sd_bus_error_free(&error);
        return r;
}

static int vm_set(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm set", .synopsis = "[OPTIONS] VM PROPERTY=VALUE...",
                                         .complete = complete_set,
                                         .summary = "Changes properties of a VM; all are looked at before the first is set." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_free_ const VmKey **keys = calloc((size_t) argc, sizeof *keys);
        _cleanup_free_ const char **values = calloc((size_t) argc, sizeof *values);
        _cleanup_free_ char *path = NULL, *domid = NULL;
        int i, status;

        i = vmcommand_open(&c, &program, 2, -1, argc, argv, &status);
        if (i < 0)
                return status;
        if (!keys || !values)
                return log_oom() < 0;
        for (int k = i + 1; k < argc; k++)
                if (vmcommand_parse_setting(&c, argv[k], &keys[k], &values[k]) < 0)
                        return 2;
        if (vmcommand_choose(&c, argv[i], &path) < 0 || vmcommand_get(&c, path, XENMGR_VM, "domid", &domid) < 0)
                return 1;
        for (int k = i + 1; k < argc; k++) {
                if (vmcommand_apply_setting(&c, path, keys[k], values[k]) < 0)
                        return 1;
                if (keys[k]->effect == VMKEY_EFFECT_CONFIG && domid[0] != '-')
                        printf("%s: from the next start on\n", keys[k]->property);
        }
        return 0;
}

static int vm_rename(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm rename", .synopsis = "[OPTIONS] VM NAME", .complete = vmcommand_complete,
                                         .summary = "Gives a VM another name." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_vmtable_ VmTable l = { .program = program.name };
        _cleanup_free_ char *path = NULL;
        unsigned n;
        int i, status;

        i = vmcommand_open(&c, &program, 2, 2, argc, argv, &status);
        if (i < 0)
                return status;
        if (vmcommand_check_name(&c, argv[i + 1]) < 0)
                return 2;
        if (vmcommand_choose(&c, argv[i], &path) < 0 || vmtable_load(&l, c.bus) < 0)
                return 1;
        if (vmtable_find_name(&l, argv[i + 1], &n)) {
                fprintf(stderr, "%s: there is a VM named '%s' already; choose another name\n", c.name, argv[i + 1]);
                return 1;
        }
        return vmcommand_set_text(&c, path, XENMGR_VM, "name", argv[i + 1]) < 0;
}

static const Option delete_options[] = {
        { "force", 'f', NULL, OPTION_FLAG, &arg_force, "Stop the VM first if it runs", NULL },
        { "keep-disks", 0, NULL, OPTION_FLAG, &arg_keep_disks, "Leave the images, also those that 'oxt vm create' has copied", NULL },
        { 0 }
};

/* What went with a VM, what stays, and what could not go: -EIO then. */
static int say_files(const VmCommand *c, sd_bus_message *reply)
{
        _cleanup_strv_ char **removed = NULL, **used = NULL, **failed = NULL;
        int r = sd_bus_message_read_strv(reply, &removed);

        if (r >= 0)
                r = sd_bus_message_read_strv(reply, &used);
        if (r >= 0)
                r = sd_bus_message_read_strv(reply, &failed);
        for (char **f = removed; f && *f; f++)
                printf("removed %s\n", *f);
        for (char **f = used; f && *f; f++)
                printf("kept %s: it is shared, or another VM uses it\n", *f);
        for (char **f = failed; f && *f; f++) {
                fprintf(stderr, "%s: cannot remove %s\n", c->name, *f);
                r = -EIO;
        }
        return r;
}

static int vm_delete(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm delete", .synopsis = "[OPTIONS] VM", .options = delete_options,
                                         .complete = vmcommand_complete,
                                         .flags = PROGRAM_PERMUTE, .summary = "Deletes a VM with its disks." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_free_ char *path = NULL, *domid = NULL;
        sd_bus_message *reply = NULL;
        int i, status;

        i = vmcommand_open(&c, &program, 1, 1, argc, argv, &status);
        if (i < 0)
                return status;
        if (vmcommand_choose(&c, argv[i], &path) < 0 || vmcommand_get(&c, path, XENMGR_VM, "domid", &domid) < 0)
                return 1;
        if (domid[0] != '-' && !arg_force) {
                fprintf(stderr, "%s: %s runs; shut it down first, or stop and delete it with --force\n", c.name, argv[i]);
                return 1;
        }
        if (domid[0] != '-' && vmcommand_call(&c, argv[i], path, XENMGR_VM, "destroy", NULL, NULL) < 0)
                return 1;
        status = vmcommand_call(&c, argv[i], path, XENMGR_OWN, "Delete", &reply, "b", !arg_keep_disks) < 0 || say_files(&c, reply) < 0;
        sd_bus_message_unref(reply);
        return status;
}

static const Verb verbs[] = {
        { "create", "[OPTIONS] NAME", 0, -1, vm_create, "Make a VM, with a disk from an image or an empty one" },
        { "list", "[OPTIONS]", 0, -1, vm_list, "List all VMs" },
        { "show", "[OPTIONS] VM", 0, -1, vm_show, "Show a VM" },
        { "set", "VM PROPERTY=VALUE...", 0, -1, vm_set, "Change properties" },
        { "start", "VM...", 0, -1, vm_act, "Start" },
        { "shutdown", "VM...", 0, -1, vm_act, "Ask the guest to shut down" },
        { "reboot", "VM...", 0, -1, vm_act, "Ask the guest to reboot" },
        { "destroy", "VM...", 0, -1, vm_act, "Stop at once" },
        { "pause", "VM...", 0, -1, vm_act, "Stop the virtual CPUs" },
        { "unpause", "VM...", 0, -1, vm_act, "Let the virtual CPUs go on" },
        { "cancel", "VM...", 0, -1, vm_act, "Call off what is being done with VMs" },
        { "rename", "VM NAME", 0, -1, vm_rename, "Give another name" },
        { "delete", "[OPTIONS] VM", 0, -1, vm_delete, "Delete with its disks" },
        { "usb", "list|attach|detach ...", 0, -1, vm_usb, "USB devices of this host for a running VM" },
        { 0 }
};

int oxt_vm(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm", .synopsis = "[OPTIONS] COMMAND ...", .verbs = verbs,
                                         .summary = "Makes, shows, changes and runs VMs. A VM is named by name or UUID.",
                                         .footer = "To look at a VM: xec-vm -n NAME console|screen|log|timeline; at what all use: oxt top" };

        return stack_group(&program, argc, argv);
}

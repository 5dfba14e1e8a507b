/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Xenstore: what the monitor writes there for OpenXT's guests and tools (libxl writes the rest), and what
 * the guest and its device model tell by writing there.
 */
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "xen-ids.h"
#include "xen-vm.h"

/* A guest can write as often as it likes; nobody has to hear all of it. */
#define CHANGES_MAX 50
#define TAKEN_MAX 100000 /* in one turn */
#define SHOWN_MAX 512

char *vm_store_read(Vm *vm, const char *path)
{
        unsigned length;
        char *value = xs_read(vm->store, XBT_NULL, path, &length);

        if (value && length > XENSTORE_VALUE_MAX) {
                free(value);
                return NULL;
        }
        return value;
}

static int write_text(struct xs_handle *store, const char *path, const char *value)
{
        return xs_write(store, XBT_NULL, path, value, (unsigned) strlen(value)) ? 0 : -EIO;
}

int vm_store_write(Vm *vm, const char *node, const char *value)
{
        char path[256];

        snprintf(path, sizeof path, "/local/domain/%u/%s", vm->domid, node);
        return write_text(vm->store, path, value);
}

/* What the guest tells */

static void node_changed(Vm *vm, const char *token, const char *untrusted_value)
{
        for (const char *p = untrusted_value; *p; p++)
                if ((unsigned char) *p < ' ' || (unsigned char) *p >= 127)
                        return;
        if (vm->spec.events->node)
                vm->spec.events->node(vm->spec.userdata, token, untrusted_value);
}

static void store_changed(Vm *vm, const StoreWatch *w)
{
        _cleanup_free_ char *untrusted_value = vm_store_read(vm, w->path);
        int64_t v;

        if (!untrusted_value)
                return;
        switch (w->kind) {
        case STORE_NODE:
                if (untrusted_value[0]) /* a watch fires when it is set */
                        node_changed(vm, w->node, untrusted_value);
                return;
        case STORE_ACPI:
                if (streq(untrusted_value, "s3") || streq(untrusted_value, "s0"))
                        vm->spec.events->power_state(vm->spec.userdata, untrusted_value[1] - '0');
                return;
        case STORE_CLOCK:
                if (parse_i64(untrusted_value, &v) >= 0 && vm->spec.events->clock_changed)
                        vm->spec.events->clock_changed(vm->spec.userdata, v);
                return;
        case STORE_POWER:
                if (parse_i64(untrusted_value, &v) >= 0 && v >= 0 && v <= 5)
                        vm->spec.events->power_state(vm->spec.userdata, (int) v);
                return;
        }
}

/*
 * libxenstore keeps what it is told until somebody takes it, without a bound. So all of it is taken at each turn,
 * and a node is read once, however often it was written meanwhile; what lies below a node is none of it.
 */
static int on_store(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        Vm *vm = userdata;
        AS_ROOT;
        char **untrusted_watch;
        uint64_t number;

        for (unsigned n = 0; n < TAKEN_MAX && (untrusted_watch = xs_check_watch(vm->store)); n++) {
                if (parse_u64(untrusted_watch[XS_WATCH_TOKEN], &number) >= 0 && number < vm->n_watches &&
                    streq(untrusted_watch[XS_WATCH_PATH], vm->watches[number].path))
                        vm->watches[number].fired = true;
                free(untrusted_watch);
        }
        for (size_t i = 0; i < vm->n_watches; i++)
                if (vm->watches[i].fired) {
                        vm->watches[i].fired = false;
                        store_changed(vm, &vm->watches[i]);
                }
        return 0;
}

int vm_store_open(Vm *vm)
{
        int r;

        vm->store = xs_open(0);
        if (!vm->store)
                return -ENODEV;
        r = sd_event_add_io(vm->spec.event, &vm->store_source, xs_fileno(vm->store), EPOLLIN, on_store, vm);
        return r < 0 ? r : sd_event_source_set_ratelimit(vm->store_source, USEC_PER_SEC, CHANGES_MAX);
}

static void watch(Vm *vm, StoreKind kind, const char *base, const char *node)
{
        _cleanup_free_ char *path = strformat("%s/%s", base, node);
        char token[24];

        if (!path)
                return;
        snprintf(token, sizeof token, "%zu", vm->n_watches);
        vm->watches[vm->n_watches++] = (StoreWatch) { .kind = kind, .node = node, .path = TAKE_PTR(path) };
        if (!xs_watch(vm->store, vm->watches[vm->n_watches - 1].path, token))
                log_warning("Xenstore's node %s cannot be watched", vm->watches[vm->n_watches - 1].path);
}

static void watch_paths(Vm *vm, const VmPaths *nodes, const char *base)
{
        for (size_t i = 0; i < nodes->n; i++)
                if (!streq(nodes->items[i], "power-state")) /* is always watched */
                        watch(vm, STORE_NODE, base, nodes->items[i]);
}

void vm_store_watch(Vm *vm)
{
        const VmConfig *c = vm->spec.config;
        char domain[64], identity[64];

        vm->watches = calloc(3 + c->extra_local_watch.n + c->extra_vm_watch.n, sizeof *vm->watches);
        if (!vm->watches)
                return;
        snprintf(domain, sizeof domain, "/local/domain/%u", vm->domid);
        snprintf(identity, sizeof identity, "/vm/%s", vm->spec.uuid);
        watch(vm, STORE_CLOCK, identity, "rtc/timeoffset");
        watch(vm, STORE_POWER, domain, "power-state");
        watch(vm, STORE_ACPI, domain, "acpi-state");
        watch_paths(vm, &c->extra_local_watch, domain);
        watch_paths(vm, &c->extra_vm_watch, identity);
}

void vm_store_close(Vm *vm)
{
        sd_event_source_disable_unref(vm->store_source);
        if (vm->store)
                xs_close(vm->store);
        for (size_t i = 0; i < vm->n_watches; i++)
                free(vm->watches[i].path);
        free(vm->watches);
}

/* What we tell */

static void make_node(Vm *vm, const char *node, const char *value, bool guest_writes)
{
        char path[256];
        struct xs_permissions ours[] = { { .id = 0, .perms = XS_PERM_NONE }, { .id = vm->domid, .perms = XS_PERM_READ } },
                              its[] = { { .id = vm->domid, .perms = XS_PERM_NONE } };

        snprintf(path, sizeof path, "/local/domain/%u/%s", vm->domid, node);
        if (write_text(vm->store, path, value) < 0 ||
            !xs_set_permissions(vm->store, XBT_NULL, path, guest_writes ? its : ours, guest_writes ? 1 : 2))
                log_warning("Xenstore's node %s cannot be made", path);
}

static void show_to_all(struct xs_handle *store, const char *path)
{
        struct xs_permissions all = { .id = 0, .perms = XS_PERM_READ };

        if (!xs_set_permissions(store, XBT_NULL, path, &all, 1))
                log_warning("Xenstore's node %s cannot be shown to guests", path);
}

/* Of OpenXT's own device model: only numbers other than 0 are there. */
static void tell_device_model(Vm *vm)
{
        const VmConfig *c = vm->spec.config;
        const struct {
                const char *name;
                int64_t value;
        } rows[] = { { "xen_extended_power_mgmt", c->power_management },
                     { "oem_features", c->oem_features },
                     { "inject-sci", c->inject_sci } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char path[128], value[24];

                if (rows[i].value == 0)
                        continue;
                snprintf(path, sizeof path, "/local/domain/0/device-model/%u/%s", vm->domid, rows[i].name);
                snprintf(value, sizeof value, "%lld", (long long) rows[i].value);
                (void) write_text(vm->store, path, value);
        }
}

/* The loader of HVM guests takes texts of the virtual BIOS from below bios-strings, under names of its own. */
static void tell_bios(Vm *vm)
{
        static const struct {
                const char *ours, *loaders;
        } names[] = { { "xenvendor-manufacturer", "system-manufacturer" }, { "xenvendor-product", "system-product-name" } };
        const VmPairs *texts = &vm->spec.config->bios_string;

        for (size_t i = 0; i < texts->n; i++) {
                const char *name = texts->items[i].name;
                _cleanup_free_ char *node = NULL;

                for (size_t k = 0; k < ELEMENTSOF(names); k++)
                        if (streq(name, names[k].ours))
                                name = names[k].loaders;
                node = strformat("bios-strings/%s", name);
                if (node)
                        make_node(vm, node, strempty(texts->items[i].value), false);
        }
}

/* Only plain names, none with a meaning for others: `target` is what makes a stub domain. */
static bool may_make(const char *node)
{
        return node[strspn(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] == '\0' && !streq(node, "target");
}

void vm_store_make_nodes(Vm *vm)
{
        const VmPaths *watched = &vm->spec.config->extra_local_watch;
        char path[128];

        /* Who may see which uuid a domain has: everybody, rpc-proxy's peers among them. */
        snprintf(path, sizeof path, "/local/domain/%u/vm", vm->domid);
        show_to_all(vm->store, path);
        snprintf(path, sizeof path, "/vm/%s/uuid", vm->spec.uuid);
        show_to_all(vm->store, path);
        make_node(vm, "acpi-state", "", true);
        make_node(vm, "power-state", "", true);
        make_node(vm, "bsgdev", "", true);
        make_node(vm, "bsgdev-req", "", true);
        for (size_t i = 0; i < watched->n; i++) {
                _cleanup_free_ char *there = NULL;

                snprintf(path, sizeof path, "/local/domain/%u/%s", vm->domid, watched->items[i]);
                there = xs_read(vm->store, XBT_NULL, path, NULL);
                if (!there && may_make(watched->items[i])) /* e.g. a boot sentinel: for the guest to write */
                        make_node(vm, watched->items[i], "", true);
        }
        if (vm->hvm) {
                tell_device_model(vm);
                tell_bios(vm);
        }
}

/* What xenmgr says of a VM: its words for OpenXT's switcher, and the type of a service VM. */
static bool may_show(const char *name)
{
        return words_contain("name slot image type hidden hide-switcher seamlessid stubdomid xorg", name) ||
               (strlen(name) <= 16 && endswith(name, "vm") && strspn(name, "abcdefghijklmnopqrstuvwxyz") == strlen(name));
}

int xen_show(Vm *vm, const char *name, const char *value)
{
        char path[128];

        if (!may_show(name) || strlen(value) > SHOWN_MAX)
                return -EINVAL;
        for (const char *p = value; *p; p++)
                if ((unsigned char) *p < ' ')
                        return -EINVAL;
        snprintf(path, sizeof path, "/xenmgr/vms/%s/%s", vm->spec.uuid, name);
        return write_text(vm->store, path, value);
}

void xen_publish(const char *uuid, const char *name, int64_t domid, const char *state)
{
        static struct xs_handle *store; /* a monitor has one VM after the other, and no VM between them */
        _cleanup_free_ char *shown = NULL;
        char path[128], number[24];

        if (!store)
                store = xs_open(0);
        if (!store)
                return;
        if (!state) {
                snprintf(path, sizeof path, "/state/%s", uuid);
                (void) xs_rm(store, XBT_NULL, path);
                return;
        }
        snprintf(path, sizeof path, "/state/%s/state", uuid);
        if (write_text(store, path, state) < 0)
                log_warning("Xenstore's node %s cannot be written", path);
        snprintf(path, sizeof path, "/xenmgr/vms/%s", uuid);
        if (domid < 0) {
                (void) xs_rm(store, XBT_NULL, path); /* /vm/<uuid> went with the domain */
                return;
        }
        /* For the switcher in a guest. What is made below has the same permissions. */
        if (xs_mkdir(store, XBT_NULL, path)) {
                show_to_all(store, "/xenmgr/vms");
                show_to_all(store, path);
        }
        snprintf(number, sizeof number, "%lld", (long long) domid);
        snprintf(path, sizeof path, "/xenmgr/vms/%s/domid", uuid);
        (void) write_text(store, path, number);
        snprintf(path, sizeof path, "/xenmgr/vms/%s/name", uuid);
        shown = xs_read(store, XBT_NULL, path, NULL);
        if (!shown) /* xenmgr may have said the name that people see */
                (void) write_text(store, path, name);
        snprintf(path, sizeof path, "/vm/%s/state", uuid);
        (void) write_text(store, path, state);
}

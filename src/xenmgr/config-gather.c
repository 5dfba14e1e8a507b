/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the configuration of a VM needs from outside its tree. */
#include "config-writer.h"

#include <unistd.h>

#include "extract.h"
#include "fs.h"
#include "host.h"
#include "networks.h"
#include "ovf.h"
#include "parse.h"
#include "pci.h"
#include "runtime.h"
#include "strbuf.h"
#include "xen-nodes.h"

json_object *dbnode_to_json(const DbNode *n)
{
        json_object *o;

        if (!dbnode_first(n))
                return json_object_new_string(dbnode_text(n, NULL));
        o = json_object_new_object();
        for (const DbNode *c = dbnode_first(n); o && c; c = dbnode_next(c)) {
                json_object *child = dbnode_to_json(c);

                if (!child || json_object_object_add(o, dbnode_name(c), child) < 0) {
                        json_object_put(child);
                        json_object_put(o);
                        return NULL;
                }
        }
        return o;
}

static size_t gather_nics(Vm *vm, ConfigNic *ret)
{
        bool driver_domains = host_is_xen(); /* elsewhere the host serves nics that name nobody */
        unsigned ids[NICS_MAX];
        size_t n = vm_record_ids(vm, "nic", ids, NICS_MAX);

        for (size_t i = 0; i < n; i++) {
                bool named;
                Vm *backend = vm_nic_backend(vm, ids[i], &named);
                const Network *known;
                const char *network;
                char path[64];

                snprintf(path, sizeof path, "config/nic/%u/network", ids[i]);
                network = config_network(vm_text(vm, path, ""));
                known = networks_find(vm->manager, network);
                ret[i] = (ConfigNic) { .id = ids[i],
                                       .backend_domid = backend && backend->domid > 0 && (named || driver_domains)
                                                                ? backend->domid
                                                                : 0,
                                       .bridge = known ? known->bridge : NULL,
                                       .wireless = networks_wireless(vm->manager, network) };
        }
        return n;
}

static int gather_key_dirs(Vm *vm, char ***ret)
{
        const Manager *m = vm->manager;
        const char *user = vm_text(vm, "crypto-user", "");
        _cleanup_strv_ char **platform = NULL;
        int r;

        if (*user) {
                _cleanup_free_ char *dir = paths_format(manager_paths(m), PATH_CONFIG, "sec/s-%s", user);

                if (dir && access(dir, F_OK) == 0) {
                        r = strv_extend(ret, dir);
                        if (r < 0)
                                return r;
                }
        }
        r = strv_split(db_text(m, "/xenmgr/platform-crypto-key-dirs", "/config/platform-crypto-keys"), ',', &platform);
        for (char **d = platform; r >= 0 && d && *d; d++) {
                _cleanup_free_ char *mapped = paths_map(manager_paths(m), strstrip(*d));

                if (mapped && *mapped && access(mapped, F_OK) == 0)
                        r = strv_extend(ret, mapped);
        }
        return r;
}

static int gather_missing(Vm *vm, char ***ret)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_free_ char *mapped = NULL;
                char path[64];

                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                mapped = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                if (mapped && access(mapped, F_OK) < 0)
                        r = strv_extend(ret, mapped);
        }
        return r;
}

static int gather_pci(Vm *vm, char ***ret)
{
        int r = pci_devices_of_vm(vm, ret);

        for (char **d = *ret; r >= 0 && d && *d; d++) {
                int64_t slot = pci_guest_slot(vm, *d);
                char *with_slot;

                if (slot < 0)
                        continue;
                with_slot = strformat("%s,guest_slot=%lld", *d, (long long) slot);
                if (!with_slot)
                        return -ENOMEM;
                free(*d);
                *d = with_slot;
        }
        return r;
}

int config_for_start(Vm *vm, char **ret, char **ret_why)
{
        const Paths *paths = manager_paths(vm->manager);
        _cleanup_strv_ char **key_dirs = NULL, **missing = NULL, **pci = NULL, **watched = NULL;
        _cleanup_json_ json_object *tree = vm_node(vm) ? dbnode_to_json(vm_node(vm)) : NULL;
        _cleanup_free_ char *xengfx = paths_map(paths, "/config/xengfx");
        char amt_mac[18];
        _cleanup_free_ char *kernel = extract_target(vm, "kernel"), *initrd = extract_target(vm, "initrd"), *ovf = ovf_cd_path(vm);
        ConfigNic nics[NICS_MAX];
        char stubdom[37];
        ConfigInput in = { .uuid = vm->uuid, .vm = tree, .paths = paths, .nics = nics,
                           .cd_exclusive = db_bool(vm->manager, "/cd-exclusive", true),
                           .memory_mib = vm->memory_reduced ? vm_int(vm, "config/memory-min", 0) : 0,
                           .xengfx = xengfx && access(xengfx, F_OK) == 0 };
        int r;

        if (!tree)
                return -ENOMEM;
        in.n_nics = gather_nics(vm, nics);
        r = gather_key_dirs(vm, &key_dirs);
        if (r >= 0)
                r = ovf_cd_check(vm, ret_why);
        if (r >= 0)
                r = gather_missing(vm, &missing);
        if (r >= 0)
                r = gather_pci(vm, &pci);
        if (r >= 0)
                r = xen_nodes_watched(vm, &watched);
        if (r < 0)
                return r;
        in.ovf_iso = ovf;
        in.amt_mac = host_amt_mac(vm, amt_mac);
        in.kernel = kernel;
        in.initrd = initrd;
        in.watched = watched;
        in.key_dirs = key_dirs;
        in.missing = missing;
        in.pci = pci;
        in.cd_drives = host_cd_drives(vm->manager);
        in.stubdom_uuid = vm_stubdom(vm) ? uuid_random(stubdom) : NULL;
        return config_write(&in, ret, ret_why);
}

char *config_nic_line(Vm *vm, unsigned id)
{
        _cleanup_free_ char *text = NULL, *why = NULL;
        _cleanup_strv_ char **lines = NULL;
        char start[40];

        snprintf(start, sizeof start, "vif=id=%u,", id);
        if (config_for_start(vm, &text, &why) < 0 || strv_split(text, '\n', &lines) < 0)
                return NULL;
        for (char **l = lines; l && *l; l++)
                if (startswith(*l, start))
                        return strdup(*l + strlen("vif="));
        return NULL;
}

int config_write_for_start(Vm *vm, char **ret_why)
{
        const Paths *paths = manager_paths(vm->manager);
        _cleanup_free_ char *text = NULL, *path = NULL;
        int r;

        r = config_for_start(vm, &text, ret_why);
        if (r >= 0)
                r = runtime_make_vm_dir(paths, vm->uuid);
        if (r >= 0)
                r = ovf_cd_write(vm, ret_why);
        if (r < 0)
                return r;
        path = paths_format(paths, PATH_VM, "%s/xenvm.conf", vm->uuid);
        return path ? write_file_atomic(path, text, strlen(text), 0600) : -ENOMEM;
}

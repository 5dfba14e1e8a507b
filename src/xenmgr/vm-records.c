/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The objects /vm/<U>/disk/<n> and /vm/<U>/nic/<n>. Missing records are refused before these are called. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "config-writer.h"
#include "delete.h"
#include "fs.h"
#include "log.h"
#include "monitor-client.h"
#include "networks.h"
#include "strbuf.h"
#include "values.h"
#include "vhd.h"
#include "vm.h"

typedef struct RecordKey {
        VmKey key; /* property, leaf as path, type, fallback, choices */
        int (*set)(Call *c, const Record *o, const VmKey *k, const char *value); /* NULL: the general one */
        const char *(*get)(const Record *o, const VmKey *k, char *buf, size_t size);
} RecordKey;

static char *record_path(const Record *o, const char *leaf, char buf[static 128])
{
        snprintf(buf, 128, "config/%s/%u%s%s", o->kind, o->id, *leaf ? "/" : "", leaf);
        return buf;
}

static const char *record_text(const Record *o, const char *leaf, const char *fallback)
{
        char path[128];

        return vm_text(o->vm, record_path(o, leaf, path), fallback);
}

/* Writes leaf, value pairs of one record; a NULL value removes the leaf. */
static int record_write(Call *c, const Record *o, const char *const *pairs)
{
        char path[128], full[VM_PATH_MAX];
        DbTx *tx = vm_tx_new(o->vm, record_path(o, "", path));

        for (; pairs[0]; pairs += 2) {
                vm_db_path(o->vm, full, "%s", record_path(o, pairs[0], path));
                (void) (pairs[1] ? db_tx_write(tx, full, pairs[1]) : db_tx_rm(tx, full));
        }
        return vm_commit_record(o->vm, tx, o->kind, c, NULL);
}

static int write_leaf(Call *c, const Record *o, const char *leaf, const char *value)
{
        const char *const pairs[] = { leaf, value, NULL, NULL, NULL };

        return record_write(c, o, pairs);
}

static int record_get(Call *c, const BusProperty *bp, sd_bus_message *reply)
{
        const RecordKey *k = bp->data;
        const Record *o = c->object;
        char buf[256];

        if (streq(bp->signature, "x")) {
                int64_t n = strtoll(k->get(o, &k->key, buf, sizeof buf), NULL, 10);

                return sd_bus_message_append_basic(reply, 'x', &n);
        }
        return value_append(c, &k->key,
                            k->get ? k->get(o, &k->key, buf, sizeof buf) : record_text(o, k->key.path, k->key.fallback),
                            reply);
}

static int record_set(Call *c, const BusProperty *bp, sd_bus_message *message, _unused_ const char *type)
{
        const RecordKey *k = bp->data;
        const Record *o = c->object;
        _cleanup_free_ char *value = NULL;
        const char *why;
        char path[128];
        int r;

        r = value_read(message, vm_key_signature(&k->key), &value);
        if (r < 0)
                return r;
        if (strlen(value) > 4096 || strpbrk(value, "\n\r"))
                return call_fail(c, DBUS_ERROR_FAILED, "%s takes one line of at most 4096 bytes", bp->name);
        if (c->caller.guest && !vm_path_guest_may_write(record_path(o, k->key.path, path), value))
                return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "%s cannot be set to this by a guest", bp->name);
        if (k->set)
                return k->set(c, o, &k->key, value);
        if (!vm_key_check(&k->key, value, &why))
                return call_fail(c, DBUS_ERROR_FAILED, "unexpected enumeration value '%.64s' of %s, which takes: %s",
                                 value, bp->name, why);
        if (streq(record_text(o, k->key.path, strempty(k->key.fallback)), value))
                return 1;
        return write_leaf(c, o, k->key.path, value);
}

/* Disks */

/* What an optional value is called on D-Bus when there is none. */
static int set_or_remove(Call *c, const Record *o, const VmKey *k, const char *value)
{
        const char *why;

        if (streq(value, k->fallback) || !*value)
                return write_leaf(c, o, k->path, NULL);
        if (!vm_key_check(k, value, &why))
                return call_fail(c, DBUS_ERROR_FAILED, "unexpected enumeration value '%.64s' of %s, which takes: %s",
                                 value, k->property, why);
        return write_leaf(c, o, k->path, value);
}

static int set_never(Call *c, _unused_ const Record *o, const VmKey *k, _unused_ const char *value)
{
        return call_fail(c, DBUS_ERROR_FAILED, "%s of a disk cannot be set", k->property);
}

static const char *get_empty(_unused_ const Record *o, _unused_ const VmKey *k, _unused_ char *buf,
                             _unused_ size_t size)
{
        return "";
}

static char *disk_file(const Record *o)
{
        if (!streq(record_text(o, "type", ""), "vhd"))
                return NULL;
        return paths_map(manager_paths(o->vm->manager), record_text(o, "path", ""));
}

static const char *get_vhd(const Record *o, const VmKey *k, char *buf, size_t size)
{
        _cleanup_free_ char *file = disk_file(o);
        VhdInfo info = { 0 };

        if (file)
                (void) vhd_info(file, &info);
        if (streq(k->property, "encryption-key-set"))
                return info.has_key ? "true" : "false";
        snprintf(buf, size, "%lld",
                 (long long) (streq(k->property, "virtual-size-mb") ? info.virtual_bytes / (int64_t) MIB
                                                                    : info.used_bytes));
        return buf;
}

#define DISK_KEY(property, leaf, type, flags, fallback, choices, ...)                              \
        { { property, leaf, type, flags, fallback, choices, VMKEY_EFFECT_CONFIG, "disk", "" }, __VA_ARGS__ }

static const RecordKey disk_keys[] = {
        DISK_KEY("backend-name", "backend-name", VMKEY_TEXT, 0, "", NULL, set_never, get_empty),
        DISK_KEY("backend-uuid", "backend-uuid", VMKEY_TEXT, 0, "", NULL, set_never, get_empty),
        DISK_KEY("devtype", "devtype", VMKEY_ENUM, 0, "disk", "disk cdrom", NULL, NULL),
        DISK_KEY("enabled", "enable", VMKEY_BOOL, 0, "true", NULL, NULL, NULL),
        DISK_KEY("encryption-key-set", "", VMKEY_BOOL, VMKEY_READ_ONLY, "false", NULL, NULL, get_vhd),
        DISK_KEY("managed-disktype", "managed-disktype", VMKEY_ENUM, 0, "", "system application user", set_or_remove,
                 NULL),
        DISK_KEY("mode", "mode", VMKEY_ENUM, 0, "r", "r w", NULL, NULL),
        DISK_KEY("phys-path", "path", VMKEY_TEXT, 0, "", NULL, NULL, NULL),
        DISK_KEY("phys-type", "type", VMKEY_ENUM, 0, "file", "file phy qcow vdi aio vhd raw qcow2", NULL, NULL),
        DISK_KEY("shared", "shared", VMKEY_BOOL, 0, "false", NULL, NULL, NULL),
        DISK_KEY("snapshot", "snapshot", VMKEY_ENUM, 0, "none",
                 "none temporary temporary-encrypted coalesce scripted scripted-author scripted-no-snapshot",
                 set_or_remove, NULL),
        DISK_KEY("utilization-bytes", "", VMKEY_TEXT, VMKEY_READ_ONLY, "0", NULL, NULL, get_vhd),
        DISK_KEY("virt-path", "device", VMKEY_TEXT, 0, "", NULL, NULL, NULL),
        DISK_KEY("virtual-size-mb", "", VMKEY_INT, VMKEY_READ_ONLY, "0", NULL, NULL, get_vhd),
};

static int method_attach(Call *c)
{
        const char *type = c->method->data, *file;
        char path[128];
        int r;

        r = sd_bus_message_read(c->message, "s", &file);
        if (r < 0)
                return r;
        if (strlen(file) > 4096 || strpbrk(file, "\n\r"))
                return call_fail(c, DBUS_ERROR_FAILED, "A path is one line of at most 4096 bytes");
        if (c->caller.guest &&
            (streq(type, "phy") || !vm_path_guest_may_write(record_path(c->object, "path", path), file)))
                return call_fail(c, DBUS_ERROR_ACCESS_DENIED, "A guest can attach only images in the storage folder");
        const char *const pairs[] = { "path", file, "type", type, "mode", "w", "devtype", "disk", NULL };

        return record_write(c, c->object, pairs);
}

static int method_delete_disk(Call *c)
{
        const Record *o = c->object;

        return delete_disk(o->vm, o->id, c);
}

/* What needs block devices of the host is the helper's; without one it says what it misses. */
static int method_mount(Call *c)
{
        const Record *o = c->object;

        if (refuse_guest(c, "A mount point of the host"))
                return 0;
        if (!streq(record_text(o, "type", ""), "vhd"))
                return call_fail_code(c, ERROR_DISK_TYPE, NULL);
        return call_fail_code(c, ERROR_IO,
                              streq(c->method->name, "mount")
                                      ? "this host has no tap driver that could show a VHD as a device"
                                      : "the disk is not mounted");
}

typedef struct KeyWork {
        Call *call;
        char *file, *dir, *path; /* of the image; of the key */
        size_t size;
        int result; /* -EEXIST: see has_key */
        bool has_key;
} KeyWork;

/* In a thread: what it writes is to last, and disks are slow. Two at once for one image would both find it without a key. */
static void key_work(void *data)
{
        static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
        KeyWork *w = data;
        uint8_t key[64];
        int fd = -EBADF, r;

        (void) pthread_mutex_lock(&one_at_a_time);
        r = mkdir_parents(w->dir, 0700);
        if (r >= 0 && access(w->path, F_OK) == 0)
                r = -EEXIST;
        else if (r >= 0) {
                r = vhd_check_unkeyed(w->file);
                w->has_key = r == -EEXIST;
        }
        if (r >= 0 && getrandom(key, w->size, 0) != (ssize_t) w->size)
                r = -EIO;
        if (r >= 0) {
                fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0 || write(fd, key, w->size) != (ssize_t) w->size || fsync(fd) < 0)
                        r = -errno;
        }
        explicit_bzero(key, sizeof key);
        if (r >= 0)
                r = vhd_set_key(w->file, w->path);
        if (r < 0 && fd >= 0)
                (void) unlink(w->path);
        safe_close(fd);
        (void) pthread_mutex_unlock(&one_at_a_time);
        w->result = r;
}

static void key_work_free(KeyWork *w)
{
        call_unref(w->call);
        free(w->file);
        free(w->dir);
        free(w->path);
        free(w);
}

static void key_done(void *data)
{
        KeyWork *w = data;
        _cleanup_free_ char *text = strformat("%s: %s", w->path, strerror(-w->result));

        if (w->result >= 0)
                (void) call_reply(w->call, NULL);
        else if (w->has_key)
                (void) call_fail_code(w->call, ERROR_KEYED_ALREADY, NULL);
        else if (w->result == -EEXIST)
                (void) call_fail_code(w->call, ERROR_KEY_EXISTS, w->path);
        else
                (void) call_fail_code(w->call, ERROR_IO, text);
        key_work_free(w);
}

static int make_key(Call *c, const Record *o, int32_t bits, const char *dir)
{
        _cleanup_free_ char *file = disk_file(o), *stem = NULL;
        const char *base;
        KeyWork *w;
        int r;

        if (bits != 256 && bits != 512)
                return call_fail(c, DBUS_ERROR_FAILED, "A key has 256 or 512 bits, not %d", bits);
        if (!file)
                return call_fail_code(c, ERROR_DISK_TYPE, NULL);
        base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
        stem = strndup(base, strrchr(base, '.') ? (size_t) (strrchr(base, '.') - base) : strlen(base));
        w = calloc(1, sizeof *w);
        if (!stem || !w) {
                free(w);
                return -ENOMEM;
        }
        *w = (KeyWork) { .call = call_ref(c), .file = TAKE_PTR(file), .size = (size_t) bits / 8,
                         .dir = paths_map(manager_paths(o->vm->manager), dir) };
        w->path = w->dir ? strformat("%s/%s,aes-xts-plain,%d.key", w->dir, stem, bits) : NULL;
        r = w->path ? background_run(o->vm->manager->event, key_work, key_done, w) : -ENOMEM;
        if (r < 0)
                key_work_free(w);
        return r;
}

static int method_generate_key(Call *c)
{
        const Record *o = c->object;
        _cleanup_strv_ char **dirs = NULL;
        const char *dir;
        int32_t bits;
        int r;

        if (refuse_guest(c, "A key"))
                return 0;
        if (streq(c->method->in, "is"))
                r = sd_bus_message_read(c->message, "is", &bits, &dir);
        else {
                r = sd_bus_message_read(c->message, "i", &bits);
                if (r >= 0)
                        r = strv_split(db_text(o->vm->manager, "/xenmgr/platform-crypto-key-dirs",
                                               "/config/platform-crypto-keys"), ',', &dirs);
                dir = dirs ? dirs[0] : "";
        }
        return r < 0 ? r : make_key(c, o, bits, dir);
}

static const BusMethod disk_methods[] = {
        { "attach_phy", "s", "phy_path", "", "", method_attach, "phy" },
        { "attach_vhd", "s", "vhd_path", "", "", method_attach, "vhd" },
        { "delete", "", "", "", "", method_delete_disk, NULL },
        { "generate_crypto_key", "i", "keysize", "", "", method_generate_key, NULL },
        { "generate_crypto_key_in", "is", "keysize dirpath", "", "", method_generate_key, NULL },
        { "mount", "sb", "dirpath readonly", "", "", method_mount, NULL },
        { "umount", "", "", "", "", method_mount, NULL },
        { 0 }
};

/* Nics */

static const char *get_mac(const Record *o, const VmKey *k, char *buf, size_t size)
{
        const char *mac = record_text(o, "mac", "");

        if (streq(k->property, "mac"))
                return *mac ? mac : "auto";
        return size < 18 ? "" : vm_nic_mac(o->vm, o->id, buf);
}

static bool is_mac(const char *s)
{
        for (size_t i = 0; i < 17; i++)
                if (i % 3 == 2 ? s[i] != ':' : !strchr("0123456789abcdefABCDEF", s[i]) || !s[i])
                        return false;
        return !s[17];
}

static int set_mac(Call *c, const Record *o, const VmKey *k, const char *value)
{
        if (streq(value, "auto") || !*value)
                return write_leaf(c, o, k->path, NULL);
        if (!is_mac(value))
                return call_fail(c, DBUS_ERROR_FAILED,
                                 "'%.32s' is not a MAC address (xx:xx:xx:xx:xx:xx) and not 'auto'", value);
        return write_leaf(c, o, k->path, value);
}

static int set_optional(Call *c, const Record *o, const VmKey *k, const char *value)
{
        return write_leaf(c, o, k->path, *value ? value : NULL);
}

static int set_wireless(Call *c, const Record *o, const VmKey *k, const char *value)
{
        return write_leaf(c, o, k->path, streq(value, "true") ? "true" : NULL);
}

static const char *get_network(const Record *o, const VmKey *k, _unused_ char *buf, _unused_ size_t size)
{
        return config_network(record_text(o, k->path, ""));
}

static void on_switched(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, _unused_ void *userdata)
{
        if (error)
                log_warning("A nic of %s could not be moved: %s", vm->uuid, strempty(error->message));
}

int nic_set_network(Vm *vm, unsigned id, const char *network, Call *c)
{
        const Record o = { .vm = vm, .kind = "nic", .id = id, .exists = true };

        if (strpbrk(network, ",\n\r") || strlen(network) > 256)
                return call_fail(c, DBUS_ERROR_FAILED, "A network is an object path such as /wired/0/bridged");
        if (streq(config_network(record_text(&o, "network", "")), network))
                return 1;
        if (vm_is_running(vm) && vm->domid >= 0) {
                char vif[32];

                snprintf(vif, sizeof vif, "vif%lld.%u", (long long) vm->domid, id);
                manager_notify_service(vm->manager, NETWORK_DAEMON, "/", NETWORK_DAEMON, "move_to_network", "ss", vif,
                                       network);
        }
        if (vm_is_running(vm) && vm->monitor) {
                /* A back end knows bridges; the network itself is its word where nobody has told of one. */
                const Network *known = networks_find(vm->manager, network);
                char number[16];
                const char *const args[] = { "id", number, "network", known && known->bridge ? known->bridge : network, NULL };

                snprintf(number, sizeof number, "%u", id);
                (void) monitor_call(vm, "nic_network_switch", args, 30 * USEC_PER_SEC, on_switched, NULL, NULL);
        }
        return write_leaf(c, &o, "network", network);
}

static int set_network(Call *c, const Record *o, _unused_ const VmKey *k, const char *value)
{
        return nic_set_network(o->vm, o->id, value, c);
}

#define NIC_KEY(property, leaf, type, flags, fallback, ...)                                        \
        { { property, leaf, type, flags, fallback, NULL, VMKEY_EFFECT_CONFIG, "vif", "" }, __VA_ARGS__ }

static const RecordKey nic_keys[] = {
        NIC_KEY("backend-name", "backend-name", VMKEY_TEXT, 0, "", set_optional, NULL),
        NIC_KEY("backend-uuid", "backend-uuid", VMKEY_TEXT, 0, "", set_optional, NULL),
        NIC_KEY("enabled", "enable", VMKEY_BOOL, 0, "true", NULL, NULL),
        NIC_KEY("mac", "mac", VMKEY_TEXT, 0, "auto", set_mac, get_mac),
        NIC_KEY("mac-actual", "", VMKEY_TEXT, VMKEY_READ_ONLY, "", NULL, get_mac),
        NIC_KEY("model", "model", VMKEY_TEXT, 0, "e1000", set_optional, NULL),
        NIC_KEY("network", "network", VMKEY_TEXT, 0, "/wired/0/bridged", set_network, get_network),
        NIC_KEY("wireless-driver", "wireless-driver", VMKEY_BOOL, 0, "false", set_wireless, NULL),
};

static int method_delete_nic(Call *c)
{
        return write_leaf(c, c->object, "", NULL);
}

static const BusMethod nic_methods[] = { { "delete", "", "", "", "", method_delete_nic, NULL }, { 0 } };

/* Tables */

static BusProperty disk_properties[ELEMENTSOF(disk_keys) + 1], nic_properties[ELEMENTSOF(nic_keys) + 1];

static void fill(BusProperty *p, const RecordKey *keys, size_t n)
{
        for (size_t i = 0; i < n; i++)
                p[i] = (BusProperty) { .name = keys[i].key.property,
                                       .signature = streq(keys[i].key.property, "utilization-bytes")
                                                            ? "x"
                                                            : vm_key_signature(&keys[i].key),
                                       .access = keys[i].key.flags & VMKEY_READ_ONLY ? BUS_READ : BUS_READWRITE,
                                       .get = record_get,
                                       .set = record_set,
                                       .data = &keys[i] };
}

void record_properties_init(void)
{
        fill(disk_properties, disk_keys, ELEMENTSOF(disk_keys));
        fill(nic_properties, nic_keys, ELEMENTSOF(nic_keys));
}

static const BusInterface disk_interface = { .name = "com.citrix.xenclient.vmdisk",
                                             .methods = disk_methods,
                                             .properties = disk_properties };
static const BusInterface nic_interface = { .name = "com.citrix.xenclient.vmnic",
                                            .methods = nic_methods,
                                            .properties = nic_properties };

const BusInterface *const disk_interfaces[] = { &disk_interface, NULL };
const BusInterface *const nic_interfaces[] = { &nic_interface, NULL };

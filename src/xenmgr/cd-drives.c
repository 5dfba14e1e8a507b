/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cd-drives.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "background.h"
#include "guest-nodes.h"
#include "host-internal.h"
#include "log.h"
#include "monitor-client.h"
#include "strbuf.h"

#define REQUEST_USEC (5 * USEC_PER_SEC)
#define ID_MAX 32
#define KEY_MAX 64

static bool id_ok(const char *id)
{
        unsigned colons = 0;

        for (const char *p = id; *p; p++)
                if (*p == ':')
                        colons++;
                else if (!isdigit((unsigned char) *p))
                        return false;
        return colons == 3 && strlen(id) < ID_MAX;
}

static void replace(char *s, char from, char to)
{
        for (; *s; s++)
                if (*s == from)
                        *s = to;
}

static void sticky_key(const char *id, char ret[static KEY_MAX])
{
        static const char prefix[] = "/xenmgr/cdassign/";

        snprintf(ret, KEY_MAX, "%s%.31s", prefix, id);
        replace(ret + strlen(prefix), ':', '_');
}

static void lock_node(const char *id, char ret[static KEY_MAX])
{
        static const char prefix[] = "bsgdev/";

        snprintf(ret, KEY_MAX, "%s%.31s/lock", prefix, id);
        replace(ret + strlen(prefix), ':', '_');
}

static bool holds(const Vm *vm, const char *id)
{
        char node[KEY_MAX];

        lock_node(id, node);
        return streq(strempty(guest_node(vm, node)), "1");
}

/* The first VM that holds the drive. */
static Vm *holder(const Manager *m, const char *id)
{
        for (size_t i = 0; i < m->n_vms; i++)
                if (holds(m->vms[i], id))
                        return m->vms[i];
        return NULL;
}

static const char *assigned_uuid(const Manager *m, const char *id)
{
        const Vm *vm = holder(m, id);
        char key[KEY_MAX];

        sticky_key(id, key);
        return vm ? vm->uuid : db_text(m, key, "");
}

static void tell(Manager *m, const char *id)
{
        const Vm *vm = manager_find_vm(m, assigned_uuid(m, id));

        manager_emit(m, "cd_assignment_changed", "sso", id, vm ? vm->uuid : "", vm ? vm->path : "/");
}

void cd_drive_locked(Vm *vm, const char *node_id, bool locked)
{
        char id[ID_MAX];

        snprintf(id, sizeof id, "%s", node_id);
        replace(id, '_', ':');
        log_info("%s %s the CD drive %s", vm->uuid, locked ? "holds" : "gave back", id);
        tell(vm->manager, id);
}

/* The drive's node, or NULL. */
static char *device_of(const char *id)
{
        _cleanup_free_ char *path = strformat("/sys/bus/scsi/devices/%s/block", id);
        DIR *d = path ? opendir(path) : NULL;
        char *device = NULL;
        struct dirent *e;

        while (d && !device && (e = readdir(d)))
                if (e->d_name[0] != '.')
                        device = strformat("/dev/%s", e->d_name);
        if (d)
                (void) closedir(d);
        return device;
}

/* The VM's own drive, which takes the host's; NULL: it has none. */
static const char *own_drive(Vm *vm)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                char path[64];

                snprintf(path, sizeof path, "config/disk/%u/devtype", ids[i]);
                if (!streq(vm_text(vm, path, ""), "cdrom"))
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/device", ids[i]);
                return vm_text(vm, path, NULL);
        }
        return NULL;
}

/* One request: takes the drive from who holds it, then gives it to a VM. */
typedef struct Assign {
        Manager *manager;
        Call *call; /* NULL: nobody waits */
        char id[ID_MAX], uuid[37], from[37];
} Assign;

static void assign_end(Assign *a, const char *error)
{
        if (error)
                log_warning("The CD drive %s: %s", a->id, error);
        if (a->call && error)
                (void) call_fail(a->call, DBUS_ERROR_FAILED, "%s", error);
        else if (a->call)
                (void) call_reply(a->call, NULL);
        call_unref(a->call);
        free(a);
}

/* What the monitor did counts like what a guest tells: one record says who holds a drive. */
static void set_holder(Vm *vm, const char *id, bool on)
{
        char node[KEY_MAX];

        lock_node(id, node);
        guest_node_written(vm, node, on ? "1" : "0");
}

static void on_inserted(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        Assign *a = userdata;

        if (!error)
                set_holder(vm, a->id, true);
        assign_end(a, error ? strempty(error->message) : NULL);
}

static void assign_give(Assign *a)
{
        Vm *vm = manager_find_vm(a->manager, a->uuid);
        _cleanup_free_ char *device = device_of(a->id);
        const char *drive = vm ? own_drive(vm) : NULL;
        const char *const args[] = { "virtpath", drive, "physpath", device, NULL };

        if (!vm || !vm_is_running(vm) || !vm->monitor || holds(vm, a->id)) {
                tell(a->manager, a->id);
                assign_end(a, NULL);
        } else if (!vm_bool(vm, "policies/cd-access", true))
                assign_end(a, "the VM's policy (policy-cd-access) forbids it CD drives of the host");
        else if (!drive || !device)
                assign_end(a, drive ? "there is no such drive" : "the VM has no CD drive of its own that could take it");
        else if (monitor_call(vm, "cd_insert_real", args, REQUEST_USEC, on_inserted, a, NULL) < 0)
                assign_end(a, "the VM's monitor cannot be asked");
}

static void on_taken(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        Assign *a = userdata;

        if (error) {
                assign_end(a, strempty(error->message));
                return;
        }
        set_holder(vm, a->id, false);
        assign_give(a);
}

static void assign_take(Assign *a)
{
        Vm *from = holder(a->manager, a->id);
        const char *const args[] = { "virtpath", from ? strempty(own_drive(from)) : "", NULL };

        if (!from || streq(from->uuid, a->uuid))
                assign_give(a);
        else if (monitor_call(from, "cd_eject", args, REQUEST_USEC, on_taken, a, NULL) < 0)
                assign_end(a, "the monitor of the VM that holds it cannot be asked");
}

static Assign *assign_new(Manager *m, const char *id, const char *uuid, Call *c)
{
        Assign *a = calloc(1, sizeof *a);

        if (!a)
                return NULL;
        a->manager = m;
        a->call = c ? call_ref(c) : NULL;
        snprintf(a->id, sizeof a->id, "%s", id);
        snprintf(a->uuid, sizeof a->uuid, "%s", uuid);
        return a;
}

static void on_stored(const sd_bus_error *error, void *userdata)
{
        if (error)
                assign_end(userdata, strempty(error->message));
        else
                assign_take(userdata);
}

void cd_drives_apply(Vm *vm)
{
        char *const *drives = host_cd_drives(vm->manager);

        for (; drives && *drives; drives++) {
                char key[KEY_MAX];

                Assign *a;

                sticky_key(*drives, key);
                if (!streq(db_text(vm->manager, key, ""), vm->uuid))
                        continue;
                a = assign_new(vm->manager, *drives, vm->uuid, NULL);
                if (a)
                        assign_take(a);
        }
}

void cd_drives_released(Vm *vm)
{
        char *const *drives = vm->guest_nodes ? host_cd_drives(vm->manager) : NULL;

        for (; drives && *drives; drives++)
                if (holds(vm, *drives))
                        set_holder(vm, *drives, false);
}

/* D-Bus */

static int fill_cds(Call *c, sd_bus_message *reply)
{
        char *const *drives = host_cd_drives(c->userdata);
        int r = 0;

        for (; r >= 0 && drives && *drives; drives++) {
                _cleanup_free_ char *vendor_path = strformat("/sys/bus/scsi/devices/%s/vendor", *drives);
                _cleanup_free_ char *model_path = strformat("/sys/bus/scsi/devices/%s/model", *drives);
                _cleanup_free_ char *vendor = vendor_path ? host_file_text(vendor_path) : NULL;
                _cleanup_free_ char *model = model_path ? host_file_text(model_path) : NULL;
                _cleanup_free_ char *name = strformat("%s %s", strempty(vendor), strempty(model));
                char key[KEY_MAX];

                sticky_key(*drives, key);
                r = name ? reply_add_row(reply, "id", *drives, "name", name, "vm", assigned_uuid(c->userdata, *drives),
                                         "vm-sticky", *db_text(c->userdata, key, "") ? "1" : "0", "usb-id", "", NULL)
                         : -ENOMEM;
        }
        return r;
}

int method_list_cds(Call *c)
{
        return call_reply_array(c, "a{ss}", fill_cds);
}

int method_get_cd(Call *c)
{
        const char *id;
        char key[KEY_MAX];
        int r;

        r = sd_bus_message_read(c->message, "s", &id);
        if (r < 0)
                return r;
        if (!id_ok(id))
                return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not a CD drive of the form a:b:c:d", id);
        sticky_key(id, key);
        return call_reply(c, "bs", *db_text(c->userdata, key, "") != '\0', assigned_uuid(c->userdata, id));
}

int method_assign_cd(Call *c)
{
        Manager *m = c->userdata;
        const char *id, *uuid;
        char key[KEY_MAX];
        int sticky, r;
        Assign *a;
        DbTx *tx;
        Vm *vm;

        r = sd_bus_message_read(c->message, "sbs", &id, &sticky, &uuid);
        if (r < 0)
                return r;
        vm = manager_find_vm(m, uuid);
        if (!id_ok(id) || (*uuid && !vm))
                return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not a CD drive, or '%.64s' not a VM", id, uuid);
        sticky_key(id, key);
        tx = db_tx_new();
        (void) (vm && sticky ? db_tx_write(tx, key, uuid) : db_tx_rm(tx, key));
        a = assign_new(m, id, uuid, c);
        r = a ? db_tx_commit(tx, m->bus, on_stored, a) : -ENOMEM;
        if (r < 0 && a)
                assign_end(a, strerror(-r));
        return r < 0 ? r : 0;
}

/* A drive may take seconds until it lets go. */
typedef struct Eject {
        Call *call;
        char device[300];
        int result;
} Eject;

static void eject_work(void *data)
{
        Eject *w = data;
        _cleanup_close_ int fd = open(w->device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        w->result = fd < 0 || ioctl(fd, CDROMEJECT) < 0 ? -errno : 0;
}

static void eject_done(void *data)
{
        Eject *w = data;
        _cleanup_free_ char *why = strformat("the drive cannot be ejected: %s", strerror(-w->result));

        (void) (w->result < 0 ? call_fail_code(w->call, ERROR_IO, why) : call_reply(w->call, NULL));
        call_unref(w->call);
        free(w);
}

int method_eject_cd(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_free_ char *device = NULL;
        const char *id;
        Eject *w;
        int r;

        r = sd_bus_message_read(c->message, "s", &id);
        if (r < 0)
                return r;
        if (!id_ok(id))
                return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not a CD drive of the form a:b:c:d", id);
        device = device_of(id);
        if (!device)
                return call_fail_code(c, ERROR_IO, "this host has no such drive");
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        snprintf(w->device, sizeof w->device, "%s", device);
        w->call = call_ref(c);
        r = background_run(m->event, eject_work, eject_done, w);
        if (r < 0) {
                call_unref(w->call);
                free(w);
        }
        return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cd-drives.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "background.h"
#include "guest-nodes.h"
#include "host-internal.h"
#include "list.h"
#include "log.h"
#include "monitor-client.h"
#include "strbuf.h"

#define REQUEST_USEC (5 * USEC_PER_SEC)
#define ID_MAX CD_ID_MAX
#define TELL_USEC USEC_PER_SEC
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

#define STICKY_KEYS "/xenmgr/cdassign"

static void sticky_key(const char *id, char ret[static KEY_MAX])
{
        snprintf(ret, KEY_MAX, STICKY_KEYS "/%.31s", id);
        replace(ret + strlen(STICKY_KEYS "/"), ':', '_');
}

static void lock_node(const char *id, char ret[static KEY_MAX])
{
        static const char prefix[] = "bsgdev/";

        snprintf(ret, KEY_MAX, "%s%.31s/lock", prefix, id);
        replace(ret + strlen(prefix), ':', '_');
}

static void given_node(const char *id, char ret[static KEY_MAX])
{
        snprintf(ret, KEY_MAX, GUEST_NODE_HOST "cd/%.31s", id);
}

/* The drive was put into the VM's own, and was not taken out again. */
static bool was_given(const Vm *vm, const char *id)
{
        char node[KEY_MAX];

        given_node(id, node);
        return streq(strempty(guest_node(vm, node)), "1");
}

/* Or its guest says so, which gets it no disc. */
static bool holds(const Vm *vm, const char *id)
{
        char node[KEY_MAX];

        lock_node(id, node);
        return was_given(vm, id) || streq(strempty(guest_node(vm, node)), "1");
}

/* The VM that was given the drive, else the first that holds it. */
static Vm *holder(const Manager *m, const char *id)
{
        Vm *first = NULL;

        for (size_t i = 0; i < m->n_vms; i++)
                if (was_given(m->vms[i], id))
                        return m->vms[i];
                else if (!first && holds(m->vms[i], id))
                        first = m->vms[i];
        return first;
}

/* The VM in whose own drive it is; NULL: in none. */
static Vm *given_to(const Manager *m, const char *id)
{
        Vm *vm = holder(m, id);

        return vm && was_given(vm, id) ? vm : NULL;
}

static const char *assigned_uuid(const Manager *m, const char *id)
{
        const Vm *vm = holder(m, id);
        char key[KEY_MAX];

        sticky_key(id, key);
        return vm ? vm->uuid : db_text(m, key, "");
}

static void tell_now(Manager *m, const char *id)
{
        const Vm *vm = manager_find_vm(m, assigned_uuid(m, id));

        log_info("The CD drive %s belongs to %s now", id, vm ? vm->uuid : "nobody");
        manager_emit(m, "cd_assignment_changed", "sso", id, vm ? vm->uuid : "", vm ? vm->path : "/");
}

static void tell(Manager *m, const char *id);

static int on_tell_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Manager *m = userdata;

        for (size_t i = 0; i < ELEMENTSOF(m->host->cd_told); i++)
                if (m->host->cd_told[i].again)
                        tell(m, m->host->cd_told[i].id);
        return 0;
}

/* Once in a second for each drive, what is so then; a guest can change it as often as it likes. */
static void tell(Manager *m, const char *id)
{
        HostState *h = m->host;
        uint64_t now = now_usec();
        CdTold *t = &h->cd_told[0];

        for (size_t i = 0; i < ELEMENTSOF(h->cd_told) && !streq(t->id, id); i++)
                if (streq(h->cd_told[i].id, id) || h->cd_told[i].at < t->at)
                        t = &h->cd_told[i]; /* its own, else the oldest */
        if (!streq(t->id, id)) {
                if (t->again)
                        tell_now(m, t->id);
                *t = (CdTold) { 0 };
                snprintf(t->id, sizeof t->id, "%s", id);
        }
        t->again = t->at && now - t->at < TELL_USEC;
        if (!t->again) {
                t->at = now;
                tell_now(m, id);
        } else if (h->cd_timer) {
                (void) sd_event_source_set_time(h->cd_timer, t->at + TELL_USEC);
                (void) sd_event_source_set_enabled(h->cd_timer, SD_EVENT_ONESHOT);
        } else
                (void) sd_event_add_time(m->event, &h->cd_timer, CLOCK_MONOTONIC, t->at + TELL_USEC, 0, on_tell_timer, m);
}

void cd_drive_locked(Vm *vm, const char *node_id, bool locked)
{
        char id[ID_MAX];

        snprintf(id, sizeof id, "%s", node_id);
        replace(id, '_', ':');
        log_debug("%s %s the CD drive %s", vm->uuid, locked ? "holds" : "gave back", id);
        tell(vm->manager, id);
}

/* The drive's node, or NULL. */
static char *device_of(const char *id)
{
        _cleanup_free_ char *path = strformat(SCSI_DEVICES "/%s/block", id);
        _cleanup_strv_ char **names = NULL;

        (void) host_folder(strempty(path), "", &names);
        return names ? strformat("/dev/%s", names[0]) : NULL;
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

/* What the monitor did counts like what a guest tells. */
static void set_holder(Vm *vm, const char *id, bool on)
{
        const char *value = on ? "1" : "0";
        char node[KEY_MAX];

        given_node(id, node);
        guest_node_note(vm, node, value);
        lock_node(id, node);
        if (streq(strempty(guest_node(vm, node)), value))
                tell(vm->manager, id); /* its guest said so before */
        else
                guest_node_written(vm, node, value);
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

int cd_drives_forget(const Manager *m, const char *uuid, DbTx *tx)
{
        int r = 0;

        for (const DbNode *n = dbnode_first(db_node(m, STICKY_KEYS)); r >= 0 && n; n = dbnode_next(n)) {
                char key[KEY_MAX];

                sticky_key(dbnode_name(n), key);
                if (streq(dbnode_text(n, NULL), uuid))
                        r = db_tx_rm(tx, key);
        }
        return r;
}

/* D-Bus */

static int fill_cds(Call *c, sd_bus_message *reply)
{
        Manager *m = c->userdata;
        char *const *drives = host_cd_drives(m);
        int r = 0;

        for (size_t i = 0; r >= 0 && drives && drives[i]; i++) {
                char key[KEY_MAX];

                sticky_key(drives[i], key);
                r = reply_add_row(reply, "id", drives[i], "name", m->host->cd_names[i], "vm", assigned_uuid(m, drives[i]),
                                  "vm-sticky", *db_text(m, key, "") ? "1" : "0", "usb-id", m->host->cd_usb_ids[i], NULL);
        }
        return r;
}

int method_list_cds(Call *c)
{
        return call_reply_array(c, "a{ss}", fill_cds);
}

/* The drive that a call names. 1; 0: the call was failed; or negative errno. */
static int read_id(Call *c, const char **ret)
{
        int r = sd_bus_message_read(c->message, "s", ret);

        if (r < 0 || id_ok(*ret))
                return r < 0 ? r : 1;
        r = call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not a CD drive of the form a:b:c:d", *ret);
        return r < 0 ? r : 0;
}

int method_get_cd(Call *c)
{
        const char *id;
        char key[KEY_MAX];
        int r;

        r = read_id(c, &id);
        if (r <= 0)
                return r;
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

/*
 * What is done with a drive itself may take seconds, and its holder's monitor changes one thing at a time: there is one
 * work at a time for each drive, and others wait.
 */
typedef struct DriveWork {
        struct DriveWork *next;
        Manager *manager;
        Call *call; /* NULL: nobody waits */
        char id[ID_MAX], device[300];
        uint64_t began; /* 0: it waits */
        void (*run)(struct DriveWork *w);
        bool has_disc;
        int result;
} DriveWork;

#define WORK_LOST_USEC (30 * USEC_PER_SEC) /* it will not end: the bus went away under it */

static DriveWork *works; /* the newest first */

static void gone(DriveWork *w);

static void work_next(const char *id)
{
        DriveWork *oldest = NULL;

        for (DriveWork *w = works; w; w = w->next) {
                if (!streq(w->id, id))
                        continue;
                if (w->began && now_usec() - w->began < WORK_LOST_USEC)
                        return;
                if (!w->began)
                        oldest = w;
        }
        if (oldest) {
                oldest->began = now_usec();
                oldest->run(oldest);
        }
}

static void work_end(DriveWork *w)
{
        char id[ID_MAX];

        memcpy(id, w->id, sizeof id);
        LIST_TAKE_OUT(works, w);
        call_unref(w->call);
        free(w);
        work_next(id);
}

/* 0, -ENODEV: the host has no such drive, or -ENOMEM. */
static int work_add(Manager *m, const char *id, void (*run)(DriveWork *w), Call *c)
{
        _cleanup_free_ char *device = device_of(id);
        DriveWork *w;

        if (!device && run != gone)
                return -ENODEV;
        for (w = works; w && !c; w = w->next)
                if (streq(w->id, id) && !w->began && w->run == run)
                        return 0; /* the same is to be done anyway */
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (DriveWork) { .next = works, .manager = m, .call = c ? call_ref(c) : NULL, .run = run };
        snprintf(w->id, sizeof w->id, "%s", id);
        snprintf(w->device, sizeof w->device, "%s", strempty(device));
        works = w;
        work_next(id);
        return 0;
}

static void eject_work(void *data)
{
        DriveWork *w = data;
        _cleanup_close_ int fd = open(w->device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        w->result = fd < 0 || ioctl(fd, CDROMEJECT) < 0 ? -errno : 0;
}

static void eject_done(void *data)
{
        DriveWork *w = data;
        _cleanup_free_ char *why = strformat("the drive cannot be ejected: %s", strerror(-w->result));

        if (w->result < 0)
                log_warning("%s: %s", w->device, strempty(why));
        if (w->call)
                (void) (w->result < 0 ? call_fail_code(w->call, ERROR_IO, why) : call_reply(w->call, NULL));
        work_end(w);
}

/* The monitor let the drive go, or could not: then it is busy, and eject_done() says so. */
static void on_let_go(_unused_ Vm *vm, _unused_ const char *reply, _unused_ const sd_bus_error *error, void *userdata)
{
        DriveWork *w = userdata;

        w->result = background_run(w->manager->event, eject_work, eject_done, w);
        if (w->result < 0)
                eject_done(w);
}

/* Opens the drive, whose disc its holder's drive must let go before. It stays the holder's: it gets the next disc. */
static void eject(DriveWork *w)
{
        Vm *vm = given_to(w->manager, w->id);
        const char *const args[] = { "virtpath", vm ? own_drive(vm) : NULL, NULL };

        if (!args[1] || monitor_call(vm, "cd_eject", args, REQUEST_USEC, on_let_go, w, NULL) < 0)
                on_let_go(vm, NULL, NULL, w);
}

int method_eject_cd(Call *c)
{
        const char *id;
        int r;

        r = read_id(c, &id);
        if (r <= 0)
                return r;
        r = work_add(c->userdata, id, eject, c);
        return r == -ENODEV ? call_fail_code(c, ERROR_IO, "this host has no such drive") : r;
}

/* What the kernel tells of drives */

static void look_work(void *data)
{
        DriveWork *w = data;
        _cleanup_close_ int fd = open(w->device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        w->has_disc = fd >= 0 && ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) == CDS_DISC_OK;
}

static void on_shown(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        if (error)
                log_warning("%s is not shown what is in the CD drive: %s", vm->uuid, strempty(error->message));
        work_end(userdata);
}

/* The VM's drive gets the new disc, or is empty as that of the host is. */
static void look_done(void *data)
{
        DriveWork *w = data;
        Vm *vm = given_to(w->manager, w->id);
        const char *drive = vm ? own_drive(vm) : NULL;
        const char *const args[] = { "virtpath", drive, w->has_disc ? "physpath" : NULL, w->device, NULL };

        if (drive)
                log_info("The CD drive %s %s: %s is shown it", w->id, w->has_disc ? "has another disc" : "is empty", vm->uuid);
        if (!drive || monitor_call(vm, w->has_disc ? "cd_insert_real" : "cd_eject", args, REQUEST_USEC, on_shown, w, NULL) < 0)
                work_end(w);
}

static void look(DriveWork *w)
{
        if (background_run(w->manager->event, look_work, look_done, w) < 0)
                work_end(w);
}

/* The part of a device's path that is its SCSI address; an unknown form is no drive's. */
static bool id_of(const char *devpath, char ret[static ID_MAX])
{
        for (const char *p = devpath; (p = strchr(p, '/')); ) {
                size_t n = strcspn(++p, "/");

                if (n >= ID_MAX)
                        continue;
                snprintf(ret, ID_MAX, "%.*s", (int) n, p);
                if (id_ok(ret))
                        return true;
        }
        return false;
}

void cd_drives_block_event(Manager *m, const Uevent *e)
{
        bool other_disc = uevent_value(e, "DISK_MEDIA_CHANGE"), button = uevent_value(e, "DISK_EJECT_REQUEST");
        char id[ID_MAX];
        Vm *vm;

        if (!streq(e->action, "change") || (!other_disc && !button) || !id_of(e->devpath, id) || !(vm = holder(m, id)))
                return;
        if (was_given(vm, id))
                (void) work_add(m, id, button ? eject : look, NULL);
        else
                log_info("The CD drive %s was not given to %s, whose guest holds it: it is shown nothing", id, vm->uuid);
}

static void on_gone(Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        DriveWork *w = userdata;
        Manager *m = w->manager;

        if (error)
                log_warning("%s does not let go of a CD drive that is gone: %s", vm->uuid, strempty(error->message));
        for (size_t i = 0; i < m->n_vms; i++)
                if (holds(m->vms[i], w->id))
                        set_holder(m->vms[i], w->id, false);
        work_end(w);
}

static void gone(DriveWork *w)
{
        Vm *vm = given_to(w->manager, w->id);
        const char *const args[] = { "virtpath", vm ? own_drive(vm) : NULL, NULL };

        log_info("The CD drive %s is gone", w->id);
        if (!args[1] || monitor_call(vm, "cd_eject", args, REQUEST_USEC, on_gone, w, NULL) < 0)
                on_gone(vm, NULL, NULL, w);
}

void cd_drives_scsi_event(Manager *m, const Uevent *e)
{
        char id[ID_MAX];

        if (streq(e->action, "remove") && id_of(e->devpath, id) && holder(m, id))
                (void) work_add(m, id, gone, NULL);
}

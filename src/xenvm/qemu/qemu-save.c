/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saving and restoring: QEMU migrates into a file whose descriptor it is given, and out of one. Its own
 * figures are asked for again and again, for the progress, and to learn the end.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "qemu-vm.h"
#include "strbuf.h"

#define FD_NAME "oxt-state"
#define PLACE "@ " /* begins a line of a shape: id and slot of a device */
#define PLACES_MAX 64
#define POLL_MIN_USEC (10 * USEC_PER_MSEC)
#define POLL_MAX_USEC (200 * USEC_PER_MSEC)
#define BANDWIDTH_MAX INT64_C(0x3fffffffffffffff) /* a file is not a network that others need too */

static void ask_status(Vm *vm);

static json_object *texts(const char *name, const char *value)
{
        json_object *o = json_object_new_object();

        if (o)
                json_object_object_add(o, name, json_object_new_string(value));
        return o;
}

void qemu_save_release(Vm *vm)
{
        vm->saving.poll = sd_event_source_disable_unref(vm->saving.poll);
        vm->saving.fd = safe_close(vm->saving.fd);
}

static void save_finished(Vm *vm, int r, const char *text)
{
        _cleanup_free_ char *why = text ? strdup(text) : NULL;

        qemu_save_release(vm);
        operation_done(&vm->save, r, r < 0 ? (why ? why : "out of memory") : NULL);
}

/* A failed save leaves the VM as it was: QEMU has stopped it in the meantime. */
static void on_running_again(void *userdata, _unused_ int r, _unused_ json_object *value, _unused_ const char *text)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->saving.why);

        save_finished(vm, vm->saving.cancelled ? -ECANCELED : -EIO, why ? why : "saving failed");
}

static void save_failed(Vm *vm, const char *why)
{
        if (!vm->save.done) /* given up by kill() */
                return;
        vm->saving.poll = sd_event_source_disable_unref(vm->saving.poll);
        free(vm->saving.why);
        vm->saving.why = strdup(why);
        if (!vm->saving.was_running || vm_request(vm, "cont", NULL, on_running_again, vm) < 0)
                on_running_again(vm, 0, NULL, NULL);
}

static int on_poll(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        ask_status(userdata);
        return 0;
}

static void poll_later(Vm *vm)
{
        int r;

        vm->saving.delay = MIN2(MAX2(vm->saving.delay * 3 / 2, POLL_MIN_USEC), POLL_MAX_USEC);
        vm->saving.poll = sd_event_source_disable_unref(vm->saving.poll);
        r = sd_event_add_time_relative(vm->spec.event, &vm->saving.poll, CLOCK_MONOTONIC, vm->saving.delay, 0, on_poll, vm);
        if (r < 0)
                save_failed(vm, "no timer could be set");
}

static void on_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        json_object *ram;
        const char *word;

        if (!vm->save.done)
                return;
        if (r < 0 || !json_object_is_type(value, json_type_object)) {
                save_failed(vm, r < 0 ? text : "QEMU does not say how far it is");
                return;
        }
        word = json_get_text(value, "status", "");
        ram = json_get_member(value, "ram", json_type_object);
        if (ram) {
                int64_t total = json_get_int(ram, "total", 0), left = json_get_int(ram, "remaining", 0);

                if (total > 0 && left >= 0 && left <= total)
                        vm->spec.events->progress(vm->spec.userdata, (uint64_t) (total - left), (uint64_t) total);
        }
        if (streq(word, "completed")) {
                vm->status = VM_STATUS_PAUSED;
                save_finished(vm, 0, NULL);
        } else if (streq(word, "failed"))
                save_failed(vm, json_get_text(value, "error-desc", "QEMU could not save the VM"));
        else if (streq(word, "cancelled"))
                save_failed(vm, "cancelled");
        else
                poll_later(vm);
}

static void ask_status(Vm *vm)
{
        if (vm_request(vm, "query-migrate", NULL, on_status, vm) < 0)
                save_failed(vm, "QEMU cannot be asked");
}

static void on_migrating(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r < 0)
                save_failed(vm, text);
        else
                poll_later(vm);
}

static void on_fd_given(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        /* Before it has begun QEMU has nothing to cancel. */
        if (r >= 0 && !vm->saving.cancelled && vm_request(vm, "migrate", texts("uri", "fd:" FD_NAME), on_migrating, vm) >= 0)
                return;
        save_failed(vm, r < 0 ? text : vm->saving.cancelled ? "cancelled" : "QEMU cannot be asked");
}

static int give_fd(Vm *vm, int fd, QmpDone done)
{
        return vm->qmp ? qmp_send(vm->qmp, "getfd", texts("fdname", FD_NAME), fd, QMP_TIMEOUT, done, vm) : -ENOTCONN;
}

static void on_parameters(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r < 0)
                log_warning("Saving will be slow: %s", text);
        if (give_fd(vm, vm->saving.fd, on_fd_given) < 0)
                save_failed(vm, "the file cannot be handed to QEMU");
}

/* Where each device is: one that is plugged in goes where there is room, also where another was unplugged. */
static void on_places(void *userdata, _unused_ int r, json_object *value, _unused_ const char *text)
{
        Vm *vm = userdata;
        json_object *bus = json_object_is_type(value, json_type_array) ? json_object_array_get_idx(value, 0) : NULL;
        json_object *list = json_object_is_type(bus, json_type_object) ? json_get_member(bus, "devices", json_type_array) : NULL;
        StrBuf b = STRBUF_INIT;

        for (size_t i = 0; list && i < json_object_array_length(list) && i < PLACES_MAX; i++) {
                json_object *d = json_object_array_get_idx(list, i);
                const char *id = json_object_is_type(d, json_type_object) ? json_get_text(d, "qdev_id", "") : "";
                int64_t slot = id[0] ? json_get_int(d, "slot", -1) : -1;

                if (slot >= 0 && slot < 32 && json_get_int(d, "function", -1) == 0 && strlen(id) < 64 &&
                    id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0')
                        strbuf_addf(&b, PLACE "%s %lld\n", id, (long long) slot);
        }
        free(TAKE_PTR(vm->saving.places));
        if (b.len > 0 && strbuf_take(&b, &vm->saving.places) < 0)
                vm->saving.places = NULL;
}

static void on_stopped_for_save(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        json_object *args = json_object_new_object();

        if (args)
                json_object_object_add(args, "max-bandwidth", json_object_new_int64(BANDWIDTH_MAX));
        if (r >= 0) /* a machine without such a bus has no places */
                (void) vm_request(vm, "query-pci", NULL, on_places, vm);
        if (r >= 0 && vm_request(vm, "migrate-set-parameters", args, on_parameters, vm) >= 0)
                return;
        save_failed(vm, r < 0 ? text : "QEMU cannot be asked");
}

int qemu_save(Vm *vm, int fd, bool live, VmDone done, void *userdata)
{
        int r;

        if (vm->save.done)
                return -EBUSY;
        vm->saving.fd = dup(fd);
        if (vm->saving.fd < 0)
                return -errno;
        vm->saving.was_running = vm->status == VM_STATUS_RUNNING;
        vm->saving.cancelled = false;
        vm->saving.delay = 0;
        r = vm_request(vm, live ? "query-status" : "stop", NULL, on_stopped_for_save, vm);
        if (r < 0) {
                qemu_save_release(vm);
                return r;
        }
        vm->save = (Operation) { done, userdata };
        return 0;
}

void qemu_save_cancel(Vm *vm)
{
        if (!vm->save.done || vm->saving.cancelled)
                return;
        vm->saving.cancelled = true;
        (void) vm_request(vm, "migrate_cancel", NULL, NULL, NULL);
}

char *qemu_cannot_save(const Vm *vm)
{
        const VmConfig *c = vm->spec.config;

        if (vm->go.done || vm->change.done)
                return strdup(vm->go.done ? "it is being paused or unpaused" : "a change of its devices is under way");
        if (c->disable_migrate)
                return strdup("disable-migrate is set");
        for (size_t i = 0; i < c->disk.n; i++) {
                const VmDisk *d = &c->disk.items[i];

                /* Disks are not in the file: with a throw-away overlay new disks would meet old memory. */
                if (d->snapshot != VM_SNAPSHOT_NONE && !d->cdrom)
                        return strformat("disk %s has throw-away contents (%s)", d->virtpath, vm_snapshot_to_text(d->snapshot));
        }
        if (c->pci.n > 0)
                return strdup("devices of the host are given to the VM (pci)");
        return NULL;
}

/* Restoring, at the end of create() */

static void on_restored_status(void *userdata, int r, json_object *value, const char *text);

static int on_restore_poll(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Vm *vm = userdata;

        if (vm_request(vm, "query-status", NULL, on_restored_status, vm) < 0)
                qemu_create_failed(vm, "QEMU cannot be asked");
        return 0;
}

static void on_restored_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        const char *word;

        if (r == -ECONNRESET)
                return; /* QEMU ends by itself when the file is bad, and says why */
        if (r < 0) {
                qemu_create_failed(vm, text);
                return;
        }
        word = json_object_is_type(value, json_type_object) ? json_get_text(value, "status", "") : "";
        if (!streq(word, "inmigrate")) {
                vm->spec.restore_fd = safe_close(vm->spec.restore_fd);
                vm->saving.poll = sd_event_source_disable_unref(vm->saving.poll);
                vm->status = VM_STATUS_CREATED;
                qemu_created(vm);
                return;
        }
        vm->saving.delay = MIN2(MAX2(vm->saving.delay * 3 / 2, POLL_MIN_USEC), POLL_MAX_USEC);
        vm->saving.poll = sd_event_source_disable_unref(vm->saving.poll);
        r = sd_event_add_time_relative(vm->spec.event, &vm->saving.poll, CLOCK_MONOTONIC, vm->saving.delay, 0, on_restore_poll, vm);
        if (r < 0)
                qemu_create_failed(vm, "no timer could be set");
}

static void on_incoming(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r == -ECONNRESET)
                return;
        if (r < 0)
                qemu_create_failed(vm, text);
        else
                (void) on_restore_poll(NULL, 0, vm);
}

static void on_restore_fd_given(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        if (r == -ECONNRESET)
                return;
        if (r < 0 || vm_request(vm, "migrate-incoming", texts("uri", "fd:" FD_NAME), on_incoming, vm) < 0)
                qemu_create_failed(vm, r < 0 ? text : "QEMU cannot be asked");
}

int qemu_restore_begin(Vm *vm)
{
        /* From here on it takes as long as the file is long; the deadline was for the process to come up. */
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        return give_fd(vm, vm->spec.restore_fd, on_restore_fd_given);
}

/*
 * What the VM is made of, a line for each argument that a saved state depends on. It stands beside the VM while
 * that runs and goes into each save file, so that memory is never put into another machine.
 */
static char *make_shape(char *const *args, const char *dir, const QemuFiles *files)
{
        static const char *const left_out[] = { "-add-fd", "-vnc", "-name", "-rtc", "-incoming", "-sandbox", "-pidfile", "-action", "-boot", "-mon" };
        StrBuf b = STRBUF_INIT;
        char *text;

        for (; *args; args++) {
                _cleanup_free_ char *named = NULL;
                const char *place;
                bool skip = false;

                for (size_t i = 0; i < ELEMENTSOF(left_out); i++)
                        skip |= streq(*args, left_out[i]);
                skip |= streq(*args, "-chardev") && args[1] && startswith(args[1], "pipe,id=events");
                if (skip) {
                        args++;
                        continue;
                }
                named = qemu_files_explain(files, *args);
                place = strstr(strempty(named), dir);
                if (place) /* another runtime directory is no other machine */
                        strbuf_addf(&b, "%.*s@%s\n", (int) (place - named), named, place + strlen(dir));
                else
                        strbuf_addf(&b, "%s\n", strempty(named));
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static int write_shape(const char *path, const char *shape)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        return write(fd, shape, strlen(shape)) == (ssize_t) strlen(shape) ? 0 : -EIO;
}

/*
 * What counts of two shapes: not how cards are wired, which can change while the VM runs, nor what lies in a CD drive, and
 * places only where there is something to be put in them.
 */
static char *essence(const char *shape)
{
        StrBuf b = STRBUF_INIT;
        bool skip = false;
        char *text;

        strbuf_add(&b, "");
        for (size_t n; *shape; shape += n + (shape[n] != '\0')) {
                _cleanup_free_ char *line = NULL;
                char *cut, *end;

                n = strcspn(shape, "\n");
                line = strndup(shape, n);
                if (!line) {
                        strbuf_done(&b);
                        return NULL;
                }
                if (skip || startswith(line, PLACE)) {
                        skip = false;
                        continue;
                }
                skip = streq(line, "-netdev");
                if (skip)
                        continue;
                cut = strstr(line, ",netdev=");
                if (!cut && strstr(line, ",media=cdrom"))
                        cut = strstr(line, ",format=");
                end = cut ? strstr(cut, startswith(cut, ",netdev=") ? ",mac=" : ",media=cdrom") : NULL;
                if (end)
                        memmove(cut, end, strlen(end) + 1);
                strbuf_addf(&b, "%s\n", line);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

int qemu_check_shape(Vm *vm, char *const *args, const QemuFiles *files, char **ret_why)
{
        _cleanup_free_ char *shape = make_shape(args, vm->spec.dir, files), *path = path_join(vm->spec.dir, "qemu.args");
        _cleanup_free_ char *now = NULL, *before = NULL;
        size_t n = 0;

        if (!shape || !path)
                return -ENOMEM;
        if (vm->spec.restore_fd < 0)
                return write_shape(path, shape);
        now = essence(shape);
        before = essence(strempty(vm->spec.restore_shape));
        if (!now || !before)
                return -ENOMEM;
        if (streq(now, before))
                return write_shape(path, shape);
        while (now[n] == before[n] && now[n])
                n++;
        while (n > 0 && now[n - 1] != '\n')
                n--;
        *ret_why = strformat("the config has changed since the VM was saved: it was `%.*s`, now it is `%.*s`",
                             (int) strcspn(before + n, "\n"), before + n, (int) strcspn(now + n, "\n"), now + n);
        return -EINVAL;
}

/* The slot that the shape names for that id; -1: none. */
static int place_of(const char *shape, const char *id, size_t length)
{
        for (const char *p = shape; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
                const char *rest = startswith(p, PLACE);

                if (rest && strncmp(rest, id, length) == 0 && rest[length] == ' ')
                        return (int) strtol(rest + length, NULL, 10) & 31;
        }
        return -1;
}

int qemu_keep_places(const Vm *vm, char **args)
{
        for (char **a = args; *a && a[1]; a++) {
                char *id = streq(*a, "-device") ? strstr(a[1], ",id=") : NULL, *placed;
                int slot = id ? place_of(vm->spec.restore_shape, id + 4, strcspn(id + 4, ",")) : -1;

                if (slot < 0 || strstr(a[1], ",addr="))
                        continue;
                placed = strformat("%s,addr=0x%x", a[1], (unsigned) slot);
                if (!placed)
                        return -ENOMEM;
                free(a[1]);
                a[1] = placed;
        }
        return 0;
}

char *qemu_shape(const Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "qemu.args");
        _cleanup_free_ char *text = NULL;

        return path && read_file(path, 256 * KIB, &text, NULL) >= 0 ? strformat("%s%s", text, strempty(vm->saving.places)) : NULL;
}

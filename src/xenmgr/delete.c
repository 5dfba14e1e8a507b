/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "delete.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "cd-drives.h"
#include "fs.h"
#include "hooks.h"
#include "intent.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "vhd.h"

#define SWEEP_USEC (1 * USEC_PER_SEC)

typedef struct Delete {
        Manager *manager;
        char uuid[37];
        DeleteFiles files;
        char **listed, **used; /* that are removed, and that stay because they are not this VM's alone */
        Call *call;
        Hook *hook;
} Delete;

/* What of the files went; "PATH: WHY" of those that could not. */
static int reply_files(Delete *w)
{
        _cleanup_strv_ char **removed = NULL, **failed = NULL;
        sd_bus_message *reply = NULL;
        int r = 0;

        for (char **f = w->listed; r >= 0 && f && *f; f++) {
                int k = remove_image(w->manager, *f);

                r = k < 0 ? strv_extendf(&failed, "%s: %s", *f, strerror(-k)) : strv_extend(&removed, *f);
        }
        if (r >= 0)
                r = call_new_reply(w->call, &reply);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, removed);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, w->used);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, failed);
        if (r >= 0)
                return call_reply_message(w->call, reply);
        sd_bus_message_unref(reply);
        return r;
}

static void delete_end(Delete *w, const char *error)
{
        Vm *vm = manager_find_vm(w->manager, w->uuid);

        if (vm)
                vm->deleting = false;
        if (error)
                (void) call_fail_text(w->call, error);
        else
                (void) (w->files == DELETE_DISKS ? call_reply(w->call, NULL) : reply_files(w));
        call_unref(w->call);
        strv_free(w->listed);
        strv_free(w->used);
        free(w);
}

/* The one key file of that disk in the platform's key folder; two that fit are left alone. */
static int key_file(Manager *m, const char *vhd, char ***l)
{
        const char *base = strrchr(vhd, '/');
        _cleanup_free_ char *dir = NULL, *stem = NULL, *found = NULL;
        _cleanup_strv_ char **dirs = NULL;
        struct dirent *e;
        size_t n = 0;
        DIR *d;

        stem = strndup(base ? base + 1 : vhd, strcspn(base ? base + 1 : vhd, "."));
        if (!stem || !*stem ||
            strv_split(db_text(m, "/xenmgr/platform-crypto-key-dirs", "/config/platform-crypto-keys"), ',', &dirs) < 0)
                return 0;
        dir = paths_map(manager_paths(m), dirs[0]);
        d = dir ? opendir(dir) : NULL;
        while (d && (e = readdir(d))) {
                const char *rest = startswith(e->d_name, stem);

                if (rest && *rest == ',') {
                        n++;
                        free(found);
                        found = path_join(dir, e->d_name);
                }
        }
        if (d)
                (void) closedir(d);
        return n == 1 && found ? strv_extend(l, found) : 0;
}

bool disk_is_used(Manager *m, const Vm *vm, const char *mapped)
{
        char path[64];

        for (size_t i = 0; i < m->n_vms; i++) {
                unsigned ids[DISKS_MAX];
                size_t n = m->vms[i] == vm ? 0 : vm_record_ids(m->vms[i], "disk", ids, DISKS_MAX);

                for (size_t k = 0; k < n; k++) {
                        _cleanup_free_ char *other = NULL;

                        snprintf(path, sizeof path, "config/disk/%u/path", ids[k]);
                        other = paths_map(manager_paths(m), vm_text(m->vms[i], path, ""));
                        if (!other || streq(other, mapped)) /* without memory to tell, it stays */
                                return true;
                }
        }
        return false;
}

/* The image that goes with that disk, to free; NULL where there is none, or another VM needs it too. */
static char *disk_image(Vm *vm, unsigned id)
{
        Manager *m = vm->manager;
        _cleanup_free_ char *mapped = NULL;
        char path[64];

        snprintf(path, sizeof path, "config/disk/%u/type", id);
        if (!streq(vm_text(vm, path, ""), "vhd"))
                return NULL;
        snprintf(path, sizeof path, "config/disk/%u/shared", id);
        if (vm_bool(vm, path, false))
                return NULL;
        snprintf(path, sizeof path, "config/disk/%u/path", id);
        mapped = paths_map(manager_paths(m), vm_text(vm, path, ""));
        if (!mapped || mapped[0] != '/' || strchr(mapped, '\n') || disk_is_used(m, vm, mapped))
                return NULL;
        return TAKE_PTR(mapped);
}

/* Adds an image, the mark that it has a key, and the key. */
static int add_image(Manager *m, const char *image, char ***l)
{
        if (strv_extend(l, image) < 0 || strv_extendf(l, "%s" VHD_KEY_MARK, image) < 0)
                return -ENOMEM;
        return key_file(m, image, l);
}

/* Adds the files that go with that disk. */
static int disk_files(Vm *vm, unsigned id, char ***l)
{
        _cleanup_free_ char *image = disk_image(vm, id);

        return image ? add_image(vm->manager, image, l) : 0;
}

static void close_work(void *data)
{
        safe_close(*(int *) data);
}

int remove_image(Manager *m, const char *path)
{
        int *fd = malloc(sizeof *fd);
        struct stat st;
        int r;

        /* The room of a large image is given back with its last descriptor: that takes a while, and is for a thread. */
        if (fd)
                *fd = lstat(path, &st) >= 0 && S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
        r = unlink(path) < 0 && errno != ENOENT ? -errno : 0;
        if (!fd || *fd < 0 || background_run(m->event, close_work, free, fd) < 0) {
                if (fd)
                        safe_close(*fd);
                free(fd);
        }
        return r;
}

static void remove_files(Manager *m, char *const *l)
{
        for (; l && *l; l++)
                if ((*l)[0] == '/') {
                        int r = remove_image(m, *l);

                        if (r < 0)
                                log_errno_full(LOG_WARNING, r, "Cannot remove %s", *l);
                }
}

/* Disks of VMs that stay */

static bool has_disk(Manager *m, const char *uuid, unsigned id)
{
        Vm *vm = manager_find_vm(m, uuid);
        char path[32];

        snprintf(path, sizeof path, "config/disk/%u", id);
        return vm && vm_has(vm, path);
}

/* What is written down of that disk (-1: of all) is settled: where its record has gone its image goes, if no other record has it. */
static void settle_disks(Manager *m, const char *uuid, int64_t which)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_strbuf_ StrBuf rest = STRBUF_INIT;
        _cleanup_strv_ char **lines = NULL;

        if (intent_read(manager_paths(m), uuid, INTENT_DISKS, &text) < 0 || strv_split(text, '\n', &lines) < 0)
                return;
        for (char **l = lines; l && *l; l++) {
                _cleanup_strv_ char **files = NULL;
                char *image;
                unsigned long id = strtoul(*l, &image, 10);

                if (*image++ != ' ')
                        continue;
                if (which >= 0 && id != (unsigned long) which)
                        strbuf_addf(&rest, "%s\n", *l);
                else if (!has_disk(m, uuid, (unsigned) id) && !disk_is_used(m, NULL, image) &&
                         add_image(m, image, &files) >= 0)
                        remove_files(m, files);
        }
        if (rest.len == 0 || intent_set(manager_paths(m), uuid, INTENT_DISKS, rest.data) < 0)
                intent_clear(manager_paths(m), uuid, INTENT_DISKS);
}

typedef struct DiskDelete {
        Manager *manager;
        char uuid[37];
        unsigned id;
} DiskDelete;

static void on_disk_deleted(_unused_ bool done, void *userdata)
{
        DiskDelete *w = userdata;

        settle_disks(w->manager, w->uuid, w->id);
        free(w);
}

int delete_disk(Vm *vm, unsigned id, Call *c)
{
        const Paths *p = manager_paths(vm->manager);
        _cleanup_free_ char *image = disk_image(vm, id), *old = NULL, *text = NULL;
        char path[VM_PATH_MAX], record[32];
        DiskDelete *w = malloc(sizeof *w);
        DbTx *tx;
        int r = 0;

        if (!w)
                return -ENOMEM;
        *w = (DiskDelete) { .manager = vm->manager, .id = id };
        memcpy(w->uuid, vm->uuid, sizeof w->uuid);
        if (image) {
                (void) intent_read(p, vm->uuid, INTENT_DISKS, &old);
                text = strformat("%s%u %s\n", strempty(old), id, image);
                r = text ? intent_set(p, vm->uuid, INTENT_DISKS, text) : -ENOMEM;
        }
        snprintf(record, sizeof record, "config/disk/%u", id);
        if (r >= 0) {
                tx = vm_tx_new(vm, record);
                (void) db_tx_rm(tx, vm_db_path(vm, path, "%s", record));
                r = vm_commit_then(vm, tx, "disk", c, on_disk_deleted, w);
        }
        if (r < 0)
                on_disk_deleted(false, w);
        return r;
}

static int remove_tree_at(int parent, const char *name, int depth)
{
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct dirent *e;
        DIR *d;

        if (fd < 0 || depth == 0) {
                safe_close(fd);
                return unlinkat(parent, name, 0);
        }
        d = fdopendir(fd);
        if (!d) {
                safe_close(fd);
                return -1;
        }
        while ((e = readdir(d)))
                if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
                        (void) remove_tree_at(dirfd(d), e->d_name, depth - 1);
        (void) closedir(d);
        return unlinkat(parent, name, AT_REMOVEDIR);
}

typedef struct Sweep {
        Manager *manager;
        char uuid[37];
        sd_event_source *timer;
} Sweep;

static int on_sweep(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Sweep *w = userdata;
        const Paths *p = manager_paths(w->manager);
        _cleanup_free_ char *run = paths_format(p, PATH_VM, "%s", w->uuid), *log = paths_format(p, PATH_VM_LOGS, "%s.log", w->uuid),
                            *old = paths_format(p, PATH_VM_LOGS, "%s.log.1", w->uuid);

        if (run && log && old && !manager_find_vm(w->manager, w->uuid)) {
                (void) remove_tree_at(AT_FDCWD, run, 4);
                (void) unlink(log);
                (void) unlink(old);
        }
        sd_event_source_disable_unref(w->timer);
        free(w);
        return 0;
}

/* After a while: a monitor writes its last words behind its bus name's end. */
void delete_runtime(Manager *m, const char *uuid)
{
        Sweep *w = calloc(1, sizeof *w);

        if (!w)
                return;
        w->manager = m;
        memcpy(w->uuid, uuid, sizeof w->uuid);
        if (sd_event_add_time_relative(m->event, &w->timer, CLOCK_MONOTONIC, SWEEP_USEC, 0, on_sweep, w) < 0)
                free(w);
}

void delete_files(Manager *m, const char *uuid)
{
        const Paths *p = manager_paths(m);
        _cleanup_free_ char *text = NULL, *ovf = paths_format(p, PATH_STORAGE, "ovffiles/%s", uuid);
        _cleanup_strv_ char **l = NULL;

        if (intent_read(p, uuid, INTENT_DELETE, &text) < 0)
                return;
        if (strv_split(text, '\n', &l) >= 0)
                remove_files(m, l);
        if (ovf)
                (void) remove_tree_at(AT_FDCWD, ovf, 16);
        delete_runtime(m, uuid); /* the intent goes with the folder, last of all */
}

static bool is_left_over(const char *name)
{
        char uuid[37];

        snprintf(uuid, sizeof uuid, "%.36s", name);
        return endswith(name, ".snap") || endswith(name, ".snap.tmp.vhd") ||
               (strlen(name) > 36 && name[36] == '-' && uuid_valid(uuid) && endswith(name, ".part"));
}

/* What no VM uses: throw-away snapshots of an OpenXT host that went down, and images that came half into the storage. */
static void sweep_disks(Manager *m)
{
        const char *folder = paths_get(manager_paths(m), PATH_DISKS);
        DIR *d = opendir(folder);

        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
                _cleanup_free_ char *path = path_join(folder, e->d_name);

                if (!path || !is_left_over(e->d_name) || disk_is_used(m, NULL, path))
                        continue;
                if (unlink(path) >= 0)
                        log_notice("The left-over file %s is removed", path);
        }
        if (d)
                (void) closedir(d);
}

void delete_resume(Manager *m)
{
        _cleanup_strv_ char **uuids = NULL;

        (void) intent_list(manager_paths(m), INTENT_DELETE, &uuids);
        for (char **u = uuids; u && *u; u++)
                if (!manager_find_vm(m, *u)) {
                        log_notice("The deletion of %s was interrupted; it goes on", *u);
                        delete_files(m, *u);
                }
        uuids = strv_free(uuids);
        (void) intent_list(manager_paths(m), INTENT_DISKS, &uuids);
        for (char **u = uuids; u && *u; u++)
                settle_disks(m, *u, -1);
        sweep_disks(m);
}

static void on_deleted(const sd_bus_error *error, void *userdata)
{
        Delete *w = userdata;
        _cleanup_free_ char *text =
                error ? strformat("The database did not take it: %s", strempty(error->message)) : NULL;

        if (error)
                intent_clear(manager_paths(w->manager), w->uuid, INTENT_DELETE);
        else
                delete_files(w->manager, w->uuid);
        delete_end(w, error ? strempty(text) : NULL);
}

/* Whether one of the VM's disks is of that path, which is mapped, and shared. */
static bool is_shared_disk(Vm *vm, const char *mapped)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *own = NULL;
                char path[64];

                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                own = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                snprintf(path, sizeof path, "config/disk/%u/shared", ids[i]);
                if (!own || (streq(own, mapped) && vm_bool(vm, path, false)))
                        return true;
        }
        return false;
}

/* Images that came into the storage for this VM are named after its uuid, whatever disks it has by now. */
static int image_files(Vm *vm, char ***l, char ***used)
{
        const char *folder = paths_get(manager_paths(vm->manager), PATH_DISKS);
        DIR *d = opendir(folder);
        int r = 0;

        for (struct dirent *e = d ? readdir(d) : NULL; r >= 0 && e; e = readdir(d)) {
                const char *rest = startswith(e->d_name, vm->uuid);
                _cleanup_free_ char *path = rest && *rest == '-' ? path_join(folder, e->d_name) : NULL;

                if (!path || strv_contains(*l, path))
                        continue;
                r = strv_extend(disk_is_used(vm->manager, vm, path) || is_shared_disk(vm, path) ? used : l, path);
        }
        if (d)
                (void) closedir(d);
        return r;
}

/* The files that go with the VM, one a line. */
static int list_files(Delete *w, Vm *vm, char **ret)
{
        _cleanup_strv_ char **l = NULL;
        unsigned ids[DISKS_MAX];
        size_t n = vm_has(vm, "backend") || w->files == DELETE_NOTHING ? 0 : vm_record_ids(vm, "disk", ids, DISKS_MAX);
        StrBuf b = STRBUF_INIT;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = disk_files(vm, ids[i], &l);
        if (r >= 0 && w->files == DELETE_IMAGES)
                r = image_files(vm, &l, &w->used);
        for (char **f = l; r >= 0 && f && *f; f++)
                if (access(*f, F_OK) >= 0)
                        r = strv_extend(&w->listed, *f);
        if (r < 0)
                return r;
        strbuf_add(&b, "");
        for (char **f = l; f && *f; f++)
                if (!strchr(*f, '\n'))
                        strbuf_addf(&b, "%s\n", *f);
        return strbuf_take(&b, ret);
}

static void delete_go(Delete *w)
{
        Vm *vm = manager_find_vm(w->manager, w->uuid);
        _cleanup_free_ char *files = NULL;
        char path[64];
        DbTx *tx;
        int r;

        if (!vm || vm_may_run(vm)) {
                _cleanup_free_ char *text = error_format(ERROR_RUNNING, NULL);

                delete_end(w, vm ? strempty(text) : NULL);
                return;
        }
        r = w->manager->bus ? list_files(w, vm, &files) : -ENOTCONN;
        if (r >= 0)
                r = intent_set(manager_paths(w->manager), w->uuid, INTENT_DELETE, files);
        if (r < 0) {
                _cleanup_free_ char *text = error_format(ERROR_IO, strerror(-r));

                delete_end(w, strempty(text));
                return;
        }
        tx = db_tx_new();
        snprintf(path, sizeof path, "/vm/%s", w->uuid);
        r = db_tx_rm(tx, path);
        snprintf(path, sizeof path, "/dom-store/%s", w->uuid);
        if (r >= 0)
                r = db_tx_rm(tx, path);
        if (r >= 0)
                r = cd_drives_forget(w->manager, w->uuid, tx);
        if (r >= 0)
                r = db_tx_commit(tx, w->manager->bus, on_deleted, w);
        else
                db_tx_free(tx);
        if (r < 0) {
                intent_clear(manager_paths(w->manager), w->uuid, INTENT_DELETE);
                delete_end(w, strerror(-r));
        }
}

static void on_delete_hook(const char *error, void *userdata)
{
        Delete *w = userdata;
        _cleanup_free_ char *text = error ? error_format(ERROR_IO, error) : NULL;

        if (error)
                delete_end(w, strempty(text));
        else
                delete_go(w);
}

int delete_vm(Vm *vm, bool unrestricted, DeleteFiles files, Call *c)
{
        Delete *w;
        int r;

        if (!unrestricted && db_bool(vm->manager, "/vm-delete-disallowed", false))
                return call_fail_code(c, ERROR_HOST_POLICY, NULL);
        if (vm_may_run(vm) || vm->job || vm->deleting)
                return call_fail_code(c, ERROR_RUNNING, vm->deleting ? "it is being deleted" : NULL);
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (Delete) { .manager = vm->manager, .files = files, .call = call_ref(c) };
        memcpy(w->uuid, vm->uuid, sizeof w->uuid);
        vm->deleting = true;
        r = hook_run(vm, "run-pre-delete", NULL, on_delete_hook, w, NULL);
        if (r == 0)
                delete_go(w);
        else if (r < 0)
                delete_end(w, strerror(-r));
        return 0;
}

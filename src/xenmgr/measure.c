/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "measure.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "lifecycle.h"
#include "log.h"
#include "sha.h"
#include "strbuf.h"

#define BLOCK (1 * MIB)
#define MEASURES_MAX 8 /* at once */
#define STALL_USEC (60 * USEC_PER_SEC)
#define STALL_LOOKS 6 /* in that time, so that a manager that was stopped itself does not blame a disk */

enum { SUM_SHA1, SUM_SHA256, _SUM_MAX };

static const struct {
        const char *key, *name;
        Sha begin;
} sums[_SUM_MAX] = {
        [SUM_SHA1] = { "sha1sum", "SHA-1", SHA1_INIT },
        [SUM_SHA256] = { "sha256sum", "SHA-256", SHA256_INIT },
};

/* One disk that is looked at. */
typedef struct Item {
        unsigned id;
        int fd; /* names it only, until the thread opens it */
        off_t size; /* 0: not known before that */
        char *path, *wanted[_SUM_MAX]; /* wanted NULL: stored now */
        char found[_SUM_MAX][SHA_HEX_MAX];
        int result;
} Item;

struct Measure {
        Manager *manager;
        char uuid[37];
        MeasureDone done; /* NULL: it was called off, and goes when its thread ends */
        void *userdata;
        Item items[DISKS_MAX];
        size_t n;
        atomic_bool stop;
        atomic_uint_fast64_t looked_at, total;
        atomic_size_t at;
        uint64_t seen; /* of looked_at, when it last was another */
        unsigned unchanged;
        sd_event_source *stall;
};

static unsigned n_measures;

/* In the thread: this may wait for the disk already. */
static int open_named(Measure *w, Item *item)
{
        char path[32];
        off_t size;
        int fd;

        if (item->fd < 0)
                return item->fd;
        snprintf(path, sizeof path, "/proc/self/fd/%d", item->fd);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        safe_close(item->fd);
        item->fd = fd;
        size = lseek(fd, 0, SEEK_END);
        if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        w->total += (uint64_t) (size - item->size);
        return 0;
}

static int measure_file(Measure *w, Item *item, uint8_t *data)
{
        Sha s[_SUM_MAX] = { sums[SUM_SHA1].begin, sums[SUM_SHA256].begin };

        for (;;) {
                ssize_t n = read(item->fd, data, BLOCK);

                if (n < 0)
                        return -errno;
                if (w->stop)
                        return -ECANCELED;
                if (n == 0)
                        break;
                for (size_t k = 0; k < _SUM_MAX; k++)
                        sha_add(&s[k], data, (size_t) n);
                w->looked_at += (uint64_t) n;
        }
        for (size_t k = 0; k < _SUM_MAX; k++)
                sha_end_hex(&s[k], item->found[k]);
        return 0;
}

static void measure_work(void *userdata)
{
        Measure *w = userdata;
        _cleanup_free_ uint8_t *data = malloc(BLOCK);

        for (w->at = 0; w->at < w->n && !w->stop; w->at++)
                w->items[w->at].result = open_named(w, &w->items[w->at]);
        for (w->at = 0; w->at < w->n && !w->stop; w->at++) {
                Item *item = &w->items[w->at];

                if (item->result >= 0)
                        item->result = data ? measure_file(w, item, data) : -ENOMEM;
        }
}

static void measure_free(Measure *w)
{
        sd_event_source_disable_unref(w->stall);
        for (size_t i = 0; i < w->n; i++) {
                safe_close(w->items[i].fd);
                free(w->items[i].path);
                for (size_t k = 0; k < _SUM_MAX; k++)
                        free(w->items[i].wanted[k]);
        }
        free(w);
}

Measure *measure_cancel(Measure *w)
{
        if (!w)
                return NULL;
        w->stop = true;
        w->done = NULL;
        w->stall = sd_event_source_disable_unref(w->stall);
        return NULL;
}

/* The reason is told, the thread left to itself: what it waits for in the kernel may never come. */
static int on_look(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Measure *w = userdata;
        const Item *item = &w->items[MIN2((size_t) w->at, w->n - 1)];
        uint64_t limit = lifecycle_scaled(STALL_USEC), now = w->looked_at;
        _cleanup_free_ char *why = NULL;
        MeasureDone done = w->done;

        w->unchanged = now == w->seen ? w->unchanged + 1 : 0;
        w->seen = now;
        if (w->unchanged < STALL_LOOKS) {
                (void) sd_event_source_set_time_relative(s, limit / STALL_LOOKS);
                return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        }
        why = strformat("disk %u (%s) cannot be read: nothing has come of it for %d s", item->id, item->path,
                        (int) (limit / USEC_PER_SEC));
        (void) measure_cancel(w);
        done(false, strempty(why), w->userdata);
        return 0;
}

void measure_progress(const Measure *w, uint64_t *ret_done, uint64_t *ret_total)
{
        *ret_done = w->looked_at;
        *ret_total = w->total;
}

/* NULL: the disk is what it was. */
static char *what_is_wrong(const Item *item)
{
        if (item->result < 0)
                return strformat("disk %u (%s) cannot be read: %s", item->id, item->path, strerror(-item->result));
        for (size_t k = 0; k < _SUM_MAX; k++)
                if (item->wanted[k] && strcasecmp(item->wanted[k], item->found[k]) != 0)
                        return strformat("disk %u (%s) has changed: its %s is %s, not %s", item->id, item->path, sums[k].name,
                                         item->found[k], item->wanted[k]);
        return NULL;
}

static void store_new(const Measure *w)
{
        Vm *vm = manager_find_vm(w->manager, w->uuid);

        for (size_t i = 0; vm && i < w->n; i++) {
                char disk[64], path[VM_PATH_MAX];
                DbTx *tx = NULL;

                snprintf(disk, sizeof disk, "config/disk/%u", w->items[i].id);
                for (size_t k = 0; k < _SUM_MAX; k++) {
                        if (w->items[i].wanted[k])
                                continue;
                        tx = tx ? tx : vm_tx_new(vm, disk);
                        (void) db_tx_write(tx, vm_db_path(vm, path, "%s/%s", disk, sums[k].key), w->items[i].found[k]);
                }
                if (tx)
                        vm_commit_quietly(vm, tx, "sums of disks");
        }
}

static void measured(void *userdata)
{
        Measure *w = userdata;
        MeasureDone done = w->done;
        void *data = w->userdata;
        _cleanup_free_ char *why = NULL;

        n_measures--;
        for (size_t i = 0; done && i < w->n && !why; i++)
                why = what_is_wrong(&w->items[i]);
        if (done && !why)
                store_new(w);
        measure_free(w);
        if (done)
                done(!why, strempty(why), data);
}

/* Does not open it, which could take its time. Returns a descriptor, or negative errno. */
static int name_disk(const Paths *paths, const char *path, off_t *ret_size)
{
        _cleanup_close_ int fd = paths_open_disk(paths, path, O_PATH);
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return -EINVAL;
        *ret_size = st.st_size;
        return TAKE_FD(fd);
}

static int add_disks(Measure *w, Vm *vm, bool bypass)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                Item *item = &w->items[w->n];
                const char *stored[_SUM_MAX];
                bool any = false;
                char path[64];

                for (size_t k = 0; k < _SUM_MAX; k++) {
                        snprintf(path, sizeof path, "config/disk/%u/%s", ids[i], sums[k].key);
                        stored[k] = vm_text(vm, path, "");
                        any = any || *stored[k];
                }
                if (any ? bypass : ids[i] != 0)
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                item->id = ids[i];
                item->fd = -EBADF;
                item->path = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                w->n++;
                for (size_t k = 0; k < _SUM_MAX; k++) {
                        item->wanted[k] = *stored[k] ? strdup(stored[k]) : NULL;
                        if (*stored[k] && !item->wanted[k])
                                return -ENOMEM;
                }
                if (!item->path)
                        return -ENOMEM;
                item->fd = name_disk(manager_paths(vm->manager), item->path, &item->size);
                w->total += (uint64_t) item->size;
        }
        return 0;
}

int measure_start(Vm *vm, MeasureDone done, void *userdata, Measure **ret)
{
        Measure *w;
        int r;

        if (!vm_bool(vm, "measured", false))
                return 0;
        if (n_measures >= MEASURES_MAX)
                return -EBUSY;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        w->manager = vm->manager;
        w->done = done;
        w->userdata = userdata;
        memcpy(w->uuid, vm->uuid, sizeof w->uuid);
        r = add_disks(w, vm, db_bool(vm->manager, "/xenmgr/bypass-sha1sum-checks", false));
        if (r >= 0 && w->n > 0) {
                r = sd_event_add_time_relative(vm->manager->event, &w->stall, CLOCK_MONOTONIC,
                                               lifecycle_scaled(STALL_USEC) / STALL_LOOKS, 0, on_look, w);
                if (r >= 0)
                        r = background_run(vm->manager->event, measure_work, measured, w);
                if (r >= 0) {
                        n_measures++;
                        *ret = w;
                        return 1;
                }
        }
        measure_free(w);
        return r;
}

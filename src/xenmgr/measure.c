/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "measure.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "sha.h"
#include "strbuf.h"

#define BLOCK (1 * MIB)

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
        char *path, *wanted[_SUM_MAX]; /* wanted NULL: stored now */
        char found[_SUM_MAX][SHA_HEX_MAX];
        int result;
} Item;

struct Measure {
        Manager *manager;
        char uuid[37];
        MeasureDone done;
        void *userdata;
        Item items[DISKS_MAX];
        size_t n;
        pthread_t thread;
        int event_fd;
        atomic_bool stop;
        atomic_uint_fast64_t looked_at;
        uint64_t total;
        sd_event_source *event;
};

static int measure_file(Measure *w, Item *item, uint8_t *data)
{
        _cleanup_close_ int fd = open(item->path, O_RDONLY | O_CLOEXEC);
        Sha s[_SUM_MAX] = { sums[SUM_SHA1].begin, sums[SUM_SHA256].begin };

        if (fd < 0)
                return -errno;
        for (;;) {
                ssize_t n = read(fd, data, BLOCK);

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

static void *measure_thread(void *userdata)
{
        Measure *w = userdata;
        _cleanup_free_ uint8_t *data = malloc(BLOCK);
        uint64_t one = 1;

        for (size_t i = 0; i < w->n && !w->stop; i++)
                w->items[i].result = data ? measure_file(w, &w->items[i], data) : -ENOMEM;
        (void) !write(w->event_fd, &one, sizeof one);
        return NULL;
}

static void measure_free(Measure *w)
{
        sd_event_source_disable_unref(w->event);
        safe_close(w->event_fd);
        for (size_t i = 0; i < w->n; i++) {
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
        (void) pthread_join(w->thread, NULL);
        measure_free(w);
        return NULL;
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

static int on_measured(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        Measure *w = userdata;
        MeasureDone done = w->done;
        void *data = w->userdata;
        _cleanup_free_ char *why = NULL;

        (void) pthread_join(w->thread, NULL);
        for (size_t i = 0; i < w->n && !why; i++)
                why = what_is_wrong(&w->items[i]);
        if (!why)
                store_new(w);
        measure_free(w);
        done(!why, strempty(why), data);
        return 0;
}

static int add_disks(Measure *w, Vm *vm, bool bypass)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                Item *item = &w->items[w->n];
                _cleanup_close_ int fd = -EBADF;
                const char *stored[_SUM_MAX];
                bool any = false;
                char path[64];
                off_t size;

                for (size_t k = 0; k < _SUM_MAX; k++) {
                        snprintf(path, sizeof path, "config/disk/%u/%s", ids[i], sums[k].key);
                        stored[k] = vm_text(vm, path, "");
                        any = any || *stored[k];
                }
                if (any ? bypass : ids[i] != 0)
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                item->id = ids[i];
                item->path = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                w->n++;
                for (size_t k = 0; k < _SUM_MAX; k++) {
                        item->wanted[k] = *stored[k] ? strdup(stored[k]) : NULL;
                        if (*stored[k] && !item->wanted[k])
                                return -ENOMEM;
                }
                if (!item->path)
                        return -ENOMEM;
                fd = open(item->path, O_RDONLY | O_CLOEXEC);
                size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
                w->total += size > 0 ? (uint64_t) size : 0;
        }
        return 0;
}

int measure_start(Vm *vm, MeasureDone done, void *userdata, Measure **ret)
{
        Measure *w;
        int r;

        if (!vm_bool(vm, "measured", false))
                return 0;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        w->manager = vm->manager;
        w->done = done;
        w->userdata = userdata;
        w->event_fd = -EBADF;
        memcpy(w->uuid, vm->uuid, sizeof w->uuid);
        r = add_disks(w, vm, db_bool(vm->manager, "/xenmgr/bypass-sha1sum-checks", false));
        if (r >= 0 && w->n > 0) {
                w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                r = w->event_fd < 0
                            ? -errno
                            : sd_event_add_io(vm->manager->event, &w->event, w->event_fd, EPOLLIN, on_measured, w);
                if (r >= 0)
                        r = -pthread_create(&w->thread, NULL, measure_thread, w);
                if (r >= 0) {
                        *ret = w;
                        return 1;
                }
        }
        measure_free(w);
        return r;
}

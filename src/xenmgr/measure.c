/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "measure.h"

#include <fcntl.h>
#include <pthread.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "sha1.h"
#include "strbuf.h"

#define BLOCK (1 * MIB)

int sha1_file(const char *path, const volatile bool *stop, char ret[static 41])
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ uint8_t *data = malloc(BLOCK);
        uint8_t sum[SHA1_SIZE];
        Sha1 s = SHA1_INIT;

        if (fd < 0)
                return -errno;
        if (!data)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, data, BLOCK);

                if (n < 0)
                        return -errno;
                if (stop && *stop)
                        return -ECANCELED;
                if (n == 0)
                        break;
                sha1_add(&s, data, (size_t) n);
        }
        sha1_end(&s, sum);
        for (size_t i = 0; i < SHA1_SIZE; i++)
                snprintf(ret + i * 2, 3, "%02x", sum[i]);
        return 0;
}

/* One disk that is looked at. */
typedef struct Item {
        unsigned id;
        char *path, *wanted; /* wanted NULL: stored for the first time */
        char sum[41];
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
        volatile bool stop;
        sd_event_source *event;
};

static void *measure_thread(void *userdata)
{
        Measure *w = userdata;
        uint64_t one = 1;

        for (size_t i = 0; i < w->n && !w->stop; i++)
                w->items[i].result = sha1_file(w->items[i].path, &w->stop, w->items[i].sum);
        (void) !write(w->event_fd, &one, sizeof one);
        return NULL;
}

static void measure_free(Measure *w)
{
        sd_event_source_disable_unref(w->event);
        safe_close(w->event_fd);
        for (size_t i = 0; i < w->n; i++) {
                free(w->items[i].path);
                free(w->items[i].wanted);
        }
        free(w);
}

/* Waits for the block that is being read, not for the file. */
Measure *measure_cancel(Measure *w)
{
        if (!w)
                return NULL;
        w->stop = true;
        (void) pthread_join(w->thread, NULL);
        measure_free(w);
        return NULL;
}

static int on_measured(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t events, void *userdata)
{
        Measure *w = userdata;
        MeasureDone done = w->done;
        void *data = w->userdata;
        _cleanup_free_ char *why = NULL;
        bool good = true;

        (void) pthread_join(w->thread, NULL);
        for (size_t i = 0; i < w->n && good; i++) {
                Item *item = &w->items[i];

                if (item->result < 0)
                        why = strformat("disk %u (%s) cannot be read: %s", item->id, item->path,
                                        strerror(-item->result));
                else if (item->wanted && strcasecmp(item->wanted, item->sum) != 0)
                        why = strformat("disk %u (%s) has changed: its SHA-1 is %s, not %s", item->id, item->path,
                                        item->sum, item->wanted);
                else if (!item->wanted) {
                        DbTx *tx = db_tx_new();
                        char path[128];

                        snprintf(path, sizeof path, "/vm/%s/config/disk/%u/sha1sum", w->uuid, item->id);
                        (void) db_tx_write(tx, path, item->sum);
                        manager_commit_quietly(w->manager, tx, path);
                }
                good = item->result >= 0 && (!item->wanted || strcasecmp(item->wanted, item->sum) == 0);
        }
        measure_free(w);
        done(good, strempty(why), data);
        return 0;
}

static int add_disks(Measure *w, Vm *vm, bool bypass)
{
        unsigned ids[DISKS_MAX];
        size_t n = vm_record_ids(vm, "disk", ids, DISKS_MAX);

        for (size_t i = 0; i < n; i++) {
                Item *item = &w->items[w->n];
                const char *sum;
                char path[64];

                snprintf(path, sizeof path, "config/disk/%u/sha1sum", ids[i]);
                sum = vm_text(vm, path, "");
                if (*sum ? bypass : ids[i] != 0)
                        continue;
                snprintf(path, sizeof path, "config/disk/%u/path", ids[i]);
                item->id = ids[i];
                item->path = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
                item->wanted = *sum ? strdup(sum) : NULL;
                w->n++;
                if (!item->path || (*sum && !item->wanted))
                        return -ENOMEM;
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "import.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "background.h"
#include "delete.h"
#include "fs.h"
#include "list.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"

#define CHUNK ((size_t) 8 * MIB)
#define RUNNING_MAX 4 /* each has a thread, of which there are BACKGROUND_MAX */
#define IMPORTS_MAX 256
#define NUMBER_MAX 9999
#define SUFFIX_MAX 16
#define TELL_USEC (250 * USEC_PER_MSEC)

typedef struct Import Import;
struct Import {
        Manager *manager;
        Import *next, **pprev;
        Call *call; /* NULL: it was answered */
        NameWatch *watch; /* NULL: the caller has gone */
        sd_event_source *timer;
        char *caller, *shown; /* shown: as the contract names it */
        bool running;
        /* The thread's, while it runs. */
        int fd;
        char *file;
        uint64_t size;
        int result;
        bool cloned;
        _Atomic uint64_t done;
        _Atomic bool cancelled;
};

static void import_free(Import *i)
{
        LIST_UNLINK(i);
        call_unref(i->call);
        name_watch_free(i->watch);
        sd_event_source_disable_unref(i->timer);
        safe_close(i->fd);
        free(i->caller);
        free(i->shown);
        free(i->file);
        free(i);
}

/* The caller needs it no more: what runs is called off, what no VM has as a disk goes. */
static void import_end(Import *i)
{
        i->watch = name_watch_free(i->watch);
        atomic_store(&i->cancelled, true);
        if (i->running)
                return; /* import_done() ends it */
        if (access(i->file, F_OK) >= 0 && !disk_is_used(i->manager, NULL, i->file)) {
                int r = remove_image(i->manager, i->file);

                if (r < 0)
                        log_errno_full(LOG_WARNING, r, "Cannot remove %s", i->file);
                else
                        log_notice("%s, which no VM has taken, is removed", i->file);
        }
        import_free(i);
}

/* ---- in the thread ---- */

static int copy_range(Import *i, int to, off_t start, off_t end)
{
        while (start < end) {
                off_t in = start, out = start;
                ssize_t n = copy_file_range(i->fd, &in, to, &out, MIN2((size_t) (end - start), CHUNK), 0);

                if (atomic_load(&i->cancelled))
                        return -ECANCELED;
                if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
                        _cleanup_free_ char *buf = malloc(MIB);

                        if (!buf)
                                return -ENOMEM;
                        n = pread(i->fd, buf, MIN2((size_t) (end - start), (size_t) MIB), start);
                        if (n > 0)
                                n = pwrite(to, buf, (size_t) n, start);
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO; /* it became shorter while it was read */
                start += n;
                atomic_store(&i->done, (uint64_t) start);
        }
        return 0;
}

/* Holes stay holes. */
static int copy_data(Import *i, int to, off_t size)
{
        off_t data = 0, hole;
        struct statvfs fs;
        struct stat st;
        int r;

        if (ioctl(to, FICLONE, i->fd) >= 0) {
                i->cloned = true;
                return 0;
        }
        if (fstat(i->fd, &st) < 0 || fstatvfs(to, &fs) < 0)
                return -errno;
        if ((uint64_t) st.st_blocks * 512 > (uint64_t) fs.f_bavail * fs.f_frsize)
                return -ENOSPC;
        if (ftruncate(to, size) < 0)
                return -errno;
        while (data < size) {
                data = lseek(i->fd, data, SEEK_DATA);
                if (data < 0) {
                        if (errno == ENXIO) /* nothing but a hole up to the end */
                                break;
                        data = 0;
                        hole = size;
                } else {
                        hole = lseek(i->fd, data, SEEK_HOLE);
                        if (hole < 0)
                                hole = size;
                }
                r = copy_range(i, to, data, MIN2(hole, size));
                if (r < 0)
                        return r;
                data = hole;
        }
        return 0;
}

static int import_copy(Import *i)
{
        _cleanup_free_ char *dir = strndup(i->file, (size_t) (strrchr(i->file, '/') - i->file)), *part = strformat("%s.part", i->file);
        _cleanup_close_ int to = -EBADF;
        int r;

        if (!dir || !part)
                return -ENOMEM;
        r = mkdir_parents(dir, 0755);
        if (r < 0)
                return r;
        if (access(i->file, F_OK) == 0)
                return -EEXIST;
        to = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (to < 0)
                return -errno;
        r = copy_data(i, to, (off_t) i->size);
        if (r >= 0 && (fsync(to) < 0 || rename(part, i->file) < 0))
                r = -errno;
        if (r < 0)
                (void) unlink(part);
        return r;
}

static void import_work(void *data)
{
        Import *i = data;

        i->result = import_copy(i);
}

/* ---- in the event loop ---- */

static void import_done(void *data)
{
        Import *i = data;

        i->running = false;
        i->timer = sd_event_source_disable_unref(i->timer);
        if (i->result < 0) {
                (void) call_fail(i->call, DBUS_ERROR_FAILED, "%s: %s", i->file, strerror(-i->result));
                import_free(i);
                return;
        }
        (void) call_reply(i->call, "ss", i->shown, i->cloned ? "cloned" : "copied");
        i->call = call_unref(i->call);
        i->fd = safe_close(i->fd);
        if (atomic_load(&i->cancelled))
                import_end(i);
}

static void on_caller_gone(void *userdata)
{
        import_end(userdata);
}

static int on_tell(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        const Import *i = userdata;

        if (i->manager->daemon->service)
                (void) service_emit(i->manager->daemon->service, "/", "org.oxt.Xenmgr1", "Progress", "sstt", "import", i->shown,
                                    atomic_load(&i->done), i->size);
        (void) sd_event_source_set_time_relative(s, TELL_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static bool suffix_ok(const char *s)
{
        return *s && strlen(s) <= SUFFIX_MAX && *s != '.' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.") == strlen(s);
}

static int import_begin(Import *i, Call *c)
{
        Manager *m = i->manager;
        int r = 0;

        if (!i->caller || !i->shown || !i->file)
                return -ENOMEM;
        if (i->fd < 0)
                return -errno;
        r = name_watch_new(m->bus, i->caller, on_caller_gone, i, &i->watch);
        if (r >= 0)
                r = sd_event_add_time_relative(m->event, &i->timer, CLOCK_MONOTONIC, TELL_USEC, 0, on_tell, i);
        if (r >= 0)
                r = background_run(m->event, import_work, import_done, i);
        if (r >= 0) {
                i->call = call_ref(c);
                i->running = true;
        }
        return r;
}

static int method_import(Call *c)
{
        Manager *m = c->userdata;
        const char *uuid, *suffix;
        size_t n = 0, running = 0;
        char name[80];
        uint32_t number;
        struct stat st;
        Import *i;
        int fd, r;

        if (refuse_guest(c, "A file of the storage"))
                return 0;
        r = sd_bus_message_read(c->message, "hsus", &fd, &uuid, &number, &suffix);
        if (r < 0)
                return r;
        if (!uuid_valid(uuid) || number > NUMBER_MAX || !suffix_ok(suffix))
                return call_fail(c, DBUS_ERROR_FAILED, "An image is given a VM's uuid, a number up to %d and a suffix", NUMBER_MAX);
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
                return call_fail(c, DBUS_ERROR_FAILED, "The descriptor is not of a file that can be read");
        snprintf(name, sizeof name, "%s-%u.%s", uuid, number, suffix);
        for (i = m->imports; i; i = i->next) {
                n++;
                running += i->running;
                if (endswith(i->file, name))
                        return call_fail(c, DBUS_ERROR_FAILED, "%s: %s", i->file, strerror(EEXIST));
        }
        if (running >= RUNNING_MAX || n >= IMPORTS_MAX)
                return call_fail(c, DBUS_ERROR_LIMITS_EXCEEDED, "At most %d images come into the storage at once, and %d wait for their VMs",
                                 RUNNING_MAX, IMPORTS_MAX);
        i = calloc(1, sizeof *i);
        if (!i)
                return -ENOMEM;
        i->manager = m;
        i->size = (uint64_t) st.st_size;
        i->caller = strdup(strempty(sd_bus_message_get_sender(c->message)));
        i->shown = strformat("/storage/disks/%s", name);
        i->file = paths_format(manager_paths(m), PATH_DISKS, "%s", name);
        i->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        LIST_LINK(m->imports, i);
        r = import_begin(i, c);
        if (r < 0)
                import_free(i);
        return r < 0 ? r : 0;
}

/* Before the caller tells its user that nothing is left; what it leaves behind else goes a moment after it. */
static int method_discard(Call *c)
{
        Manager *m = c->userdata;
        Import *next;

        for (Import *i = m->imports; i; i = next) {
                next = i->next;
                if (streq_ptr(i->caller, sd_bus_message_get_sender(c->message)))
                        import_end(i);
        }
        return 1;
}

void imports_bus_down(Manager *m)
{
        Import *next;

        for (Import *i = m->imports; i; i = next) {
                next = i->next;
                import_end(i);
        }
}

static const BusMethod methods[] = {
        { "Discard", "", "", "", "", method_discard, NULL },
        { "Import", "hsus", "image uuid number suffix", "ss", "path how", method_import, NULL },
        { 0 }
};

static const BusSignal signals[] = { { "Progress", "sstt", "what step done total" }, { 0 } };

const BusInterface import_interface = { .name = "org.oxt.Xenmgr1", .methods = methods, .signals = signals };

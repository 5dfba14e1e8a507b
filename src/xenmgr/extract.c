/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "extract.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "lifecycle.h"
#include "log.h"
#include "parse.h"
#include "runtime.h"
#include "spawn.h"
#include "strbuf.h"
#include "vhd.h"

#define EXTRACT_USEC (120 * USEC_PER_SEC)

static const char *const keys[] = { "kernel", "initrd" };

/* One of the two, as it is configured. */
typedef struct Source {
        unsigned disk, partition;
        const char *path; /* within the file system */
        char *image;
        bool vhd;
} Source;

struct Extract {
        Vm *vm;
        size_t at; /* in keys */
        ExtractDone done;
        void *userdata;
        char *target, *unfinished;
        int pidfd, errors;
        sd_event_source *exit, *timer;
};

static bool read_number(const char *s, const char *end, unsigned *ret)
{
        char text[16];
        uint64_t n;

        if (end - s >= (ptrdiff_t) sizeof text)
                return false;
        memcpy(text, s, (size_t) (end - s));
        text[end - s] = '\0';
        if (parse_u64(text, &n) < 0 || n > 1024)
                return false;
        *ret = (unsigned) n;
        return true;
}

/* "[disk[,partition]:]/path" */
static bool source_parse(const char *text, Source *ret)
{
        const char *colon = text[0] == '/' ? NULL : strchr(text, ':');
        const char *comma = colon ? memchr(text, ',', (size_t) (colon - text)) : NULL;

        *ret = (Source) { .path = colon ? colon + 1 : text };
        if (colon && !read_number(text, comma ? comma : colon, &ret->disk))
                return false;
        if (comma && (!read_number(comma + 1, colon, &ret->partition) || ret->partition == 0))
                return false;
        return ret->path[0] == '/';
}

/* NULL: *ret is whole (image to be freed). Else what is wrong, to free. */
static char *source_find(Vm *vm, const char *key, Source *ret)
{
        const char *text, *type;
        char path[64];
        VhdInfo info;

        snprintf(path, sizeof path, "config/%s-extract", key);
        text = vm_text(vm, path, "");
        if (!source_parse(text, ret))
                return strformat("%s-extract '%.128s' is not of the form [DISK[,PARTITION]:]/PATH", key, text);
        snprintf(path, sizeof path, "config/disk/%u", ret->disk);
        if (!vm_has(vm, path))
                return strformat("%s-extract names disk %u, which the VM does not have", key, ret->disk);
        snprintf(path, sizeof path, "config/disk/%u/type", ret->disk);
        type = vm_text(vm, path, "");
        ret->vhd = streq(type, "vhd");
        if (!words_contain("vhd aio file phy raw", type))
                return strformat("files are taken out of disks of type vhd, aio, file, phy and raw, and disk %u is of type %.16s",
                                 ret->disk, type);
        snprintf(path, sizeof path, "config/disk/%u/path", ret->disk);
        ret->image = paths_map(manager_paths(vm->manager), vm_text(vm, path, ""));
        if (ret->image && ret->vhd && vhd_info(ret->image, &info) >= 0 && (info.has_key || info.differencing)) {
                free(TAKE_PTR(ret->image));
                return strformat("disk %u %s: nothing is taken out of it", ret->disk,
                                 info.has_key ? "is encrypted" : "is a VHD that builds on another");
        }
        return ret->image ? NULL : strdup("Out of memory");
}

static bool wanted(Vm *vm, const char *key)
{
        char path[64];

        snprintf(path, sizeof path, "config/%s-extract", key);
        return !vm_is_hvm(vm) && *vm_text(vm, path, "");
}

char *extract_check(Vm *vm, const char *key)
{
        Source s = { 0 };
        char *why;

        if (!wanted(vm, key))
                return NULL;
        why = source_find(vm, key, &s);
        free(s.image);
        if (!why && !spawn_program_path(SPAWN_EXTRACT))
                why = strdup("oxt-extract, which takes files out of disks, is not installed");
        return why;
}

char *extract_target(Vm *vm, const char *key)
{
        const Paths *p = manager_paths(vm->manager);
        const char *configured;
        char path[64];

        snprintf(path, sizeof path, "config/%s", key);
        configured = vm_text(vm, path, "");
        if (*configured)
                return paths_map(p, configured);
        return wanted(vm, key) ? paths_format(p, PATH_VM, "%s/%s", vm->uuid, key) : NULL;
}

static void extract_free(Extract *e)
{
        sd_event_source_disable_unref(e->exit);
        sd_event_source_disable_unref(e->timer);
        if (e->pidfd >= 0) {
                (void) pidfd_send_signal(e->pidfd, SIGKILL, NULL, 0);
                background_reap(e->vm->manager->event, e->pidfd);
        }
        if (e->unfinished)
                (void) unlink(e->unfinished);
        safe_close(e->errors);
        free(e->target);
        free(e->unfinished);
        free(e);
}

Extract *extract_cancel(Extract *e)
{
        if (e)
                extract_free(e);
        return NULL;
}

static char *cannot(const char *what, const char *why)
{
        return strformat("the %s cannot be taken out of the disk: %s", what, why);
}

static void extract_end(Extract *e, const char *what, const char *why)
{
        _cleanup_free_ char *text = why ? cannot(what, why) : NULL;
        ExtractDone done = e->done;
        void *userdata = e->userdata;

        extract_free(e);
        done(why ? strempty(text) : NULL, userdata);
}

static int extract_next(Extract *e, char **ret_why);

static int on_reader_exit(_unused_ sd_event_source *s, int fd, _unused_ uint32_t events, void *userdata)
{
        Extract *e = userdata;
        const char *what = keys[e->at];
        _cleanup_free_ char *why = NULL;
        char untrusted_text[256], shown[256];
        siginfo_t si = { 0 };
        ssize_t n;
        int r;

        if (waitid(P_PIDFD, (id_t) fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return 0;
        e->pidfd = safe_close(e->pidfd);
        if (si.si_code != CLD_EXITED || si.si_status != 0) {
                n = read(e->errors, untrusted_text, sizeof untrusted_text - 1);
                untrusted_text[MAX2(n, (ssize_t) 0)] = '\0';
                why = si.si_code == CLD_EXITED ? strdup(log_untrusted(shown, sizeof shown, untrusted_text))
                                               : strformat("its reader was ended by signal %d", si.si_status);
                extract_end(e, what, strempty(why));
                return 0;
        }
        /* The copy is complete, or not there. */
        if (rename(e->unfinished, e->target) < 0) {
                extract_end(e, what, strerror(errno));
                return 0;
        }
        free(TAKE_PTR(e->unfinished));
        log_info("%s: its %s was taken out of its disk", e->vm->uuid, what);
        e->at++;
        r = extract_next(e, &why);
        if (r <= 0)
                extract_end(e, keys[MIN2(e->at, ELEMENTSOF(keys) - 1)], r < 0 ? why ? why : strerror(-r) : NULL);
        return 0;
}

static int on_time_out(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Extract *e = userdata;

        extract_end(e, keys[e->at], "it takes too long");
        return 0;
}

/* Starts the process for the next one. Returns 0 when there is none, 1, or negative errno, mostly with *ret_why. */
static int extract_next(Extract *e, char **ret_why)
{
        const Paths *p = manager_paths(e->vm->manager);
        _cleanup_close_ int image = -EBADF, out = -EBADF;
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        char partition[16], *args[6];
        Source s = { 0 };
        int fds[2], r;

        while (e->at < ELEMENTSOF(keys) && !wanted(e->vm, keys[e->at]))
                e->at++;
        if (e->at == ELEMENTSOF(keys))
                return 0;
        *ret_why = source_find(e->vm, keys[e->at], &s);
        if (*ret_why)
                return -EINVAL;
        image = paths_open_disk(p, s.image, O_RDONLY | O_NONBLOCK);
        r = image < 0 ? image : 0;
        if (r < 0)
                *ret_why = strformat("disk %u (%s) cannot be opened: %s", s.disk, s.image, strerror(-r));
        free(s.image);
        free(e->target);
        e->target = extract_target(e->vm, keys[e->at]);
        e->unfinished = e->target ? strformat("%s.part", e->target) : NULL;
        if (r >= 0)
                r = e->unfinished ? runtime_make_vm_dir(p, e->vm->uuid) : -ENOMEM;
        if (r < 0)
                return r;
        (void) unlink(e->unfinished);
        out = open(e->unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (out < 0) {
                *ret_why = strformat("%s cannot be written: %s", e->unfinished, strerror(errno));
                return -errno;
        }
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        safe_close(e->errors);
        e->errors = fds[0];
        snprintf(partition, sizeof partition, "%u", s.partition);
        args[0] = (char *) "--format";
        args[1] = (char *) (s.vhd ? "vhd" : "raw");
        args[2] = (char *) "--partition";
        args[3] = partition;
        args[4] = (char *) s.path;
        args[5] = NULL;
        options.stdin_fd = image;
        options.stdout_fd = out;
        options.stderr_fd = fds[1];
        r = spawn(SPAWN_EXTRACT, args, &options, NULL, &e->pidfd);
        safe_close(fds[1]);
        if (r < 0) {
                e->pidfd = -EBADF;
                return r;
        }
        e->exit = sd_event_source_disable_unref(e->exit);
        e->timer = sd_event_source_disable_unref(e->timer);
        r = sd_event_add_io(e->vm->manager->event, &e->exit, e->pidfd, EPOLLIN, on_reader_exit, e);
        if (r >= 0)
                r = sd_event_add_time_relative(e->vm->manager->event, &e->timer, CLOCK_MONOTONIC, lifecycle_scaled(EXTRACT_USEC), 0, on_time_out, e);
        return r < 0 ? r : 1;
}

int extract_start(Vm *vm, ExtractDone done, void *userdata, Extract **ret, char **ret_why)
{
        _cleanup_free_ char *why = NULL;
        Extract *e = calloc(1, sizeof *e);
        int r;

        if (!e)
                return -ENOMEM;
        *e = (Extract) { .vm = vm, .done = done, .userdata = userdata, .pidfd = -EBADF, .errors = -EBADF };
        r = extract_next(e, &why);
        if (r > 0) {
                *ret = e;
                return 1;
        }
        if (r < 0)
                *ret_why = cannot(keys[e->at], why ? why : strerror(-r));
        extract_free(e);
        return r;
}

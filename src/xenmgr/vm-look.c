/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What belongs to a VM's monitor is opened here and handed over as a descriptor, so that everybody who may use
 * the host's tools can look at it, whichever users run the stack.
 */
#include "vm-look.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "list.h"
#include "log.h"
#include "monitor-client.h"

#define LOOK_USEC (10 * USEC_PER_SEC)
#define PICTURE_MAX (64 * MIB)

struct Look {
        Vm *vm;
        Call *call;
        MonitorCall *waits;
        char *file; /* of a picture */
        Look *next, **pprev;
};

static Look *look_free(Look *l)
{
        LIST_UNLINK(l);
        monitor_call_cancel(l->waits);
        if (l->file)
                (void) unlink(l->file);
        free(l->file);
        call_unref(l->call);
        free(l);
        return NULL;
}

void looks_drop(Vm *vm)
{
        while (vm->looks)
                look_free(vm->looks);
}

/* Asks the VM's monitor and keeps the call until done, which must free the Look. */
static int look_ask(Call *c, const char *what, const char *member, const char *file, MonitorReply done)
{
        const char *const args[] = { "file", file, NULL };
        Vm *vm = c->object;
        Look *l;
        int r;

        if (refuse_guest(c, what))
                return 0;
        if (!vm->monitor || !vm_is_running(vm))
                return call_fail(c, DBUS_ERROR_FAILED, "The VM does not run");
        l = calloc(1, sizeof *l);
        if (!l)
                return -ENOMEM;
        *l = (Look) { .vm = vm, .call = call_ref(c), .file = file ? strdup(file) : NULL };
        LIST_LINK(vm->looks, l);
        r = monitor_call(vm, member, file ? args : NULL, LOOK_USEC, done, l, &l->waits);
        if (r < 0)
                look_free(l);
        return r < 0 ? r : 0;
}

/* true: it failed, and the caller was told why. */
static bool look_failed(Look *l, const sd_bus_error *error)
{
        l->waits = NULL;
        if (!error)
                return false;
        _cleanup_free_ char *text = error_from_monitor(error->message ? error->message : error->name);

        (void) call_fail(l->call, DBUS_ERROR_FAILED, "%s", strempty(text));
        return true;
}

static int reply_fd(Call *c, int fd)
{
        return call_reply(c, "h", fd);
}

/* The serial console. One at a time: two would each get a part of what the guest says. */

static int open_terminal(const char *path)
{
        _cleanup_close_ int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (!isatty(fd))
                return -ENOTTY;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        return TAKE_FD(fd);
}

static int open_console(const char *place)
{
        const char *rest = startswith(place, "unix:");

        if (rest)
                return unix_connect(rest);
        rest = startswith(place, "/dev/pts/");
        return rest && *rest && !rest[strspn(rest, "0123456789")] ? open_terminal(place) : -ENOTTY;
}

static void on_console(_unused_ Vm *vm, const char *reply, const sd_bus_error *error, void *userdata)
{
        Look *l = userdata;

        if (!look_failed(l, error)) {
                _cleanup_close_ int fd = open_console(reply);

                if (fd >= 0)
                        (void) reply_fd(l->call, fd);
                else
                        (void) call_fail(l->call, DBUS_ERROR_FAILED, "%s: %s", reply,
                                         fd == -EBUSY ? "somebody else has the console open" : strerror(-fd));
        }
        look_free(l);
}

int method_console(Call *c)
{
        return look_ask(c, "The console", "console", NULL, on_console);
}

/* The screen: QEMU writes the picture where it may, into the VM's own folder. */

static void on_picture(_unused_ Vm *vm, _unused_ const char *reply, const sd_bus_error *error, void *userdata)
{
        Look *l = userdata;

        if (!look_failed(l, error)) {
                _cleanup_close_ int fd = open(l->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
                struct stat st;

                /* Whoever has the answer finds no file any more. */
                (void) unlink(l->file);
                if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t) PICTURE_MAX)
                        (void) reply_fd(l->call, fd);
                else
                        (void) call_fail(l->call, DBUS_ERROR_FAILED, "The VM's device model has made no picture");
        }
        look_free(l);
}

int method_screenshot(Call *c)
{
        Vm *vm = c->object;
        _cleanup_free_ char *file = paths_format(manager_paths(vm->manager), PATH_VM, "%s/screen.png", vm->uuid);

        if (!file)
                return -ENOMEM;
        for (Look *l = vm->looks; l; l = l->next)
                if (l->file)
                        return call_fail(c, DBUS_ERROR_FAILED, "A picture is being taken already");
        return look_ask(c, "The screen", "screenshot", file, on_picture);
}

/* What the monitor, and QEMU, have logged. */

int method_log(Call *c)
{
        Vm *vm = c->object;
        _cleanup_free_ char *path = paths_format(manager_paths(vm->manager), PATH_VM_LOGS, "%s.log", vm->uuid);
        _cleanup_close_ int fd = -EBADF;

        if (refuse_guest(c, "The log"))
                return 0;
        if (!path)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
                return reply_fd(c, fd);
        return errno == ENOENT ? call_fail(c, DBUS_ERROR_FAILED, "The VM has no log: it was never started")
                               : call_fail(c, DBUS_ERROR_FAILED, "%s: %s", path, strerror(errno));
}

/* What it uses. */

static void on_usage(_unused_ Vm *vm, const char *reply, const sd_bus_error *error, void *userdata)
{
        Look *l = userdata;

        if (!look_failed(l, error))
                (void) call_reply(l->call, "s", reply);
        look_free(l);
}

int method_usage(Call *c)
{
        return look_ask(c, "What a VM uses", "usage", NULL, on_usage);
}

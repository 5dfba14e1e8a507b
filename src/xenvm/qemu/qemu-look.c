/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people look at: the serial console, the screen, and what the VM uses of the host. */
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "qemu-vm.h"
#include "strbuf.h"

/* The console */

/* That of a QEMU with a user of its own is found, and given to us, by oxt-helper; we may not look there. */
static void on_terminal(void *userdata, int r, const char *why, const char *name, int fd)
{
        Vm *vm = userdata;
        int64_t terminal;

        vm->terminal_call = NULL;
        safe_close(fd);
        if (r >= 0 && parse_i64(name, &terminal) >= 0)
                vm->terminal = terminal;
        else
                log_warning("The VM has no console: %s", why && *why ? why : strerror(-r));
}

void qemu_find_terminal(Vm *vm)
{
        const char *v = vm->spec.config->serial;
        char pid[24];
        const char *const parameters[] = { "pid", pid, NULL };

        if (vm->confined != CONFINED_BY_HELPER || vm->terminal_call || (*v && !streq(v, "pty")))
                return;
        snprintf(pid, sizeof pid, "%d", (int) vm->process.pid);
        (void) helper_call(vm->spec.event, vm->spec.paths, "console-give", parameters, on_terminal, vm, &vm->terminal_call);
}

char *qemu_console(const Vm *vm, char **ret_why)
{
        const char *v = vm->spec.config->serial, *rest = startswith(v, "unix:");
        int64_t terminal;

        if (streq(v, "none")) {
                *ret_why = strdup("the VM has no serial port (serial = none)");
                return NULL;
        }
        if (rest && strstr(rest, ",server"))
                return strformat("unix:%.*s", (int) strcspn(rest, ","), rest);
        if (*v && !streq(v, "pty")) {
                *ret_why = strformat("the serial port goes to %s: a console needs serial = pty", v);
                return NULL;
        }
        terminal = vm->confined == CONFINED_BY_HELPER ? vm->terminal : process_terminal(vm->process.pid);
        if (terminal >= 0)
                return strformat("/dev/pts/%lld", (long long) terminal);
        *ret_why = strdup("the terminal of the serial port cannot be found");
        return NULL;
}

/* The screen */

static void on_picture(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        QemuQuestion *q = userdata;
        json_object *args = json_object_new_object();

        if (args)
                json_object_object_add(args, "fdset-id", json_object_new_int64(q->number));
        (void) vm_request(q->vm, "remove-fd", args, NULL, NULL);
        operation_done(&q->operation, r < 0 ? -EIO : 0, r < 0 ? text : NULL);
}

static void on_picture_fd(void *userdata, int r, json_object *value, const char *text)
{
        QemuQuestion *q = userdata;
        json_object *args = json_object_new_object();
        char name[40];

        q->number = r >= 0 && json_object_is_type(value, json_type_object) ? json_get_int(value, "fdset-id", -1) : -1;
        snprintf(name, sizeof name, "/dev/fdset/%d", (int) q->number);
        if (r >= 0 && args && q->number >= 0) {
                json_object_object_add(args, "filename", json_object_new_string(name));
                json_object_object_add(args, "format", json_object_new_string("png"));
                r = vm_request(q->vm, "screendump", TAKE_PTR(args), on_picture, q);
                text = strerror(-r);
        }
        json_object_put(args);
        if (r < 0 || q->number < 0)
                operation_done(&q->operation, -EIO, r < 0 ? text : "QEMU takes no file for the picture");
}

/* QEMU gets the file as a descriptor: it can make none there. */
int qemu_screenshot(Vm *vm, const char *path, VmDone done, void *userdata)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        QemuQuestion *q;
        int r;

        if (fd < 0)
                return -errno;
        q = qemu_question_new(vm, done, userdata);
        if (!q)
                return -EBUSY;
        r = vm->qmp ? qmp_send(vm->qmp, "add-fd", NULL, fd, QMP_TIMEOUT, on_picture_fd, q) : -ENOTCONN;
        if (r < 0)
                q->operation = (Operation) { 0 };
        return r;
}

/* Use: numbers that only grow, so that whoever asks twice knows the rates. -1: unknown. */

static void read_process(pid_t pid, VmUsage *u)
{
        _cleanup_free_ char *stat = NULL, *statm = NULL;
        char path[64];
        unsigned long long user, system, pages;
        const char *p;

        snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
        if (read_file(path, 8192, &stat, NULL) >= 0 && (p = strrchr(stat, ')')) &&
            sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2)
                u->cpu_usec = (int64_t) ((user + system) * USEC_PER_SEC / (unsigned long long) sysconf(_SC_CLK_TCK));
        snprintf(path, sizeof path, "/proc/%d/statm", (int) pid);
        if (read_file(path, 4096, &statm, NULL) >= 0 && sscanf(statm, "%*u %llu", &pages) == 1)
                u->memory_kib = (int64_t) (pages * (unsigned long long) sysconf(_SC_PAGESIZE) / 1024);
}

/* Cards on a tap device are counted there: what the host receives the guest has sent. */
static void read_cards(const Vm *vm, VmUsage *u)
{
        bool any = false;

        for (size_t i = 0; i < NICS_MAX; i++) {
                if (!vm->taps[i][0])
                        continue;
                usage_add_interface(u, vm->taps[i]);
                any = true;
        }
        if (!any && vm->spec.config->nic.n == 0)
                u->net_in = u->net_out = 0;
}

static int64_t sum(int64_t so_far, json_object *stats, const char *name)
{
        return so_far + MAX2(json_get_int(stats, name, 0), (int64_t) 0);
}

static void on_blockstats(void *userdata, int r, json_object *value, const char *text)
{
        QemuQuestion *q = userdata;
        VmUsage u = VM_USAGE_UNKNOWN;
        _cleanup_free_ char *json = NULL;

        if (r < 0) {
                operation_done(&q->operation, r, text);
                return;
        }
        read_process(q->vm->process.pid, &u);
        read_cards(q->vm, &u);
        u.disk_read = u.disk_written = 0;
        for (size_t i = 0; json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
                json_object *stats = json_get_member(json_object_array_get_idx(value, i), "stats", json_type_object);

                u.disk_read = sum(u.disk_read, stats, "rd_bytes");
                u.disk_written = sum(u.disk_written, stats, "wr_bytes");
        }
        json = usage_text(&u);
        operation_done(&q->operation, json ? 0 : -ENOMEM, json ? json : "out of memory");
}

int qemu_usage(Vm *vm, VmDone done, void *userdata)
{
        return qemu_ask_for(vm, "query-blockstats", NULL, on_blockstats, done, userdata);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people look at: the serial console, the screen, and what the VM uses of the host. */
#include <dirent.h>
#include <unistd.h>

#include "fs.h"
#include "parse.h"
#include "qemu-vm.h"
#include "strbuf.h"

/* The console */

/*
 * The terminal that QEMU is the master of, -1: none. The kernel says which; QEMU, where a guest may have broken out,
 * is not asked, for somebody will type his password there.
 */
static int64_t terminal_of(pid_t pid)
{
        char path[64];
        int64_t found = -1;
        DIR *d;

        snprintf(path, sizeof path, "/proc/%d/fdinfo", (int) pid);
        d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d)); ) {
                char file[sizeof path + sizeof e->d_name + 1];
                _cleanup_free_ char *text = NULL;
                long long index;
                const char *line;

                snprintf(file, sizeof file, "%s/%s", path, e->d_name);
                if (e->d_name[0] == '.' || read_file(file, 4096, &text, NULL) < 0)
                        continue;
                line = strstr(text, "tty-index:");
                /* The serial port is the first terminal that is opened. */
                if (line && sscanf(line, "tty-index: %lld", &index) == 1 && (found < 0 || index < found))
                        found = index;
        }
        if (d)
                closedir(d);
        return found;
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
        terminal = terminal_of(vm->process.pid);
        if (terminal >= 0)
                return strformat("/dev/pts/%lld", (long long) terminal);
        *ret_why = strdup("the terminal of the serial port cannot be found");
        return NULL;
}

/* The rest asks QEMU, several at a time. */

static QemuLook *look_new(Vm *vm, VmDone done, void *userdata)
{
        for (size_t i = 0; i < ELEMENTSOF(vm->looks); i++)
                if (!vm->looks[i].operation.done) {
                        vm->looks[i] = (QemuLook) { vm, { done, userdata } };
                        return &vm->looks[i];
                }
        return NULL;
}

static int look(Vm *vm, const char *command, json_object *args, QmpDone answer, VmDone done, void *userdata)
{
        QemuLook *l = look_new(vm, done, userdata);
        int r;

        if (!l) {
                json_object_put(args);
                return -EBUSY;
        }
        r = vm_request(vm, command, args, answer, l);
        if (r < 0)
                l->operation = (Operation) { 0 };
        return r;
}

/* The screen */

static void on_picture(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        QemuLook *l = userdata;

        operation_done(&l->operation, r < 0 ? -EIO : 0, r < 0 ? text : NULL);
}

int qemu_screenshot(Vm *vm, const char *path, VmDone done, void *userdata)
{
        json_object *args = json_object_new_object();

        if (!args)
                return -ENOMEM;
        json_object_object_add(args, "filename", json_object_new_string(path));
        json_object_object_add(args, "format", json_object_new_string("png"));
        return look(vm, "screendump", args, on_picture, done, userdata);
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
        QemuLook *l = userdata;
        VmUsage u = VM_USAGE_UNKNOWN;
        _cleanup_free_ char *json = NULL;

        if (r < 0) {
                operation_done(&l->operation, r, text);
                return;
        }
        read_process(l->vm->process.pid, &u);
        read_cards(l->vm, &u);
        u.disk_read = u.disk_written = 0;
        for (size_t i = 0; json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
                json_object *stats = json_get_member(json_object_array_get_idx(value, i), "stats", json_type_object);

                u.disk_read = sum(u.disk_read, stats, "rd_bytes");
                u.disk_written = sum(u.disk_written, stats, "wr_bytes");
        }
        json = usage_text(&u);
        operation_done(&l->operation, json ? 0 : -ENOMEM, json ? json : "out of memory");
}

int qemu_usage(Vm *vm, VmDone done, void *userdata)
{
        return look(vm, "query-blockstats", NULL, on_blockstats, done, userdata);
}

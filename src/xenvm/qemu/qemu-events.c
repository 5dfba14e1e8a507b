/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU tells without being asked: its messages and the events of the machine. Neither is trusted. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "qemu-vm.h"

const char *vm_last_error(const Vm *vm, const char *fallback)
{
        /* The first line names the cause; what follows are consequences. */
        return vm->n_errors > 0 ? vm->errors[0] : fallback;
}

/* Messages of QEMU */

static void take_errors(Vm *vm)
{
        for (;;) {
                size_t length;
                bool too_long;
                char *line = linebuf_next(&vm->error_in, &length, &too_long), text[400];
                const char *start;

                if (too_long)
                        vm->error_in.start = vm->error_in.len;
                if (!line)
                        return;
                log_untrusted(text, sizeof text, line);
                if (!text[0])
                        continue;
                log_warning("QEMU says: %s", text);
                start = startswith(text, "qemu-system-x86_64: ");
                if (!start)
                        start = text;
                /* None of these says why it ends. */
                if (startswith(start, "warning: ") || streq(start, "**") || startswith(start, "char device redirected to "))
                        continue;
                if (vm->n_errors == ERROR_LINES) {
                        free(vm->errors[0]);
                        memmove(vm->errors, vm->errors + 1, sizeof vm->errors - sizeof vm->errors[0]);
                        vm->n_errors--;
                }
                vm->errors[vm->n_errors] = strdup(start);
                vm->n_errors += vm->errors[vm->n_errors] != NULL;
        }
}

static int on_error_text(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        Vm *vm = userdata;

        if (linebuf_read(&vm->error_in, fd) > 0)
                take_errors(vm);
        return 0;
}

void qemu_messages_drain(Vm *vm)
{
        for (int i = 0; i < 64 && vm->error_fd >= 0 && linebuf_read(&vm->error_in, vm->error_fd) > 0; i++)
                take_errors(vm);
}

/* Non-blocking for both sides: a chatty QEMU loses messages when nobody reads, and never waits. */
int qemu_messages_open(Vm *vm, bool create)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "qemu.err");

        if (!path)
                return -ENOMEM;
        if (create && ((unlink(path) < 0 && errno != ENOENT) || mkfifo(path, 0600) < 0))
                return -errno;
        vm->error_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (vm->error_fd < 0)
                return -errno;
        vm->error_in.max = 4096;
        return sd_event_add_io(vm->spec.event, &vm->error_source, vm->error_fd, EPOLLIN, on_error_text, vm);
}

/* Events */

static void guest_ended(Vm *vm, VmEnd end)
{
        vm->status = VM_STATUS_ENDED;
        vm->spec.events->ended(vm->spec.userdata, end);
}

static void set_power_state(Vm *vm, int state)
{
        vm->acpi_state = state;
        vm->spec.events->power_state(vm->spec.userdata, state);
}

static void on_shutdown(Vm *vm, json_object *data)
{
        const char *reason = data ? json_get_text(data, "reason", "") : "";

        if (startswith(reason, "host-qmp") || streq(reason, "host-signal"))
                return; /* how it was killed; the exit of the process tells the rest */
        if (streq(reason, "guest-reset"))
                guest_ended(vm, VM_END_REBOOT);
        else if (streq(reason, "guest-panic") || streq(reason, "host-error"))
                guest_ended(vm, VM_END_CRASH);
        else {
                if (vm->suspend_disk)
                        set_power_state(vm, 4);
                guest_ended(vm, VM_END_POWEROFF);
        }
}

void qemu_tell_number(Vm *vm, const char *node, int64_t value)
{
        char text[24];

        snprintf(text, sizeof text, "%lld", (long long) value);
        vm->spec.events->node(vm->spec.userdata, node, text);
}

static void on_event(void *userdata, const char *untrusted_name, json_object *untrusted_data)
{
        Vm *vm = userdata;
        const char *name = untrusted_name;

        if (vm->ending) /* what it still says is of no use to anybody */
                return;
        if (streq(name, "SHUTDOWN"))
                on_shutdown(vm, untrusted_data);
        else if (streq(name, "GUEST_PANICKED"))
                guest_ended(vm, VM_END_CRASH);
        else if (streq(name, "WATCHDOG"))
                guest_ended(vm, VM_END_WATCHDOG);
        else if (streq(name, "RESUME")) {
                vm->status = VM_STATUS_RUNNING;
                vm->spec.events->phase(vm->spec.userdata, TIMELINE_RUNNING);
        } else if (streq(name, "STOP")) {
                if (vm->status == VM_STATUS_RUNNING)
                        vm->status = VM_STATUS_PAUSED;
        } else if (streq(name, "SUSPEND"))
                set_power_state(vm, 3);
        else if (streq(name, "WAKEUP"))
                set_power_state(vm, 0);
        else if (streq(name, "SUSPEND_DISK"))
                vm->suspend_disk = true;
        else if (streq(name, "RTC_CHANGE") && untrusted_data)
                vm->spec.events->clock_changed(vm->spec.userdata,
                                               vm->clock_base + json_get_int(untrusted_data, "offset", 0));
        else if (streq(name, "BALLOON_CHANGE") && untrusted_data)
                qemu_tell_number(vm, "memory/actual", json_get_int(untrusted_data, "actual", 0) / 1024);
        else if (streq(name, "BLOCK_IO_ERROR") && untrusted_data) {
                char device[80];

                log_untrusted(device, sizeof device, json_get_text(untrusted_data, "device", ""));
                log_warning("Disk error on %s: %s", device, json_get_text(untrusted_data, "action", ""));
                if (streq(json_get_text(untrusted_data, "action", ""), "stop")) {
                        vm->status = VM_STATUS_PAUSED;
                        vm->spec.events->stopped(vm->spec.userdata, device);
                }
        } else
                qemu_hotplug_on_event(vm, name, untrusted_data);
}

const JournalHandlers qemu_journal_handlers = { .event = on_event };

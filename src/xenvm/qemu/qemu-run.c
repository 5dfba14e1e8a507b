/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What takes a request or two and waits for nobody but QEMU: running and pausing, buttons, memory, questions. None of it
 * waits for a change of devices, which takes as long as the guest likes.
 */
#include "parse.h"
#include "qemu-vm.h"

/* Running and pausing */

void qemu_on_running(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        vm->cont_sent = false;
        if (r >= 0) /* the event may have been heard before the answer to what was asked first */
                vm->status = VM_STATUS_RUNNING;
        operation_done(&vm->go, r, r < 0 ? text : NULL);
}

int qemu_run(Vm *vm, VmDone done, void *userdata)
{
        int r = vm->go.done ? -EBUSY : vm->cont_sent ? 0 : vm_request(vm, "cont", NULL, qemu_on_running, vm);

        if (r >= 0)
                vm->go = (Operation) { done, userdata };
        return r;
}

static void on_paused(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;

        operation_done(&vm->go, r, r < 0 ? text : NULL);
}

int qemu_pause(Vm *vm, VmDone done, void *userdata)
{
        int r = vm->go.done ? -EBUSY : vm_request(vm, "stop", NULL, on_paused, vm);

        if (r >= 0)
                vm->go = (Operation) { done, userdata };
        return r;
}

/* Questions: several at a time */

QemuQuestion *qemu_question_new(Vm *vm, VmDone done, void *userdata)
{
        for (size_t i = 0; i < ELEMENTSOF(vm->questions); i++)
                if (!vm->questions[i].operation.done) {
                        vm->questions[i] = (QemuQuestion) { .vm = vm, .operation = { done, userdata } };
                        return &vm->questions[i];
                }
        return NULL;
}

static int ask(QemuQuestion *q, const char *command, json_object *args, QmpDone answer)
{
        int r = vm_request(q->vm, command, args, answer, q);

        if (r < 0)
                q->operation = (Operation) { 0 };
        return r;
}

int qemu_ask_for(Vm *vm, const char *command, json_object *args, QmpDone answer, VmDone done, void *userdata)
{
        QemuQuestion *q = qemu_question_new(vm, done, userdata);

        if (q)
                return ask(q, command, args, answer);
        json_object_put(args);
        return -EBUSY;
}

static void on_answered(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        QemuQuestion *q = userdata;

        operation_done(&q->operation, r, r < 0 ? text : NULL);
}

static void on_memory_set(void *userdata, int r, json_object *value, const char *text)
{
        QemuQuestion *q = userdata;

        if (r >= 0)
                qemu_tell_number(q->vm, "memory/target", q->number);
        on_answered(q, r, value, text);
}

int qemu_set_memory(Vm *vm, uint64_t kib, VmDone done, void *userdata)
{
        QemuQuestion *q = qemu_question_new(vm, done, userdata);
        json_object *args = q ? json_object_new_object() : NULL;

        if (!q)
                return -EBUSY;
        q->number = (int64_t) kib;
        if (args)
                json_object_object_add(args, "value", json_object_new_int64((int64_t) (kib * 1024)));
        return ask(q, "balloon", args, on_memory_set);
}

static void on_vnc(void *userdata, int r, json_object *value, const char *text)
{
        QemuQuestion *q = userdata;
        const char *service = "";
        uint64_t port;

        /* A list of servers, each with a list of addresses; the TCP one is looked for. */
        for (size_t i = 0; r >= 0 && json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
                json_object *server = json_object_array_get_idx(value, i), *list = NULL;

                if (json_object_is_type(server, json_type_object))
                        list = json_get_member(server, "server", json_type_array);
                for (size_t k = 0; list && k < json_object_array_length(list); k++) {
                        json_object *a = json_object_array_get_idx(list, k);

                        if (json_object_is_type(a, json_type_object) && streq(json_get_text(a, "family", ""), "ipv4"))
                                service = json_get_text(a, "service", "");
                }
        }
        if (r >= 0 && parse_u64(service, &port) < 0)
                service = "";
        operation_done(&q->operation, r, r < 0 ? text : service);
}

int qemu_vnc_port(Vm *vm, VmDone done, void *userdata)
{
        return qemu_ask_for(vm, "query-vnc-servers", NULL, on_vnc, done, userdata);
}

/*
 * Does the guest listen to its power button? A PC's ACPI register says so: PM1_EN (port 0x602 with SeaBIOS and
 * OVMF), bit 8. The answer is a text for people, `portw[0x0602] = 0x0120`.
 */
#define READ_PM1_EN "i /h 0x602"
#define PWRBTN_EN 0x100

static void on_pm1_en(void *userdata, int r, json_object *value, _unused_ const char *text)
{
        QemuQuestion *q = userdata;
        const char *words = r >= 0 && json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        const char *equals = strchr(words, '=');
        unsigned long enabled = equals ? strtoul(equals + 1, NULL, 16) : 0;

        /* All ones: the firmware has not yet put the register there. */
        operation_done(&q->operation, 0, enabled != 0xffff && enabled & PWRBTN_EN ? ASK_ACKNOWLEDGED : NULL);
}

static void on_button_pressed(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        QemuQuestion *q = userdata;
        json_object *args = r >= 0 && q->vm->machine != QEMU_MACHINE_MICROVM ? json_object_new_object() : NULL;

        if (args) {
                json_object_object_add(args, "command-line", json_object_new_string(READ_PM1_EN));
                if (vm_request(q->vm, "human-monitor-command", args, on_pm1_en, q) >= 0)
                        return;
        }
        operation_done(&q->operation, r, r < 0 ? text : NULL);
}

int qemu_ask(Vm *vm, VmAsk what, VmDone done, void *userdata)
{
        switch (what) {
        case VM_ASK_POWEROFF:
        case VM_ASK_REBOOT: /* a PC has no reboot button that asks */
                return qemu_ask_for(vm, "system_powerdown", NULL, on_button_pressed, done, userdata);
        case VM_ASK_WAKE:
                return qemu_ask_for(vm, "system_wakeup", NULL, on_answered, done, userdata);
        case VM_ASK_SLEEP:
        case VM_ASK_HIBERNATE:
                break;
        }
        return -EOPNOTSUPP;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest is asked for. With paravirtual drivers it answers by emptying its node of xenstore, which libxl
 * waits for. Without them there is the power button alone, for a reboot too (the monitor starts it again), and
 * nobody answers: the guest hears it if it has enabled it, and else never will.
 */
#include "xen-vm.h"

static void on_asked(void *userdata, int rc)
{
        vm_finish(userdata, rc, rc == 0 ? ASK_ACKNOWLEDGED : NULL);
}

static void on_asked_to_end(void *userdata, int rc)
{
        Vm *vm = userdata;
        int hears = vm->watch ? xenhvm_hears_button(vm->watch) : -ENODEV;
        XenOp *op;

        if (rc != ERROR_NOPARAVIRT) {
                on_asked(vm, rc);
                return;
        }
        if (hears == 0) {
                vm_finish(vm, 0, ASK_DEAF);
                return;
        }
        op = vm_continue(vm, hears > 0 ? on_asked : vm_on_plain_done);
        if (!op) {
                vm_finish(vm, ERROR_NOMEM, NULL);
                return;
        }
        (void) vm_started(op, libxl_send_trigger(xenhost_ctx(vm->host), vm->domid, LIBXL_TRIGGER_POWER, 0, xenop_how(op)));
}

int xen_ask(Vm *vm, VmAsk what, VmDone done, void *userdata)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot ask the guest", done, userdata,
                      what == VM_ASK_POWEROFF || what == VM_ASK_REBOOT ? on_asked_to_end : vm_on_plain_done, &r);
        if (!op)
                return r;
        switch (what) {
        case VM_ASK_POWEROFF:
                return vm_started(op, libxl_domain_shutdown(ctx, vm->domid, xenop_how(op)));
        case VM_ASK_REBOOT:
                return vm_started(op, libxl_domain_reboot(ctx, vm->domid, xenop_how(op)));
        case VM_ASK_WAKE:
                return vm_started(op, libxl_send_trigger(ctx, vm->domid, LIBXL_TRIGGER_S3RESUME, 0, xenop_how(op)));
        case VM_ASK_SLEEP:
                if (vm->hvm)
                        return vm_started(op, libxl_send_trigger(ctx, vm->domid, LIBXL_TRIGGER_SLEEP, 0, xenop_how(op)));
                xenop_finish(op, vm_store_write(vm, "control/shutdown", "s3") < 0 ? ERROR_FAIL : 0);
                return 0;
        case VM_ASK_HIBERNATE:
                xenop_finish(op, vm_store_write(vm, "control/shutdown", "hibernate") < 0 ? ERROR_FAIL : 0);
                return 0;
        }
        xenop_finish(op, ERROR_INVAL);
        return 0;
}

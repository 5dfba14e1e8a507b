/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-vm.h"

int qemu_save(_unused_ Vm *vm, _unused_ int fd, _unused_ bool live, _unused_ VmDone done, _unused_ void *userdata)
{
        return -EOPNOTSUPP;
}
void qemu_save_cancel(_unused_ Vm *vm)
{
}
char *qemu_cannot_save(_unused_ const Vm *vm)
{
        return NULL;
}
int qemu_restore_begin(_unused_ Vm *vm)
{
        return -EOPNOTSUPP;
}
void qemu_save_on_event(_unused_ Vm *vm, _unused_ const char *name, _unused_ json_object *data)
{
}
void qemu_save_release(_unused_ Vm *vm)
{
}

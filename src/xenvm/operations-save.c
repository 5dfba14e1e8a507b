/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "monitor.h"

void op_suspend(_unused_ Monitor *m, Request *q, _unused_ const char *file, _unused_ bool live)
{
        request_fail(q, REQUEST_FAILED, "Vm_bad_state");
}
void op_restore(_unused_ Monitor *m, Request *q, _unused_ const char *file, _unused_ bool paused, _unused_ bool delete_file)
{
        request_fail(q, REQUEST_FAILED, "Vm_bad_state");
}
void op_checkpoint(_unused_ Monitor *m, Request *q, _unused_ const char *file)
{
        request_fail(q, REQUEST_FAILED, "Vm_bad_state");
}
void op_sleep(_unused_ Monitor *m, Request *q, OpKind kind, _unused_ int64_t timeout)
{
        request_fail(q, REQUEST_FAILED, "failed to put domain into %s", kind == OP_S3 ? "s3" : "s4");
}
void op_cancel(_unused_ Monitor *m, Request *q)
{
        request_fail(q, REQUEST_FAILED, "Vm_bad_state: nothing is under way");
}

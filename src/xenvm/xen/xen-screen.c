/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture of the screen. libxl has the device model's monitor; what writes the picture is root, wherever it is told to:
 * it is told a folder that is root's alone. Debian's has no PNG library, and writes PPM.
 */
#include <stdlib.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "png.h"
#include "strbuf.h"
#include "xen-ids.h"
#include "xen-vm.h"

#define PICTURE_MAX (256 * MIB)

static char *picture_of(const XenScreen *s)
{
        return strformat("%s/screen.ppm", s->folder);
}

static void dispose_screen(void *device)
{
        XenScreen *s = device;
        _cleanup_free_ char *picture = s->folder ? picture_of(s) : NULL;

        if (picture)
                (void) unlink(picture);
        if (s->folder)
                (void) rmdir(s->folder);
        free(s->folder);
        free(s->file);
        free(s->untrusted_output);
}

static int make_screen(XenScreen *s, const char *path)
{
        char folder[] = "/run/oxt-screen-XXXXXX";

        if (!mkdtemp(folder))
                return -errno;
        s->folder = strdup(folder);
        s->file = strdup(path);
        if (!s->folder)
                (void) rmdir(folder);
        return s->folder && s->file ? 0 : -ENOMEM;
}

static int keep_picture(const char *path, const char *untrusted_ppm, size_t size)
{
        _cleanup_free_ char *png = NULL;
        size_t png_size;
        int r = png_from_ppm(untrusted_ppm, size, &png, &png_size);
        AS_USER;

        return r < 0 ? r : write_file_atomic(path, png, png_size, 0600);
}

static void on_screen(void *userdata, int rc)
{
        Vm *vm = userdata;
        XenScreen *s = &vm->device.screen;
        _cleanup_free_ char *picture = picture_of(s), *untrusted_ppm = NULL;
        char shown[160];
        size_t size;
        int r;

        if (rc != 0) {
                vm_finish(vm, rc, NULL);
                return;
        }
        r = picture ? read_file(picture, PICTURE_MAX, &untrusted_ppm, &size) : -ENOMEM;
        if (r == -ENOENT) { /* why, is only in the words of the answer */
                vm_fail(vm, log_untrusted(shown, sizeof shown, strempty(s->untrusted_output)));
                return;
        }
        if (r >= 0)
                r = keep_picture(s->file, untrusted_ppm, size);
        if (r < 0)
                vm_fail(vm, r == -EBADMSG ? "the device model has made no picture" : strerror(-r));
        else
                vm_finish(vm, 0, NULL);
}

int xen_screenshot(Vm *vm, const char *path, VmDone done, void *userdata)
{
        static const char *const what = "Cannot take a picture of the screen";
        _cleanup_free_ char *command = NULL;
        XenOp *op;
        int r;

        if (!xen_config_has_screen(vm->spec.config))
                return vm_refuse(vm, what, done, userdata, -ENODEV, strdup("the VM has none (vfb, or for hvm a display, gives it one)"));
        r = vm_hold(vm, dispose_screen);
        if (r >= 0)
                r = make_screen(&vm->device.screen, path);
        if (r >= 0 && !(command = strformat("screendump %s/screen.ppm", vm->device.screen.folder)))
                r = -ENOMEM;
        op = vm_begin_held(vm, what, done, userdata, r, NULL, on_screen, &r);
        if (!op)
                return r;
        return vm_started(op, libxl_qemu_monitor_command(xenhost_ctx(vm->host), vm->domid, command, &vm->device.screen.untrusted_output,
                                                         xenop_how(op)));
}

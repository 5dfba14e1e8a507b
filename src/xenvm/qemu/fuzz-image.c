/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the header of a qcow2 image: what it names is found where it may be, or the image is refused in words. */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qemu-files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static int file = -EBADF;
        static Paths paths;
        char path[40], virtpath[] = "hda";
        VmDisk disk = { .path = path, .type = VM_DISK_QCOW2, .virtpath = virtpath };
        _cleanup_(qemu_image_done) QemuImage image = { 0 };
        _cleanup_free_ char *why = NULL;
        int r;

        if (size > 64 * KIB)
                return 0;
        if (file < 0) {
                file = memfd_create("image", MFD_CLOEXEC);
                assert(paths_init(&paths, "/nonexistent/state", "/nonexistent/run", "private") == 0);
        }
        assert(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t) size);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        r = qemu_image_open(&paths, &disk, false, &image, &why);
        assert(r < 0 ? why && image.n == 0 : image.n >= 1 && image.n <= QEMU_LAYERS_MAX);
        for (size_t i = 0; i < image.n; i++)
                assert(image.layers[i].fd >= 0 && image.layers[i].driver && image.layers[i].format && image.layers[i].path);
        return 0;
}

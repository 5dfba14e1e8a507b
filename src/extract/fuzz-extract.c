/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any image: it ends with an error, or with a file of bounded size. */
#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "filesystem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC), out = open("/dev/null", O_WRONLY | O_CLOEXEC);

        assert(fd >= 0 && out >= 0);
        if (write(fd, data, size) != (ssize_t) size)
                return 0;
        for (ImageFormat f = 0; f < _IMAGE_FORMAT_MAX; f++)
                for (unsigned partition = 0; partition < 7; partition++) {
                        const char *why = NULL;
                        Image i;
                        int64_t r = image_open(fd, f, &i, &why);

                        if (r >= 0 && partition > 0)
                                r = partition_find(&i, partition, &why);
                        if (r >= 0) {
                                assert(i.start <= i.size && i.length <= i.size - i.start);
                                r = filesystem_copy(&i, "/boot/kernel", out, &why);
                        }
                        assert(r > 0 ? r <= (int64_t) EXTRACT_FILE_MAX : why != NULL);
                }
        return 0;
}

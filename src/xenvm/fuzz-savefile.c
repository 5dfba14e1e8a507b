/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as the beginning of a saved VM's file. The input: the length of the stream (two bytes, big-endian),
 * then the file, which is filled up with zeros. What is taken for a header keeps its promises.
 */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "savefile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static int file = -EBADF;
        _cleanup_(save_header_done) SaveHeader h = { 0 };
        _cleanup_free_ char *why = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[40], sum[17];
        size_t stream;
        SaveSum s;

        if (size < 2 || size - 2 > SAVEFILE_HEADER_SIZE)
                return 0;
        if (file < 0)
                file = memfd_create("saved", MFD_CLOEXEC);
        stream = (size_t) data[0] << 8 | data[1];
        assert(ftruncate(file, 0) == 0 && ftruncate(file, (off_t) (SAVEFILE_HEADER_SIZE + stream)) == 0);
        assert(pwrite(file, data + 2, size - 2, 0) == (ssize_t) size - 2);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        fd = savefile_open(path, &h, &why);
        if (fd < 0) {
                assert(why && !h.backend && !h.uuid && !h.shape);
                return 0;
        }
        assert(h.backend && h.uuid && h.shape && h.memory_kib > 0 && h.size == (int64_t) stream && strlen(h.sum) == 16);
        assert(lseek(fd, 0, SEEK_CUR) == SAVEFILE_HEADER_SIZE);
        assert(savesum_begin(&s, fd) == 0 && savesum_step(&s, sum) == 1 && strlen(sum) == 16);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt-extract: takes one file, a kernel, out of a guest's disk. xenmgr starts it with the image as its standard
 * input and the file to be written as its output; before it looks at a byte of the image it gives up everything else.
 */
#include <unistd.h>

#include "filesystem.h"
#include "options.h"
#include "sandbox.h"

#define MEMORY_MAX (512 * MIB)
#define CPU_SECONDS 60

static const char *arg_format = "raw";
static int64_t arg_partition;

static const Option options[] = {
        { "format", 'f', "FORMAT", OPTION_STRING, &arg_format, "What the image is", "raw vhd" },
        { "partition", 'p', "N", OPTION_INT, &arg_partition, "The partition with the file system; 0: the whole disk" },
        { 0 },
};

static const Program program = {
        .name = "oxt-extract",
        .synopsis = "[OPTIONS] PATH <IMAGE >FILE",
        .summary = "Takes a file out of the image of a disk with an ext2, ext3 or ext4 file system.",
        .options = options,
};

int main(int argc, char *argv[])
{
        const char *why = "the process cannot be shut in";
        Image image;
        int first, status;
        int64_t r;

        first = options_parse(&program, argc, argv, 2, &status);
        if (first < 0)
                return status;
        if (first != argc - 1 || argv[first][0] != '/' || arg_partition < 0 || arg_partition > 1024) {
                dprintf(STDERR_FILENO, "oxt-extract: one absolute path is taken, and a partition up to 1024\n");
                return 2;
        }
        r = sandbox_enter(MEMORY_MAX, EXTRACT_FILE_MAX, CPU_SECONDS);
        if (r >= 0)
                r = image_open(STDIN_FILENO, streq(arg_format, "vhd") ? IMAGE_VHD : IMAGE_RAW, &image, &why);
        if (r >= 0 && arg_partition > 0)
                r = partition_find(&image, (unsigned) arg_partition, &why);
        if (r >= 0)
                r = filesystem_copy(&image, argv[first], STDOUT_FILENO, &why);
        if (r >= 0)
                return 0;
        (void) !write(STDERR_FILENO, why, strlen(why));
        return 1;
}

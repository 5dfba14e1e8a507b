/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Without libFuzzer: runs a fuzzer once on each file of the folders named, so that the corpus is a unit test. */
#include <dirent.h>

#include "fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char *argv[])
{
        size_t n = 0;

        for (int i = 1; i < argc; i++) {
                DIR *d = opendir(argv[i]);

                for (struct dirent *e; d && (e = readdir(d));) {
                        _cleanup_free_ char *path = path_join(argv[i], e->d_name), *data = NULL;
                        size_t size;

                        if (e->d_type != DT_REG || !path || read_file(path, 16 * MIB, &data, &size) < 0)
                                continue;
                        LLVMFuzzerTestOneInput((const uint8_t *) data, size);
                        n++;
                }
                if (d)
                        closedir(d);
        }
        printf("%zu inputs\n", n);
        return n > 0 ? 0 : 1;
}

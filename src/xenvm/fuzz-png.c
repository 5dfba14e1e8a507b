/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the picture of a device model: they become a PNG file with all that is in them, or are refused. */
#include <assert.h>

#include "png.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *png = NULL;
        size_t png_size = 0;
        int r = png_from_ppm((const char *) data, size, &png, &png_size);

        assert(r == -EBADMSG || (r == 0 && png && png_size > 57 && memcmp(png + png_size - 8, "IEND", 4) == 0));
        return 0;
}

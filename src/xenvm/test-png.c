/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pictures: one of one pixel byte for byte, a large one by its structure, and what is none. */
#include <assert.h>
#include <unistd.h>

#include "fs.h"
#include "png.h"
#include "unaligned.h"

static int convert(const char *ppm, size_t size, char **ret, size_t *ret_size)
{
        /* A copy of that very size, so that reading behind it is found. */
        char *copy = malloc(size ? size : 1);
        int r;

        assert(copy);
        memcpy(copy, ppm, size);
        r = png_from_ppm(copy, size, ret, ret_size);
        free(copy);
        return r;
}

int main(void)
{
        static const uint8_t red[] = {
                0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52,
                0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53,
                0xde, 0x00, 0x00, 0x00, 0x0f, 0x49, 0x44, 0x41, 0x54, 0x78, 0x01, 0x01, 0x04, 0x00, 0xfb, 0xff,
                0x00, 0xff, 0x00, 0x00, 0x03, 0x01, 0x01, 0x00, 0x8d, 0x1d, 0xe5, 0x82, 0x00, 0x00, 0x00, 0x00,
                0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
        };
        static const char *const bad[] = { "", "P", "P6", "P6\n", "P6\n1 1\n255\n12", "P5\n1 1\n255\n123", "P6\n0 1\n255\n123", "P6\n1 1\n65535\n123456",
                                           "P6\n16385 1\n255\n", "P6\n99999999999 1\n255\n", "P6\n-1 1\n255\n123", "P6\n16384 16384\n255\n", "P6 1x1 255 123" };
        _cleanup_free_ char *png = NULL, *large = NULL;
        const size_t side = 300, picture = side * side * 3;
        size_t size, at = 8;

        assert(convert("P6\n1 1\n255\n\xff\0\0", 14, &png, &size) == 0 && size == sizeof red && memcmp(png, red, size) == 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(convert(bad[i], strlen(bad[i]), &large, &size) == -EBADMSG);
        free(png);
        png = calloc(1, picture + 15);
        assert(png && snprintf(png, picture, "P6\n%zu %zu\n255\n", side, side) == 15);
        assert(convert(png, picture + 15, &large, &size) == 0);
        for (unsigned i = 0; i < 3; i++) {
                assert(memcmp(large + at + 4, (const char *[]) { "IHDR", "IDAT", "IEND" }[i], 4) == 0);
                at += 12 + get_be32(large + at);
        }
        assert(at == size && get_be32(large + 16) == side && get_be32(large + 20) == side);
        return 0;
}

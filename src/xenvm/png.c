/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "png.h"

#include "unaligned.h"

#define SIDE_MAX 16384
#define STORED_MAX 65535
#define ADLER_BASE 65521u

/* One after the other from p on, which is large enough. */
typedef struct Sink {
        uint8_t *p;
        uint32_t adler_a, adler_b;
        size_t room; /* of the stored block, and */
        size_t left; /* bytes of the picture that are still to come */
} Sink;

static uint32_t crc(const uint8_t *p, size_t n)
{
        uint32_t table[256], c = 0xffffffff;

        for (uint32_t i = 0; i < 256; i++) {
                table[i] = i;
                for (int k = 0; k < 8; k++)
                        table[i] = table[i] & 1 ? 0xedb88320 ^ (table[i] >> 1) : table[i] >> 1;
        }
        for (size_t i = 0; i < n; i++)
                c = table[(c ^ p[i]) & 0xff] ^ (c >> 8);
        return ~c;
}

/* data follows where s->p is then; NULL: it is there already. */
static void chunk(Sink *s, const char *type, const void *data, size_t n)
{
        put_be32(s->p, (uint32_t) n);
        memcpy(s->p + 4, type, 4);
        if (data)
                memcpy(s->p + 8, data, n);
        put_be32(s->p + 8 + n, crc(s->p + 4, n + 4));
        s->p += 12 + n;
}

static void put_byte(Sink *s, uint8_t byte)
{
        if (s->room == 0) {
                s->room = MIN2(s->left, (size_t) STORED_MAX);
                *s->p = s->left <= STORED_MAX; /* the last one */
                put_le16(s->p + 1, (uint16_t) s->room);
                put_le16(s->p + 3, (uint16_t) ~s->room);
                s->p += 5;
        }
        s->adler_a = (s->adler_a + byte) % ADLER_BASE;
        s->adler_b = (s->adler_b + s->adler_a) % ADLER_BASE;
        *s->p++ = byte;
        s->room--;
        s->left--;
}

/* The number that follows white space, with the one byte of it behind. */
static const char *take_number(const char *p, const char *end, unsigned max, unsigned *ret)
{
        unsigned n = 0;
        const char *begin;

        while (p < end && (*p == ' ' || *p == '\n'))
                p++;
        for (begin = p; p < end && *p >= '0' && *p <= '9' && n <= max; p++)
                n = n * 10 + (unsigned) (*p - '0');
        if (p == begin || p == end || n == 0 || n > max || (*p != ' ' && *p != '\n'))
                return NULL;
        *ret = n;
        return p + 1;
}

int png_from_ppm(const char *untrusted_ppm, size_t size, char **ret, size_t *ret_size)
{
        static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
        const char *p = untrusted_ppm, *end = p + size;
        unsigned width, height, depth;
        uint8_t header[13] = { [8] = 8, [9] = 2 }; /* 8 bits of each of three colours */
        size_t line, picture, packed;
        uint8_t *png;
        Sink s = { .adler_a = 1 };

        if (size < 2 || memcmp(p, "P6", 2) != 0 || !(p = take_number(p + 2, end, SIDE_MAX, &width)) ||
            !(p = take_number(p, end, SIDE_MAX, &height)) || !(p = take_number(p, end, 255, &depth)) || depth != 255)
                return -EBADMSG;
        line = (size_t) width * 3;
        if ((size_t) (end - p) < line * height)
                return -EBADMSG;
        picture = (line + 1) * height; /* a byte in front of each line tells how it is filtered: not */
        packed = 2 + picture + 5 * ((picture + STORED_MAX - 1) / STORED_MAX) + 4;
        png = malloc(sizeof signature + 12 + sizeof header + 12 + packed + 12);
        if (!png)
                return -ENOMEM;
        memcpy(png, signature, sizeof signature);
        s.p = png + sizeof signature;
        put_be32(header, width);
        put_be32(header + 4, height);
        chunk(&s, "IHDR", header, sizeof header);

        uint8_t *data = s.p;

        put_le16(data + 8, 0x0178); /* zlib: a window of 32 KiB, no dictionary */
        s.p = data + 10;
        s.left = picture;
        for (unsigned y = 0; y < height; y++) {
                put_byte(&s, 0);
                for (size_t x = 0; x < line; x++)
                        put_byte(&s, (uint8_t) *p++);
        }
        put_be32(s.p, s.adler_b << 16 | s.adler_a);
        s.p = data;
        chunk(&s, "IDAT", NULL, packed);
        chunk(&s, "IEND", "", 0);
        *ret = (char *) png;
        *ret_size = (size_t) (s.p - png);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sha1.h"

#include <endian.h>

static uint32_t rotate(uint32_t x, unsigned n)
{
        return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[static 5], const uint8_t *p)
{
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

        for (size_t i = 0; i < 16; i++) {
                memcpy(&w[i], p + i * 4, 4);
                w[i] = be32toh(w[i]);
        }
        for (size_t i = 16; i < 80; i++)
                w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (size_t i = 0; i < 80; i++) {
                uint32_t f = i < 20   ? (b & c) | (~b & d)
                             : i < 40 ? b ^ c ^ d
                             : i < 60 ? (b & c) | (b & d) | (c & d)
                                      : b ^ c ^ d;
                uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
                uint32_t t = rotate(a, 5) + f + e + k + w[i];

                e = d;
                d = c;
                c = rotate(b, 30);
                b = a;
                a = t;
        }
        h[0] += a;
        h[1] += b;
        h[2] += c;
        h[3] += d;
        h[4] += e;
}

void sha1_add(Sha1 *s, const void *data, size_t size)
{
        const uint8_t *p = data;
        size_t have = s->size % 64;

        s->size += size;
        if (have > 0) {
                size_t n = MIN2(64 - have, size);

                memcpy(s->rest + have, p, n);
                p += n;
                size -= n;
                if (have + n < 64)
                        return;
                sha1_block(s->h, s->rest);
        }
        for (; size >= 64; p += 64, size -= 64)
                sha1_block(s->h, p);
        if (size > 0)
                memcpy(s->rest, p, size);
}

void sha1_end(Sha1 *s, uint8_t ret[static SHA1_SIZE])
{
        static const uint8_t padding[64] = { 0x80 };
        uint64_t bits = htobe64(s->size * 8);

        sha1_add(s, padding, 1 + (119 - s->size % 64) % 64);
        sha1_add(s, &bits, sizeof bits);
        for (size_t i = 0; i < 5; i++) {
                uint32_t v = htobe32(s->h[i]);

                memcpy(ret + 4 * i, &v, sizeof v);
        }
}

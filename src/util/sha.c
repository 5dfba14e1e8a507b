/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sha.h"

#include "unaligned.h"

static uint32_t rotate(uint32_t x, unsigned n)
{
        return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[static 5], const uint8_t *p)
{
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

        for (size_t i = 0; i < 16; i++)
                w[i] = get_be32(p + i * 4);
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

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t roots[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void sha256_block(uint32_t h[static 8], const uint8_t *p)
{
        uint32_t w[64], v[8];

        for (size_t i = 0; i < 16; i++)
                w[i] = get_be32(p + i * 4);
        for (size_t i = 16; i < 64; i++) {
                uint32_t x = w[i - 15], y = w[i - 2];

                w[i] = w[i - 16] + (rotate(x, 25) ^ rotate(x, 14) ^ x >> 3) + w[i - 7] + (rotate(y, 15) ^ rotate(y, 13) ^ y >> 10);
        }
        memcpy(v, h, sizeof v);
        for (size_t i = 0; i < 64; i++) {
                uint32_t a = v[0], e = v[4];
                uint32_t t = v[7] + (rotate(e, 26) ^ rotate(e, 21) ^ rotate(e, 7)) + ((e & v[5]) ^ (~e & v[6])) + roots[i] + w[i];
                uint32_t u = (rotate(a, 30) ^ rotate(a, 19) ^ rotate(a, 10)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));

                memmove(v + 1, v, 7 * sizeof *v);
                v[4] += t;
                v[0] = t + u;
        }
        for (size_t i = 0; i < 8; i++)
                h[i] += v[i];
}

void sha_add(Sha *s, const void *data, size_t size)
{
        void (*block)(uint32_t *h, const uint8_t *p) = s->words == 5 ? sha1_block : sha256_block;
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
                block(s->h, s->rest);
        }
        for (; size >= 64; p += 64, size -= 64)
                block(s->h, p);
        if (size > 0)
                memcpy(s->rest, p, size);
}

void sha_end(Sha *s, uint8_t *ret)
{
        static const uint8_t padding[64] = { 0x80 };
        uint8_t bits[8];

        put_be64(bits, s->size * 8);
        sha_add(s, padding, 1 + (119 - s->size % 64) % 64);
        sha_add(s, bits, sizeof bits);
        for (size_t i = 0; i < s->words; i++)
                put_be32(ret + 4 * i, s->h[i]);
}

void sha_end_hex(Sha *s, char ret[static SHA_HEX_MAX])
{
        uint8_t sum[SHA256_SIZE];

        sha_end(s, sum);
        for (size_t i = 0; i < 4 * s->words; i++)
                snprintf(ret + i * 2, 3, "%02x", sum[i]);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * SHA-1 and SHA-256 (FIPS 180-4), which differ in nothing but what is done to a block. SHA-1 only where a
 * format has it: the sums of disks in databases of old and the handshake of WebSocket (RFC 6455). It protects nothing.
 */
#include "util.h"

#define SHA1_SIZE 20
#define SHA256_SIZE 32
#define SHA_HEX_MAX (2 * SHA256_SIZE + 1)

typedef struct Sha {
        size_t words; /* of the sum: 5 or 8 */
        uint32_t h[8];
        uint64_t size;    /* bytes so far */
        uint8_t rest[64]; /* those behind the last whole block */
} Sha;

#define SHA1_INIT { .words = 5, .h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 } }
#define SHA256_INIT \
        { .words = 8, .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } }

/* Begin with one of the two; add what there is, in pieces of any size. */
void sha_add(Sha *s, const void *data, size_t size);
/* The sum of all that was added (SHA1_SIZE or SHA256_SIZE bytes); nothing can be added afterwards. */
void sha_end(Sha *s, uint8_t *ret);
/* The same in hexadecimal. */
void sha_end_hex(Sha *s, char ret[static SHA_HEX_MAX]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * SHA-1 (FIPS 180-4), only where a format has it: the sums of disks in databases of old and the handshake
 * of WebSocket (RFC 6455). It protects nothing.
 */
#include "util.h"

#define SHA1_SIZE 20

typedef struct Sha1 {
        uint32_t h[5];
        uint64_t size;    /* bytes so far */
        uint8_t rest[64]; /* those behind the last whole block */
} Sha1;

#define SHA1_INIT { .h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 } }

/* Begin with SHA1_INIT; add what there is, in pieces of any size. */
void sha1_add(Sha1 *s, const void *data, size_t size);
/* The sum of all that was added; nothing can be added afterwards. */
void sha1_end(Sha1 *s, uint8_t ret[static SHA1_SIZE]);

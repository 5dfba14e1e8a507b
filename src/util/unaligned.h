/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Numbers of one byte order, as files and wires have them: get_be32(p), put_le16(p, v) …; p need not be aligned. */
#include <endian.h>

#include "util.h"

#define DEFINE_UNALIGNED(order, bits)                                                              \
        static inline uint##bits##_t get_##order##bits(const void *p)                              \
        {                                                                                          \
                uint##bits##_t v;                                                                  \
                                                                                                   \
                memcpy(&v, p, sizeof v);                                                           \
                return order##bits##toh(v);                                                        \
        }                                                                                          \
        static inline void put_##order##bits(void *p, uint##bits##_t v)                            \
        {                                                                                          \
                v = hto##order##bits(v);                                                           \
                memcpy(p, &v, sizeof v);                                                           \
        }

DEFINE_UNALIGNED(be, 32)
DEFINE_UNALIGNED(be, 64)
DEFINE_UNALIGNED(le, 16)
DEFINE_UNALIGNED(le, 32)
DEFINE_UNALIGNED(le, 64)

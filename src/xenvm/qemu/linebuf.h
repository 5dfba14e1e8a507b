/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Splits what a descriptor delivers into lines, in a buffer that cannot grow beyond a bound. */
#include "util.h"

typedef struct LineBuf {
        char *data;
        size_t len, size; /* filled, allocated */
        size_t start;     /* of the next line */
        size_t max;       /* longest line */
} LineBuf;

/* Reads once. Returns the number of bytes, 0 at end of file, -EAGAIN, -ENOMEM or another errno. */
ssize_t linebuf_read(LineBuf *b, int fd);
int linebuf_add(LineBuf *b, const char *data, size_t size);
/*
 * The next whole line, terminated in place, without LF and CR; valid until the next call. NULL: there
 * is none yet. With *ret_too_long set, max bytes came without an end of line.
 */
char *linebuf_next(LineBuf *b, size_t *ret_length, bool *ret_too_long);
void linebuf_done(LineBuf *b);

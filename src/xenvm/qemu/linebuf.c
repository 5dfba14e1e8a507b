/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "linebuf.h"

#include <unistd.h>

#define CHUNK 4096
/* A buffer that had to grow for one long line is given back when it is empty again. */
#define KEEP (4 * CHUNK)

static int make_room(LineBuf *b, size_t more)
{
        size_t need;
        char *p;

        if (b->start > 0) {
                memmove(b->data, b->data + b->start, b->len - b->start);
                b->len -= b->start;
                b->start = 0;
        }
        if (b->len == 0 && b->size > KEEP)
                linebuf_done(b);
        need = b->len + more;
        if (need <= b->size)
                return 0;
        need = MAX2(need, MIN2(b->size * 2, b->max + CHUNK));
        p = realloc(b->data, need);
        if (!p)
                return -ENOMEM;
        b->data = p;
        b->size = need;
        return 0;
}

ssize_t linebuf_read(LineBuf *b, int fd)
{
        ssize_t n;
        int r;

        r = make_room(b, CHUNK);
        if (r < 0)
                return r;
        do
                n = read(fd, b->data + b->len, b->size - b->len);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        b->len += (size_t) n;
        return n;
}

int linebuf_add(LineBuf *b, const char *data, size_t size)
{
        int r = make_room(b, size);

        if (r < 0)
                return r;
        memcpy(b->data + b->len, data, size);
        b->len += size;
        return 0;
}

char *linebuf_next(LineBuf *b, size_t *ret_length, bool *ret_too_long)
{
        char *line = b->data + b->start, *end;
        size_t n;

        *ret_too_long = false;
        end = b->len > b->start ? memchr(line, '\n', b->len - b->start) : NULL;
        if (!end) {
                *ret_too_long = b->len - b->start >= b->max;
                return NULL;
        }
        n = (size_t) (end - line);
        b->start += n + 1;
        if (n > b->max) {
                *ret_too_long = true;
                return NULL;
        }
        if (n > 0 && line[n - 1] == '\r')
                n--;
        line[n] = '\0';
        *ret_length = n;
        return line;
}

void linebuf_done(LineBuf *b)
{
        free(b->data);
        *b = (LineBuf) { .max = b->max };
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same bytes come to the same end, in one piece and byte by byte. */
#include "sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GUID "0123456789abcdef0123456789abcdef"

/* Returns how many bytes were taken before the end; sums what was answered. */
static size_t converse(Sasl *s, const uint8_t *data, size_t size, size_t step, uint64_t *sum)
{
        char reply[SASL_REPLY_MAX];
        size_t at = 0;

        while (at < size && s->state < SASL_DONE) {
                size_t n = sasl_input(s, data + at, step ? MIN2(step, size - at) : size - at, GUID, NULL, reply);

                if (n == 0 || n > size - at || strlen(reply) >= sizeof reply)
                        abort();
                for (const char *r = reply; *r; r++)
                        *sum = *sum * 31 + (unsigned char) *r;
                at += n;
        }
        if (s->state == SASL_FAILED && !s->why)
                abort();
        return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static Sasl whole, pieces;
        uint64_t sum_whole = 0, sum_pieces = 0;
        size_t a, b;

        whole = pieces = (Sasl) { 0 };
        a = converse(&whole, data, size, 0, &sum_whole);
        b = converse(&pieces, data, size, 1, &sum_pieces);
        if (whole.state != pieces.state || sum_whole != sum_pieces || (whole.state == SASL_DONE && a != b))
                abort();
        return 0;
}

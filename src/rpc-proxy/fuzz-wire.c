/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever is taken for a message is written again as the same message, and its texts can be read. */
#include "match.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const char *a, const char *b)
{
        if (!streq_ptr(a, b))
                abort();
}

static void check_message(const uint8_t *data, size_t size)
{
        WireMessage m, again;
        const char *why = NULL, *texts[4];
        uint8_t *out;
        ssize_t n;

        if (wire_parse(data, size, &m, &why) < 0) {
                if (!why)
                        abort();
                return;
        }
        if (wire_body_texts(&m, texts, 4) > 0 && m.type == WIRE_CALL) {
                static MatchRule rule;

                (void) match_rule_parse(texts[0], &rule);
        }
        out = malloc(size + 64);
        n = out ? wire_encode(&m, out, size + 64) : -1;
        if (n < 0) /* dropping unknown fields can only make it smaller; padding adds less than 64 */
                abort();
        if (m.body_size <= size + 64 - (size_t) n) {
                memcpy(out + n, m.body, m.body_size);
                if (wire_size(out, (size_t) n + m.body_size, &why) != n + (ssize_t) m.body_size ||
                    wire_parse(out, (size_t) n + m.body_size, &again, &why) < 0)
                        abort();
                if (again.type != m.type || again.flags != m.flags || again.serial != m.serial || again.unix_fds != m.unix_fds ||
                    again.reply_serial != m.reply_serial || again.body_size != m.body_size || again.unknown_fields)
                        abort();
                same(m.path, again.path);
                same(m.interface, again.interface);
                same(m.member, again.member);
                same(m.error_name, again.error_name);
                same(m.destination, again.destination);
                same(m.sender, again.sender);
                same(m.signature, again.signature);
        }
        free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (size_t at = 0; at < size;) {
                const char *why = NULL;
                ssize_t n = wire_size(data + at, size - at, &why);
                uint8_t *copy;

                if (n <= 0 || (size_t) n > size - at)
                        break;
                copy = malloc((size_t) n); /* exactly that large, for the sanitizer */
                if (!copy)
                        break;
                memcpy(copy, data + at, (size_t) n);
                check_message(copy, (size_t) n);
                free(copy);
                at += (size_t) n;
        }
        return 0;
}

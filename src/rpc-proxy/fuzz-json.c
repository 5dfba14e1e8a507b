/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON texts, D-Bus messages and introspection data from anywhere; the first byte says which. What is
 * taken must come out as a message that the other side can read.
 */
#include "introspect.h"
#include "json-message.h"

#define MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void format(const uint8_t *data, size_t size)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_json_ json_object *o = NULL;
        const char *bad;
        WireMessage w;
        JsonWhy why;

        if (wire_parse(data, size, &w, &bad) < 0)
                return;
        if (json_message_format(&w, JSON_CLIENT, &b, &why) == 0 && json_parse(b.data, b.len, 1000, &o) < 0)
                abort();
}

static void parse(const char *text, size_t size)
{
        _cleanup_(json_message_done) JsonMessage m = {};
        _cleanup_free_ uint8_t *data = NULL;
        const char *bad;
        WireMessage w;
        size_t n;
        bool answer;
        char id[16];
        JsonWhy why;

        if (json_message_parse(text, size, &m, &answer, id, &why) < 0 ||
            json_message_encode(&m, NULL, NULL, MAX, &data, &n, &why) < 0)
                return;
        if (wire_size(data, n, &bad) != (ssize_t) n)
                abort();
        /* A reply needs reply_serial; the wire parser is the judge of the rest. */
        if (wire_parse(data, n, &w, &bad) < 0 && m.response_to != 0 && m.kind != JSON_REQUEST)
                abort();
        format(data, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *signature = NULL;

        if (size == 0 || size > 256 * KIB)
                return 0;
        switch (data[0]) {
        case 'x':
                if (introspect_method((const char *) data + 1, size - 1, "i.j", "M", &signature) == 0 &&
                    !wire_signature_valid(signature, strlen(signature)))
                        abort();
                free(signature);
                break;
        case 'd':
                format(data + 1, size - 1);
                break;
        default:
                parse((const char *) data, size);
        }
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "wire.h"

static void test_round_trip(void)
{
        static const uint32_t flags = 4;
        WireMessage in = { .type = WIRE_CALL, .serial = 7, .path = "/org/freedesktop/DBus", .interface = "a.b",
                           .member = "RequestName", .destination = "c.d", .text = "e.f", .number = &flags };
        WireMessage out;
        uint8_t buf[512];
        size_t n = wire_write(&in, buf, sizeof buf);

        assert(n > 0 && n % 4 == 0);
        for (size_t i = 0; i < n; i++)
                assert(wire_read(buf, i, &out) == 0);
        assert(wire_read(buf, n, &out) == (int) n);
        assert(out.type == WIRE_CALL && out.serial == 7 && !out.no_reply);
        assert(streq(out.path, in.path) && streq(out.interface, "a.b") && streq(out.member, "RequestName"));
        assert(streq(out.destination, "c.d") && streq(out.signature, "su") && !out.sender && !out.error);
        for (size_t i = 0; i < n; i++)
                assert(wire_write(&in, buf, i) == 0);
        in.text2 = "g";
        in.number = NULL;
        n = wire_write(&in, buf, sizeof buf);
        assert(wire_read(buf, n, &out) == (int) n && streq(out.signature, "ss"));
        assert(buf[n - 1] == 0 && buf[n - 2] == 'g');
}

/* A reply as a bus writes it, in big-endian: type 2, reply serial 258, destination ":1.5", body "". */
static void test_big_endian(void)
{
        static const uint8_t bytes[] = "B\x02\x01\x01\0\0\0\0\0\0\0\x09\0\0\0\x15"
                                       "\x05\x01u\0\0\0\x01\x02"
                                       "\x06\x01s\0\0\0\0\x04:1.5\0\0\0\0";
        WireMessage m;

        assert(wire_read(bytes, sizeof bytes - 1, &m) == (int) sizeof bytes - 1);
        assert(m.type == WIRE_RETURN && m.no_reply && m.serial == 9 && m.reply_serial == 258);
        assert(streq(m.destination, ":1.5"));
}

static void test_bad(void)
{
        WireMessage good = { .type = WIRE_SIGNAL, .serial = 1, .path = "/", .interface = "a.b", .member = "c" }, m;
        uint8_t buf[256];
        size_t n = wire_write(&good, buf, sizeof buf);

        for (size_t i = 0; i < n; i++)
                for (unsigned v = 0; v < 256; v++) {
                        uint8_t *copy = malloc(n); /* of exact size: the sanitizers see what is read behind it */
                        int r;

                        memcpy(copy, buf, n);
                        copy[i] = (uint8_t) v;
                        r = wire_read(copy, n, &m);
                        assert(r == -EBADMSG || r == -EMSGSIZE || (r >= 0 && r <= (int) n));
                        free(copy);
                }
        buf[0] = 'x';
        assert(wire_read(buf, n, &m) == -EBADMSG);
        buf[0] = 'l';
        memset(buf + 12, 0xff, 4);
        assert(wire_read(buf, n, &m) == -EMSGSIZE);
}

int main(void)
{
        test_round_trip();
        test_big_endian();
        test_bad();
        return 0;
}

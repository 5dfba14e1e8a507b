/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "match.h"
#include "sasl.h"
#include "wire.h"

static void test_names(void)
{
        static const struct {
                const char *text;
                bool bus, interface, member, path, signature;
        } t[] = {
                { "a.b", true, true, false, false, false },
                { ":1.5", true, false, false, false, false },
                { ":1", false, false, false, false, false },
                { ":1.", false, false, false, false, false },
                { "a-b.c", true, false, false, false, false },
                { "a.1b", false, false, false, false, false },
                { "a..b", false, false, false, false, false },
                { ".a.b", false, false, false, false, false },
                { "a.b.", false, false, false, false, false },
                { "Get", false, false, true, false, false },
                { "1Get", false, false, false, false, false },
                { "", false, false, false, false, true },
                { "/", false, false, false, true, false },
                { "/a/b_1", false, false, false, true, false },
                { "/a/", false, false, false, false, false },
                { "//a", false, false, false, false, false },
                { "/a-b", false, false, false, false, false },
                { "a{sv}", false, false, false, false, true },
                { "a{vs}", false, false, false, false, false },
                { "{sv}", false, false, false, false, false },
                { "(s)", false, false, false, false, true },
                { "()", false, false, false, false, false },
                { "(s", false, false, false, false, false },
                { "a", false, false, true, false, false },
                { "aa(iay)", false, false, false, false, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                size_t n = strlen(t[i].text);

                assert(wire_bus_name_valid(t[i].text, n) == t[i].bus);
                assert(wire_interface_valid(t[i].text, n) == t[i].interface);
                assert(wire_member_valid(t[i].text, n) == t[i].member);
                assert(wire_path_valid(t[i].text, n) == t[i].path);
                assert(wire_signature_valid(t[i].text, n) == t[i].signature);
        }
}

/* What is written is read, in both byte orders, and every shorter piece is refused or asks for more. */
static void test_messages(void)
{
        for (int big = 0; big <= 1; big++) {
                uint8_t data[1024], body_data[256];
                WireBody body = { .data = body_data, .size = sizeof body_data, .big_endian = big };
                WireMessage m = { .big_endian = big, .type = WIRE_CALL, .serial = 0xfffffffe, .path = "/a/b", .interface = "i.j",
                                  .member = "M", .destination = "d.e", .sender = ":1.2", .signature = "sou" },
                            r;
                const char *texts[3], *why;
                ssize_t n;

                wire_put_text(&body, "first");
                wire_put_text(&body, "/second");
                wire_put_u32(&body, 7);
                m.body_size = (uint32_t) body.used;
                n = wire_encode(&m, data, sizeof data);
                assert(n > 0 && n % 8 == 0);
                memcpy(data + n, body_data, body.used);
                n += (ssize_t) body.used;
                assert(wire_size(data, (size_t) n, &why) == n && wire_size(data, 15, &why) == 0);
                assert(wire_parse(data, (size_t) n, &r, &why) == 0);
                assert(r.serial == m.serial && streq(r.path, m.path) && streq(r.sender, ":1.2") && !r.error_name);
                assert(wire_body_texts(&r, texts, 3) == 2 && streq(texts[0], "first") && streq(texts[1], "/second"));
                for (ssize_t i = 0; i < n; i++)
                        assert(wire_parse(data, (size_t) i, &r, &why) == -EBADMSG);
                assert(wire_encode(&m, data, 40) == -EMSGSIZE);
        }
}

static void test_match_rules(void)
{
        static const char *const bad[] = { "a", "type", "type='signal", "nonsense='x'", "type='signal',type='signal'",
                                           "arg64='x'", "eavesdrop='maybe'", "arg1namespace='x'", "=x" };
        static MatchRule r;

        assert(match_rule_parse("", &r) == 0 && !r.type && !r.eavesdrop);
        assert(match_rule_parse("type='signal',sender='a.b',interface=c.d,arg0='a,b'\\''c',eavesdrop='true'", &r) == 0);
        assert(streq(r.type, "signal") && streq(r.sender, "a.b") && streq(r.interface, "c.d") && streq(r.arg0, "a,b'c") && r.eavesdrop);
        assert(match_rule_parse("arg0namespace='a.b',arg3='x',arg5path='/'", &r) == 0 && !r.arg0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(match_rule_parse(bad[i], &r) == -EINVAL);
}

static void test_sasl(void)
{
        static const struct {
                const char *in, *out;
                SaslState state;
        } t[] = {
                { "AUTH EXTERNAL 30\r\n", "OK g\r\n", SASL_ACCEPTED },
                { "AUTH ANONYMOUS\r\n", "OK g\r\n", SASL_ACCEPTED },
                { "AUTH\r\n", "REJECTED ANONYMOUS\r\n", SASL_AUTH },
                { "AUTH EXTERNALX 30\r\n", "REJECTED ANONYMOUS\r\n", SASL_AUTH },
                { "AUTH EXTERNAL\r\n", "DATA\r\n", SASL_DATA },
                { "BEGIN\r\n", "REJECTED ANONYMOUS\r\n", SASL_AUTH },
                { "AU\nTH\r\n", "REJECTED ANONYMOUS\r\n", SASL_AUTH },
                { "\x80\r\n", "", SASL_FAILED },
        };

        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Sasl s = { .state = SASL_AUTH };
                char reply[SASL_REPLY_MAX];

                (void) sasl_input(&s, t[i].in, strlen(t[i].in), "g", NULL, reply);
                assert(s.state == t[i].state && streq(reply, t[i].out));
        }
}

int main(void)
{
        test_names();
        test_messages();
        test_match_rules();
        test_sasl();
        return 0;
}

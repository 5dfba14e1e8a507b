/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON messages to D-Bus and back, by the tables of the contract (rpc-proxy.md 8) and what it calls bugs. */
#include <assert.h>

#include "introspect.h"
#include "json-message.h"

#define MAX (16u << 20)

/* The D-Bus message that a JSON text becomes, as the JSON that this becomes again; or why it does not. */
static char *through(const char *text, const char *signature, bool *ret_ok)
{
        _cleanup_(json_message_done) JsonMessage m = {};
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ uint8_t *data = NULL;
        const char *bad;
        char *result, id[16];
        WireMessage w;
        JsonWhy why;
        size_t size;
        bool answer;
        int r;

        r = json_message_parse(text, strlen(text), &m, &answer, id, &why);
        if (r == 0)
                r = json_message_encode(&m, signature, NULL, MAX, &data, &size, &why);
        *ret_ok = r == 0;
        if (r < 0) {
                assert(r == -EBADMSG && answer == (m.object ? m.kind == JSON_REQUEST : answer) && !strchr(why.text, ':'));
                return strdup(why.text);
        }
        assert(wire_size(data, size, &bad) == (ssize_t) size && wire_parse(data, size, &w, &bad) == 0);
        assert(json_message_format(&w, JSON_SERVER, &b, &why) == 0 && strbuf_take(&b, &result) == 0);
        return result;
}

static const struct {
        const char *args, *signature;
        const char *result; /* of the arguments; or, without [, why not */
} bodies[] = {
        { "[]", "", "[]" },
        { "[\"a\",true,5]", NULL, "[\"a\",true,5]" },
        { "[true,false]", "bb", "[true,false]" },
        { "[1]", "b", "argument 1 needs true or false for type b, not a number" },
        { "[\"5\"]", "i", "argument 1 needs a number for type i, not a text" },
        { "[5.9,-1.1,300,-1]", "inyu", "[5,-2,44,4294967295]" },
        { "[9223372036854775807,-9223372036854775808,18446744073709551615]", "xxt",
          "[9223372036854775807,-9223372036854775808,18446744073709551615]" },
        { "[65537,65537]", "qn", "[1,1]" },
        { "[0.1,5,1e300,-0.0,1.5e-7]", "ddddd", "[0.1,5,1e+300,0,1.5e-07]" },
        { "[\"/a/b\",\"a{sv}\"]", "og", "[\"/a/b\",\"a{sv}\"]" },
        { "[\"a\"]", "o", "argument 1 is no object path" },
        { "[\"q\"]", "s", "[\"q\"]" },
        { "[\"a{v}\"]", "g", "argument 1 is no signature" },
        { "[[]]", "as", "[[]]" },
        { "[[]]", "ax", "[[]]" },
        { "[[],1]", "a{sv}i", "argument 1 needs an object for type a{sv}, not an array" },
        { "[{},7]", "a{st}i", "[{},7]" },
        { "[[\"a\",\"b\"]]", "as", "[[\"a\",\"b\"]]" },
        { "[[[1,2],[],[3]]]", "aai", "[[[1,2],[],[3]]]" },
        { "[[1,2,255]]", "ay", "[[1,2,255]]" },
        { "[{\"b\":\"2\",\"a\":\"1\"}]", "a{ss}", "[{\"a\":\"1\",\"b\":\"2\"}]" },
        { "[{\"2\":true,\"-1\":false}]", "a{ib}", "[{\"-1\":false,\"2\":true}]" },
        { "[{\"/a\":1}]", "a{od}", "[{\"/a\":1}]" },
        { "[{\"x\":1}]", "a{ii}", "argument 1 has a member whose name is no key of type i" },
        { "[{\"true\":[1,\"a\"]}]", "a{b(is)}", "[{\"true\":[1,\"a\"]}]" },
        { "[[1,\"a\",[true]]]", "(is(b))", "[[1,\"a\",[true]]]" },
        { "[[1]]", "(is)", "argument 1 has 1 elements, not as many as type (is)" },
        { "[[1,\"a\",2]]", "(is)", "argument 1 has 3 elements, not as many as type (is)" },
        { "[\"a\",true,1.9,3000000000,[\"a\"],[1,\"a\"],{\"k\":1}]", "vvvvvvv", "[\"a\",true,1,3000000000,[\"a\"],[1,\"a\"],{\"k\":1}]" },
        { "[{\"a\":{\"b\":[]}}]", "a{sv}", "[{\"a\":{\"b\":[]}}]" },
        { "[null]", "v", "argument 1 has a null" },
        { "[null]", "s", "argument 1 needs a text for type s, not null" },
        { "[null]", NULL, "the arguments have a null or are too many" },
        { "[[[null]]]", "v", "argument 1 has a null" },
        { "[1]", "h", "argument 1 has type h, which JSON cannot carry" },
        { "[1]", "ii", "1 arguments were given, 2 are needed (signature ii)" },
        { "[1,2]", "i", "2 arguments were given, 1 are needed (signature i)" },
        { "[\"a\\u0000b\"]", "s", "argument 1 has a text with the character U+0000" },
        { "[\"\\ud83d\\ude00 \\u2028\\n\\u0001/\\\"\\\\\"]", "s", "[\"\xf0\x9f\x98\x80 \\u2028\\n\\u0001/\\\"\\\\\"]" },
        { "[[1],{\"a\":\"b\"},[\"x\"]]", NULL, "[[1],{\"a\":\"b\"},[\"x\"]]" },
};

static void test_bodies(void)
{
        for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                _cleanup_free_ char *text = NULL, *result = NULL, *wanted = NULL;
                bool ok;

                text = strformat("{\"id\":7,\"destination\":\"a.b\",\"path\":\"/\",\"interface\":\"i.j\",\"method\":\"M\",\"args\":%s}",
                                 bodies[i].args);
                result = through(text, bodies[i].signature, &ok);
                wanted = bodies[i].result[0] == '['
                                 ? strformat("{\"id\":7,\"type\":\"request\",\"method\":\"M\",\"destination\":\"a.b\",\"path\":\"/\","
                                             "\"interface\":\"i.j\",\"args\":%s}",
                                             bodies[i].result)
                                 : strdup(bodies[i].result);
                if (!streq(result, wanted)) {
                        fprintf(stderr, "%s as %s\n%s\n%s\n", bodies[i].args, strempty(bodies[i].signature), result, wanted);
                        abort();
                }
        }
}

#define REQUEST(more) "{\"id\":7," more "\"destination\":\"a.b\",\"path\":\"/\",\"interface\":\"i.j\",\"method\":\"M\",\"args\":[]}"

static const struct {
        const char *text;
        const char *why; /* NULL: taken */
        bool answer;
        const char *id;
} messages[] = {
        { REQUEST(""), NULL },
        { REQUEST("\"type\":\"request\",\"more\":{\"x\":[1]},"), NULL },
        { REQUEST("\"type\":5,"), NULL },
        { REQUEST("") " \n\t", NULL },
        { " " REQUEST(""), "the message is no JSON object", true, "0" },
        { "", "the message is no JSON object", true, "0" },
        { "[]", "the message is no JSON object", true, "0" },
        { "{", "the message is no JSON object", true, "0" },
        { REQUEST("") "x", "the message is no JSON object", true, "0" },
        { "{\"id\":7,\"x\":\"\n\"}", "the message is no JSON object", true, "0" },
        { "{\"id\":7}", "the member destination is missing", true, "7" },
        { "{\"type\":\"request\"}", "the member id is missing or no number", true, "0" },
        { "{\"id\":\"7\"}", "the member id is missing or no number", true, "0" },
        { "{\"id\":0}", "the id must not be 0 modulo 2^32", true, "0" },
        { "{\"id\":4294967296}", "the id must not be 0 modulo 2^32", true, "0" },
        { "{\"id\":4294967299.7}", "the member destination is missing", true, "3" },
        { "{\"id\":7,\"type\":\"what\"}", "the type of the message is unknown", false, "0" },
        { "{\"id\":7,\"type\":\"response\",\"args\":[]}", "the member response-to is missing or no number", false, "7" },
        { "{\"id\":7,\"type\":\"response\",\"response-to\":\"x\",\"args\":[]}", "the member response-to is missing or no number", false, "7" },
        { "{\"id\":7,\"type\":\"response\",\"response-to\":\"41\",\"args\":[]}", NULL },
        { "{\"id\":7,\"type\":\"response\",\"response-to\":41,\"args\":[]}", NULL },
        { "{\"id\":7,\"type\":\"error\",\"response-to\":41,\"args\":[]}", "the member name is missing", false, "7" },
        { "{\"id\":8,\"type\":\"signal\",\"path\":\"/\",\"interface\":\"a.b.c\",\"method\":\"ping\",\"args\":[]}", NULL },
        { "{\"id\":8,\"type\":\"signal\",\"path\":\"/\",\"interface\":\"a.b.c\",\"member\":\"ping\",\"args\":[]}", NULL },
        { "{\"id\":7,\"destination\":\"ab\",\"path\":\"/\",\"interface\":\"i.j\",\"method\":\"M\",\"args\":[]}",
          "the member destination is not valid", true, "7" },
        { "{\"id\":7,\"destination\":\"a.b\",\"path\":\"x\",\"interface\":\"i.j\",\"method\":\"M\",\"args\":[]}",
          "the member path is not valid", true, "7" },
        { "{\"id\":7,\"destination\":\"a.b\",\"path\":\"/\",\"interface\":\"i.j\",\"method\":\"M\"}",
          "the member args is missing or no array", true, "7" },
        { "{\"id\":7,\"destination\":\"a.b\",\"path\":\"/\",\"interface\":\"i.j\",\"method\":\"M\\u0000\",\"args\":[]}",
          "the member method is not valid", true, "7" },
};

static void test_messages(void)
{
        for (size_t i = 0; i < ELEMENTSOF(messages); i++) {
                _cleanup_(json_message_done) JsonMessage m = {};
                bool answer;
                char id[16];
                JsonWhy why = { "" };
                int r = json_message_parse(messages[i].text, strlen(messages[i].text), &m, &answer, id, &why);

                if (messages[i].why ? r != -EBADMSG || !streq(why.text, messages[i].why) || answer != messages[i].answer ||
                                              !streq(id, messages[i].id)
                                    : r != 0) {
                        fprintf(stderr, "%s: %d %s %s\n", messages[i].text, r, why.text, id);
                        abort();
                }
        }
}

/* Responses and errors reach the caller; an error has a text in front. */
static void test_replies(void)
{
        static const char response[] = "{\"id\":9,\"type\":\"response\",\"response-to\":41,\"args\":[\"done\"]}";
        static const char error[] = "{\"id\":10,\"type\":\"error\",\"response-to\":\"42\",\"name\":\"a.b.Error.No\",\"args\":[5]}";
        static const char *const texts[] = { response, error };
        static const char *const results[] = {
                "{\"id\":9,\"type\":\"response\",\"response-to\":\"41\",\"args\":[\"done\"]}",
                "{\"id\":10,\"type\":\"error\",\"response-to\":\"42\",\"name\":\"a.b.Error.No\",\"args\":[\"a.b.Error.No\",5]}",
        };

        for (size_t i = 0; i < 2; i++) {
                _cleanup_(json_message_done) JsonMessage m = {};
                _cleanup_free_ uint8_t *data = NULL;
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                WireMessage w;
                JsonWhy why;
                const char *bad;
                size_t size;
                bool answer;
                char id[16];

                assert(json_message_parse(texts[i], strlen(texts[i]), &m, &answer, id, &why) == 0);
                assert(json_message_encode(&m, NULL, ":1.7", MAX, &data, &size, &why) == 0);
                assert(wire_parse(data, size, &w, &bad) == 0 && streq(w.destination, ":1.7") && w.reply_serial == 41 + i);
                assert(json_message_format(&w, JSON_SERVER, &b, &why) == 0 && streq(b.data, results[i]));
        }
}

/* What a bus sends: big-endian, a variant in a variant, infinities, types that cannot be carried. */
static void test_from_bus(void)
{
        static const uint8_t body[] = { 1, 'v', 0, 1, 'd', 0, 0, 0, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0 };
        static const uint8_t fd[] = { 0, 0, 0, 0 };
        WireMessage m = { .big_endian = true, .type = WIRE_SIGNAL, .serial = 5, .path = "/", .interface = "a.b", .member = "m",
                          .signature = "v", .body = body, .body_size = sizeof(body) };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        JsonWhy why;

        assert(json_message_format(&m, JSON_SERVER, &b, &why) == 0);
        assert(streq(b.data, "{\"id\":5,\"type\":\"signal\",\"interface\":\"a.b\",\"member\":\"m\",\"path\":\"/\",\"args\":[null]}"));
        m.body_size--;
        assert(json_message_format(&m, JSON_SERVER, &b, &why) == -EBADMSG);
        m = (WireMessage) { .type = WIRE_RETURN, .serial = 5, .reply_serial = 6, .signature = "h", .body = fd, .body_size = 4 };
        assert(json_message_format(&m, JSON_SERVER, &b, &why) == -EBADMSG && strstr(why.text, "type h"));
        b.len = 0;
        assert(json_error_format(UINT32_MAX, "6", "a.b.C", "why: that", &b) == 0);
        assert(streq(b.data, "{\"id\":4294967295,\"type\":\"error\",\"response-to\":\"6\",\"name\":\"a.b.C\",\"args\":[\"why, that\"]}"));
}

static void test_introspect(void)
{
        static const char xml[] =
                "<?xml version=\"1.0\"?><!DOCTYPE node PUBLIC \"a>b\">\n<!-- <method name='M'/> -->\n"
                "<node xmlns:tp='x'><interface name=\"i.k\"><method name=\"M\"><arg type=\"i\" direction=\"in\"/></method></interface>"
                "<interface name='i.j'><tp:doc><tp:method name='M'>a &lt; b</tp:method></tp:doc>"
                "<method name=\"N\"/><method name=\"M\"><tp:docstring>text</tp:docstring>"
                "<arg name=\"a\" type=\"s\" direction=\"in\"><tp:docstring/></arg><annotation name='x' value='/>'/>"
                "<arg type='a{sv}' direction='in'></arg><arg type=\"u\" direction=\"out\"/></method>"
                "<signal name=\"M\"><arg type='b'/></signal></interface></node>";
        char *s = NULL;

        assert(introspect_method(xml, strlen(xml), "i.j", "M", &s) == 0 && streq(s, "sa{sv}"));
        free(s);
        assert(introspect_method(xml, strlen(xml), "i.j", "N", &s) == 0 && streq(s, ""));
        free(s);
        assert(introspect_method(xml, strlen(xml), "i.k", "M", &s) == 0 && streq(s, "i"));
        free(s);
        assert(introspect_method(xml, strlen(xml), "i.k", "N", &s) == -ENOENT);
        assert(introspect_method(xml, strlen(xml), "i", "M", &s) == -ENOENT);
        assert(introspect_method("<node", 5, "i", "M", &s) == -EBADMSG);
        assert(introspect_method("", 0, "i", "M", &s) == -ENOENT);
        for (size_t n = 0; n < strlen(xml); n++) {
                _cleanup_free_ char *part = strndup(xml, n);

                s = NULL;
                (void) introspect_method(part, n, "i.j", "M", &s);
                free(s);
        }
}

int main(void)
{
        test_bodies();
        test_messages();
        test_replies();
        test_from_bus();
        test_introspect();
        return 0;
}

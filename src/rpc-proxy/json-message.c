/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-message.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#define DEPTH_MAX 64

typedef enum Part { PART_DESTINATION, PART_PATH, PART_INTERFACE, PART_METHOD, PART_NAME, _PART_MAX } Part;

/* Which parts each kind must have, and how they are checked. */
static const struct {
        const char *word;
        bool (*valid)(const char *s, size_t n);
        size_t offset;
} parts[_PART_MAX] = {
        [PART_DESTINATION] = { "destination", wire_bus_name_valid, offsetof(JsonMessage, destination) },
        [PART_PATH] = { "path", wire_path_valid, offsetof(JsonMessage, path) },
        [PART_INTERFACE] = { "interface", wire_interface_valid, offsetof(JsonMessage, interface) },
        [PART_METHOD] = { "method", wire_member_valid, offsetof(JsonMessage, method) },
        [PART_NAME] = { "name", wire_interface_valid, offsetof(JsonMessage, name) },
};

static const struct {
        const char *word;
        unsigned parts;
        bool response_to;
        WireType type;
} kinds[] = {
        [JSON_REQUEST] = { "request", 1 << PART_DESTINATION | 1 << PART_PATH | 1 << PART_INTERFACE | 1 << PART_METHOD,
                           false, WIRE_CALL },
        [JSON_RESPONSE] = { "response", 0, true, WIRE_RETURN },
        [JSON_ERROR] = { "error", 1 << PART_NAME, true, WIRE_ERROR },
        [JSON_SIGNAL] = { "signal", 1 << PART_PATH | 1 << PART_INTERFACE | 1 << PART_METHOD, false, WIRE_SIGNAL },
};

static int _printf_(2, 3) refuse(JsonWhy *why, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        return -EBADMSG;
}

/* A number, rounded down, modulo 2^32. */
static bool serial_of(json_object *v, uint32_t *ret)
{
        double d;

        if (json_object_is_type(v, json_type_int)) {
                *ret = (uint32_t) json_object_get_int64(v);
                return true;
        }
        if (!json_object_is_type(v, json_type_double) || !isfinite(json_object_get_double(v)))
                return false;
        d = fmod(floor(json_object_get_double(v)), 4294967296.0);
        *ret = (uint32_t) (int64_t) d;
        return true;
}

static bool response_to_of(json_object *v, uint32_t *ret)
{
        const char *s;
        char *end;
        unsigned long long n;

        if (!json_object_is_type(v, json_type_string))
                return serial_of(v, ret);
        s = json_object_get_string(v);
        errno = 0;
        n = strtoull(s, &end, 10);
        if (*s < '0' || *s > '9' || *end || errno || n > UINT32_MAX)
                return false;
        *ret = (uint32_t) n;
        return true;
}

static int parse_part(JsonMessage *m, Part part, JsonWhy *why)
{
        json_object *v;
        const char *s;
        size_t n;

        if (!json_object_object_get_ex(m->object, parts[part].word, &v) &&
            (part != PART_METHOD || !json_object_object_get_ex(m->object, "member", &v)))
                return refuse(why, "the member %s is missing", parts[part].word);
        if (!json_object_is_type(v, json_type_string))
                return refuse(why, "the member %s is no text", parts[part].word);
        s = json_object_get_string(v);
        n = (size_t) json_object_get_string_len(v);
        if (strlen(s) != n || !parts[part].valid(s, n))
                return refuse(why, "the member %s is not valid", parts[part].word);
        *(const char **) ((char *) m + parts[part].offset) = s;
        return 0;
}

static int parse_kind(JsonMessage *m, JsonWhy *why)
{
        json_object *v;
        const char *s;

        m->kind = JSON_REQUEST;
        if (!json_object_object_get_ex(m->object, "type", &v) || !json_object_is_type(v, json_type_string))
                return 0;
        s = json_object_get_string(v);
        for (JsonKind k = JSON_REQUEST; k <= JSON_SIGNAL; k++)
                if (streq(s, kinds[k].word)) {
                        m->kind = k;
                        return 0;
                }
        m->kind = JSON_SIGNAL; /* nobody waits for an answer to what we do not know */
        return refuse(why, "the type of the message is unknown");
}

static int parse_members(JsonMessage *m, JsonWhy *why)
{
        json_object *v;

        if (m->id == 0)
                return refuse(why, "the id must not be 0 modulo 2^32");
        if (kinds[m->kind].response_to &&
            (!json_object_object_get_ex(m->object, "response-to", &v) || !response_to_of(v, &m->response_to)))
                return refuse(why, "the member response-to is missing or no number");
        for (Part p = 0; p < _PART_MAX; p++)
                if (kinds[m->kind].parts >> p & 1 && parse_part(m, p, why) < 0)
                        return -EBADMSG;
        m->args = json_get_member(m->object, "args", json_type_array);
        if (!m->args)
                return refuse(why, "the member args is missing or no array");
        v = json_get_member(m->object, "dbus-signature", json_type_string);
        if (v) {
                size_t n = (size_t) json_object_get_string_len(v);
                const char *s = json_object_get_string(v);

                if (strlen(s) == n && n <= 255 && wire_signature_valid(s, n))
                        m->signature = s;
        }
        return 0;
}

/* What json-c takes although it is no JSON: control characters in texts. */
static bool has_control_character(const char *text, size_t size)
{
        bool quoted = false;

        for (size_t i = 0; i < size; i++) {
                if (quoted && (unsigned char) text[i] < 0x20)
                        return true;
                if (text[i] == '"')
                        quoted = !quoted;
                else if (quoted && text[i] == '\\')
                        i++;
        }
        return false;
}

int json_message_parse(const char *text, size_t size, JsonMessage *ret, bool *ret_answer, char ret_id[static 16],
                       JsonWhy *ret_why)
{
        _cleanup_(json_message_done) JsonMessage m = {};
        json_object *id;
        int r;

        *ret_answer = true;
        strcpy(ret_id, "0");
        if (size > JSON_TEXT_MAX)
                return refuse(ret_why, "the message is too large");
        if (size == 0 || text[0] != '{' || has_control_character(text, size))
                return refuse(ret_why, "the message is no JSON object");
        r = json_parse(text, size, DEPTH_MAX, &m.object);
        if (r == -EBADMSG)
                return refuse(ret_why, "the message is no JSON object");
        if (r < 0)
                return r;
        r = parse_kind(&m, ret_why);
        *ret_answer = m.kind == JSON_REQUEST;
        if (r < 0)
                return r;
        if (!json_object_object_get_ex(m.object, "id", &id) || !serial_of(id, &m.id))
                return refuse(ret_why, "the member id is missing or no number");
        snprintf(ret_id, 16, "%" PRIu32, m.id);
        r = parse_members(&m, ret_why);
        if (r < 0)
                return r;
        *ret = m;
        m = (JsonMessage) {};
        return 0;
}

void json_message_done(JsonMessage *m)
{
        json_object_put(m->object);
        *m = (JsonMessage) {};
}

int json_message_encode(const JsonMessage *m, const char *signature, const char *destination, size_t max, uint8_t **ret,
                        size_t *ret_size, JsonWhy *ret_why)
{
        WireMessage w = { .type = (uint8_t) kinds[m->kind].type, .serial = m->id, .path = m->path,
                          .interface = m->interface, .member = m->method,
                          .destination = destination ? destination : m->destination,
                          .error_name = m->name, .reply_serial = m->response_to,
                          .flags = m->kind == JSON_REQUEST ? 0 : WIRE_NO_REPLY_EXPECTED };
        _cleanup_free_ uint8_t *body = NULL, *data = NULL;
        _cleanup_free_ char *guessed = NULL;
        uint8_t header[4096];
        size_t size;
        ssize_t n;
        int r;

        if (!signature)
                signature = m->signature;
        if (!signature) {
                r = json_body_guess(m->args, &guessed);
                if (r == -EBADMSG || (r == 0 && !wire_signature_valid(guessed, strlen(guessed))))
                        return refuse(ret_why, "the arguments have a null or are too many");
                if (r < 0)
                        return r;
                signature = guessed;
        }
        r = json_body_write(m->args, signature, max, &body, &size, ret_why);
        if (r < 0)
                return r;
        w.signature = signature;
        w.body = body;
        w.body_size = (uint32_t) size;
        n = wire_encode(&w, header, sizeof(header));
        if (n < 0 || (size_t) n + size > max)
                return -EMSGSIZE;
        data = malloc((size_t) n + size);
        if (!data)
                return -ENOMEM;
        memcpy(data, header, (size_t) n);
        if (size > 0)
                memcpy(data + n, body, size);
        *ret = TAKE_PTR(data);
        *ret_size = (size_t) n + size;
        return 0;
}

static void add_member(StrBuf *b, const char *name, const char *value)
{
        if (!value)
                return;
        strbuf_addf(b, ",\"%s\":", name);
        json_add_string(b, value);
}

/* The UI needs a text in front of an error's arguments. */
static void add_error_name(const WireMessage *m, StrBuf *b)
{
        if (m->type != WIRE_ERROR || m->signature[0] == 's')
                return;
        json_add_string(b, m->error_name);
        if (m->signature[0])
                strbuf_addc(b, ',');
}

int json_message_format(const WireMessage *m, JsonRole role, StrBuf *out, JsonWhy *ret_why)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        int r;

        strbuf_addf(&b, "{\"id\":%" PRIu32, m->serial);
        switch (m->type) {
        case WIRE_CALL:
                add_member(&b, "type", "request");
                add_member(&b, "method", m->member);
                add_member(&b, "destination", m->destination);
                add_member(&b, "path", m->path);
                add_member(&b, "interface", m->interface);
                break;
        case WIRE_RETURN:
        case WIRE_ERROR:
                add_member(&b, "type", m->type == WIRE_RETURN ? "response" : "error");
                strbuf_addf(&b, ",\"response-to\":\"%" PRIu32 "\"", m->reply_serial);
                if (m->type == WIRE_ERROR)
                        add_member(&b, "name", m->error_name);
                break;
        case WIRE_SIGNAL:
                add_member(&b, "type", "signal");
                add_member(&b, "interface", m->interface);
                add_member(&b, role == JSON_SERVER ? "member" : "method", m->member);
                add_member(&b, "path", m->path);
                break;
        default:
                return refuse(ret_why, "the message is of an unknown type");
        }
        strbuf_add(&b, ",\"args\":[");
        add_error_name(m, &b);
        r = json_body_read(m, &b, ret_why);
        if (r < 0)
                return r;
        strbuf_addc(&b, ']');
        if (role == JSON_CLIENT)
                add_member(&b, "dbus-signature", m->signature);
        strbuf_addc(&b, '}');
        if (b.oom)
                return -ENOMEM;
        strbuf_addn(out, b.data, b.len);
        return out->oom ? -ENOMEM : 0;
}

int json_error_format(uint32_t id, const char *response_to, const char *name, const char *text, StrBuf *out)
{
        _cleanup_free_ char *plain = strdup(text);

        if (!plain)
                return -ENOMEM;
        for (char *c = plain; *c; c++)
                if (*c == ':')
                        *c = ',';
        strbuf_addf(out, "{\"id\":%" PRIu32 ",\"type\":\"error\",\"response-to\":\"%s\"", id, response_to);
        add_member(out, "name", name);
        strbuf_add(out, ",\"args\":[");
        json_add_string(out, plain);
        strbuf_add(out, "]}");
        return out->oom ? -ENOMEM : 0;
}

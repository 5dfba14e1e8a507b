/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-tree.h"

#include <math.h>

#include "parse.h"

typedef struct Reader {
        const char *p, *end, *start;
        size_t depth;
} Reader;

static int read_value(Reader *r, Node **ret);

static void skip_blanks(Reader *r)
{
        while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
                r->p++;
}

static bool take(Reader *r, char c)
{
        skip_blanks(r);
        if (r->p >= r->end || *r->p != c)
                return false;
        r->p++;
        return true;
}

static int read_hex4(Reader *r, uint32_t *ret)
{
        uint32_t v = 0;

        if (r->end - r->p < 4)
                return -EBADMSG;
        for (int i = 0; i < 4; i++) {
                char c = *r->p++;

                if (c >= '0' && c <= '9')
                        v = v << 4 | (uint32_t) (c - '0');
                else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                        v = v << 4 | (uint32_t) ((c | 0x20) - 'a' + 10);
                else
                        return -EBADMSG;
        }
        *ret = v;
        return 0;
}

static void add_utf8(StrBuf *b, uint32_t c)
{
        if (c < 0x80)
                strbuf_addc(b, (char) c);
        else if (c < 0x800) {
                strbuf_addc(b, (char) (0xc0 | c >> 6));
                strbuf_addc(b, (char) (0x80 | (c & 0x3f)));
        } else {
                if (c < 0x10000)
                        strbuf_addc(b, (char) (0xe0 | c >> 12));
                else {
                        strbuf_addc(b, (char) (0xf0 | c >> 18));
                        strbuf_addc(b, (char) (0x80 | (c >> 12 & 0x3f)));
                }
                strbuf_addc(b, (char) (0x80 | (c >> 6 & 0x3f)));
                strbuf_addc(b, (char) (0x80 | (c & 0x3f)));
        }
}

static int read_escape(Reader *r, StrBuf *b)
{
        static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        uint32_t c, low;
        const char *at;

        if (r->p >= r->end)
                return -EBADMSG;
        at = *r->p ? strchr(plain, *r->p) : NULL;
        if (at) {
                r->p++;
                strbuf_addc(b, meant[at - plain]);
                return 0;
        }
        if (*r->p++ != 'u' || read_hex4(r, &c) < 0 || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
                return -EBADMSG;
        if (c >= 0xd800 && c <= 0xdbff) {
                if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
                        return -EBADMSG;
                r->p += 2;
                if (read_hex4(r, &low) < 0 || low < 0xdc00 || low > 0xdfff)
                        return -EBADMSG;
                c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
        }
        add_utf8(b, c);
        return 0;
}

/* The opening quote has been read. *ret_len may be NULL. */
static int read_string(Reader *r, char **ret, size_t *ret_len)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        size_t len;
        int e;

        for (;;) {
                const char *s = r->p;

                while (r->p < r->end && *r->p != '"' && *r->p != '\\')
                        r->p++;
                if (r->p >= r->end)
                        return -EBADMSG;
                strbuf_addn(&b, s, (size_t) (r->p - s));
                if (*r->p++ == '"')
                        break;
                e = read_escape(r, &b);
                if (e < 0)
                        return e;
        }
        len = b.len;
        e = strbuf_take(&b, ret);
        if (e < 0)
                return e;
        if (!utf8_valid(*ret, len)) { /* this finds NUL too */
                free(TAKE_PTR(*ret));
                return -EBADMSG;
        }
        if (ret_len)
                *ret_len = len;
        return 0;
}

static bool is_digit(const Reader *r)
{
        return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

static int read_number(Reader *r, char **ret, NodeKind *ret_kind)
{
        _cleanup_free_ char *text = NULL;
        const char *s = r->p;
        bool real = false;
        int64_t i;
        double d;

        if (*r->p == '-')
                r->p++;
        if (!is_digit(r))
                return -EBADMSG;
        if (*r->p == '0') {
                r->p++;
                if (is_digit(r))
                        return -EBADMSG;
        } else
                while (is_digit(r))
                        r->p++;
        if (r->p < r->end && *r->p == '.') {
                real = true;
                r->p++;
                while (is_digit(r))
                        r->p++;
        }
        if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
                real = true;
                r->p++;
                if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
                        r->p++;
                if (!is_digit(r))
                        return -EBADMSG;
                while (is_digit(r))
                        r->p++;
        }
        text = strndup(s, (size_t) (r->p - s));
        if (!text)
                return -ENOMEM;
        *ret_kind = real ? NODE_FLOAT : NODE_INT;
        if (real) {
                d = strtod(text, NULL);
                if (!isfinite(d))
                        return -EBADMSG;
                *ret = strformat("%f", d);
        } else {
                if (parse_i64(text, &i) < 0)
                        return -EBADMSG;
                *ret = strformat("%lld", (long long) i);
        }
        return *ret ? 0 : -ENOMEM;
}

static bool take_word(Reader *r, const char *word)
{
        size_t n = strlen(word);

        if ((size_t) (r->end - r->p) < n || memcmp(r->p, word, n) != 0)
                return false;
        r->p += n;
        return true;
}

static int read_object(Reader *r, Node *n)
{
        if (take(r, '}'))
                return 0;
        do {
                _cleanup_(node_freep) Node *child = NULL;
                _cleanup_free_ char *name = NULL;
                Node *named;
                size_t len;
                int e;

                if (!take(r, '"'))
                        return -EBADMSG;
                e = read_string(r, &name, &len);
                if (e < 0)
                        return e;
                if (len == 0 || memchr(name, '/', len) || !take(r, ':'))
                        return -EBADMSG;
                e = read_value(r, &child);
                if (e < 0)
                        return e;
                if (node_child(n, name, len))
                        continue;
                named = node_new(name, len, child->kind, TAKE_PTR(child->content));
                child->kind = NODE_EMPTY;
                if (!named)
                        return -ENOMEM;
                if (node_add(n, named) < 0) {
                        node_free(named);
                        return -ENOMEM;
                }
        } while (take(r, ','));
        return take(r, '}') ? 0 : -EBADMSG;
}

static void add_indent(StrBuf *b, size_t indent)
{
        strbuf_addc(b, '\n');
        for (size_t i = 0; i < indent; i++)
                strbuf_add(b, "  ");
}

/* Copies text written at indent 0 to where it belongs. No text has newlines of its own: they are escaped. */
static void add_indented(StrBuf *b, const char *text, size_t indent)
{
        for (;;) {
                size_t n = strcspn(text, "\n");

                strbuf_addn(b, text, n);
                if (!text[n])
                        return;
                add_indent(b, indent);
                text += n + 1;
        }
}

/* Arrays are kept as text, so anything in them is too. */
static int array_read(Reader *r, StrBuf *b, size_t indent)
{
        _cleanup_(node_freep) Node *n = NULL;
        bool empty = true;
        int e;

        if (take(r, ']')) {
                strbuf_add(b, "[]");
                return 0;
        }
        strbuf_addc(b, '[');
        do {
                _cleanup_strbuf_ StrBuf item = STRBUF_INIT;

                n = node_free(n);
                e = read_value(r, &n);
                if (e < 0)
                        return e;
                if (!empty)
                        strbuf_addc(b, ',');
                empty = false;
                add_indent(b, indent + 1);
                json_write_bounded(&item, n, SIZE_MAX);
                if (item.oom)
                        return -ENOMEM;
                add_indented(b, item.data, indent + 1);
        } while (take(r, ','));
        add_indent(b, indent);
        strbuf_addc(b, ']');
        return take(r, ']') ? 0 : -EBADMSG;
}

static int read_value_inner(Reader *r, NodeKind *ret_kind, char **ret_text, Node *n)
{
        skip_blanks(r);
        if (r->p >= r->end)
                return -EBADMSG;
        switch (*r->p) {
        case '{':
                r->p++;
                *ret_kind = NODE_INNER;
                return read_object(r, n);
        case '[': {
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                int e;

                r->p++;
                *ret_kind = NODE_ARRAY;
                e = array_read(r, &b, 0);
                return e < 0 ? e : strbuf_take(&b, ret_text);
        }
        case '"':
                r->p++;
                *ret_kind = NODE_STRING;
                return read_string(r, ret_text, NULL);
        case 'n':
                *ret_kind = NODE_EMPTY;
                return take_word(r, "null") ? 0 : -EBADMSG;
        case 't':
        case 'f': {
                bool yes = *r->p == 't';

                *ret_kind = NODE_BOOL;
                if (!take_word(r, yes ? "true" : "false"))
                        return -EBADMSG;
                *ret_text = strdup(yes ? "true" : "false");
                return *ret_text ? 0 : -ENOMEM;
        }
        default:
                return read_number(r, ret_text, ret_kind);
        }
}

static int read_value(Reader *r, Node **ret)
{
        _cleanup_(node_freep) Node *n = NULL;
        _cleanup_free_ char *text = NULL;
        NodeKind kind;
        int e;

        if (r->depth == 0)
                return -EBADMSG;
        n = node_new("", 0, NODE_INNER, NULL);
        if (!n)
                return -ENOMEM;
        r->depth--;
        e = read_value_inner(r, &kind, &text, n);
        r->depth++;
        if (e < 0)
                return e;
        if (kind != NODE_INNER) {
                n->kind = (uint8_t) kind;
                n->content = TAKE_PTR(text);
        }
        *ret = TAKE_PTR(n);
        return 0;
}

int json_read(const char *text, size_t size, size_t max_depth, Node **ret, size_t *ret_at)
{
        Reader r = { .p = text, .end = text + size, .start = text, .depth = max_depth };
        int e;

        skip_blanks(&r);
        if (r.p == r.end)
                return -ENODATA;
        e = read_value(&r, ret);
        if (e < 0 && ret_at)
                *ret_at = (size_t) (r.p - r.start);
        return e;
}

void json_write_string(StrBuf *b, const char *s)
{
        static const char special[] = "\n\t\r\b\f\\\"/", letter[] = "ntrbf\\\"/";

        strbuf_addc(b, '"');
        while (*s) {
                const char *start = s, *at;

                while ((unsigned char) *s >= 0x20 && *s != '\\' && *s != '"' && *s != '/')
                        s++;
                strbuf_addn(b, start, (size_t) (s - start));
                if (!*s)
                        break;
                at = strchr(special, *s);
                if (at)
                        strbuf_addn(b, (char[]) { '\\', letter[at - special] }, 2);
                else
                        strbuf_addf(b, "\\u%04x", (unsigned char) *s);
                s++;
        }
        strbuf_addc(b, '"');
}

typedef struct Output {
        StrBuf *b;
        size_t max;
        StrBuf path; /* of the node that is written, with hidden() only */
        bool (*hidden)(const char *path);
        bool has_hidden;
        const char *const *without; /* names that are left out at the top */
} Output;

static void write_node(Output *o, const Node *n, size_t indent);

static void write_children(Output *o, const Node *n, size_t indent)
{
        size_t path_len = o->path.len;
        bool first = true;

        strbuf_addc(o->b, '{');
        for (const Node *k = node_first(n); k && o->b->len <= o->max; k = k->next) {
                if (indent == 0 && o->without && strv_contains((char *const *) o->without, k->name))
                        continue;
                if (!first)
                        strbuf_addc(o->b, ',');
                first = false;
                add_indent(o->b, indent + 1);
                json_write_string(o->b, k->name);
                strbuf_add(o->b, ": ");
                if (o->hidden) {
                        strbuf_addc(&o->path, '/');
                        strbuf_add(&o->path, k->name);
                }
                write_node(o, k, indent + 1);
                if (o->path.data) {
                        o->path.len = path_len;
                        o->path.data[path_len] = '\0';
                }
        }
        if (first) /* all were left out */
                strbuf_add(o->b, " ");
        else
                add_indent(o->b, indent);
        strbuf_addc(o->b, '}');
}

static void write_node(Output *o, const Node *n, size_t indent)
{
        if (o->hidden && o->path.data && o->hidden(o->path.data)) {
                o->has_hidden = true;
                strbuf_add(o->b, "null");
                return;
        }
        switch (n->kind) {
        case NODE_INNER:
                if (node_first(n))
                        write_children(o, n, indent);
                else
                        strbuf_add(o->b, "{ }");
                return;
        case NODE_STRING:
                json_write_string(o->b, n->content);
                return;
        case NODE_ARRAY:
                add_indented(o->b, n->content, indent);
                return;
        case NODE_INT:
        case NODE_FLOAT:
        case NODE_BOOL:
                strbuf_add(o->b, n->content);
                return;
        default: /* an empty node; a binary one is no JSON */
                o->has_hidden |= n->kind == NODE_BINARY;
                strbuf_add(o->b, "null");
        }
}

void json_write_bounded(StrBuf *b, const Node *n, size_t max)
{
        Output o = { .b = b, .max = max };

        write_node(&o, n, 0);
}

void json_write_without(StrBuf *b, const Node *n, const char *const *names)
{
        Output o = { .b = b, .max = SIZE_MAX, .without = names };

        write_node(&o, n, 0);
        strbuf_addc(b, '\n');
}

bool json_write_hiding(StrBuf *b, const Node *n, size_t max, const char *path, bool (*hidden)(const char *path))
{
        Output o = { .b = b, .max = max, .hidden = hidden };

        strbuf_add(&o.path, streq(path, "/") ? "" : path);
        write_node(&o, n, 0);
        strbuf_done(&o.path);
        return o.has_hidden;
}

void json_write(StrBuf *b, const Node *n)
{
        if (n)
                json_write_bounded(b, n, SIZE_MAX);
        else
                strbuf_add(b, "null");
        strbuf_addc(b, '\n');
}
